"""The command line of one llama-server child. Pure: an allow-list in, a list of arguments out."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llama_runner.core.errors import UsageError
from llama_runner.core.load_options import FLAGS, LoadOptions
from llama_runner.runtime.catalogue import ModelFile

# Beyond it the work space grows larger than most embedding models.
MAX_BATCH: Final = 8192
LOOPBACK: Final = "127.0.0.1"
# The older build ends a stopped stream only at its next ping, 30 s apart by default; a ping is no token.
_PING_S: Final = 2
# Any number: makes the child report its progress on stdout and end when its stdin does.
_CHILD_PROTOCOL: Final = {"LLAMA_SERVER_ROUTER_PORT": "1"}

# Second wall behind the allow-list (safety R7): execute code, reach out, read or write files, leave loopback.
DENIED_FLAGS: Final = frozenset(
    {
        "--agent",
        "--api-key",
        "--api-key-file",
        "--api-prefix",
        "--chat-template-file",
        "--docker-repo",
        "--grammar-file",
        "--hf-file",
        "--hf-repo",
        "--hf-token",
        "--json-schema-file",
        "--log-file",
        "--lookup-cache-dynamic",
        "--lookup-cache-static",
        "--mcp-servers-config",
        "--mcp-servers-json",
        "--media-path",
        "--mmproj-url",
        "--model-url",
        "--models-dir",
        "--models-preset",
        "--path",
        "--props",
        "--reuse-port",
        "--rpc",
        "--slot-save-path",
        "--ssl-cert-file",
        "--ssl-key-file",
        "--tools",
        "--tools-runtime",
        "--ui-mcp-proxy",
        "--video-ffmpeg-dir",
        "--webui-mcp-proxy",
    }
)


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start.

    Attributes:
        env: Variables on top of the scrubbed environment; holds the key, so it is kept out of every repr.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


def wanted_options(asked: LoadOptions, model: ModelFile) -> LoadOptions:
    """What was asked for, else the model's own entry; a model made for embeddings serves them.

    Such a model needs each text in one batch: without that llama-server refuses a longer one.
    """
    chosen = model.parameters.model_copy(update=asked.model_dump(exclude_none=True))
    header = model.header
    if header is None or "embedding" not in header.capabilities or chosen.embedding is not None:
        return chosen
    longest = min(chosen.context_length or header.context_length or MAX_BATCH, MAX_BATCH)
    usual = LoadOptions(embedding=True, batch_size=longest, ubatch_size=longest)
    return usual.model_copy(update=chosen.model_dump(exclude_none=True))


def option_arguments(options: LoadOptions, flags: Set[str], *, engine: str) -> list[str]:
    """The options as the engine's arguments. Raises UsageError for one that this engine does not know."""
    arguments: list[str] = []
    for name, flag in FLAGS.items():
        value = getattr(options, name)
        if value is None or (value is False and not flag.off):
            continue
        used = flag.off if value is False else flag.name
        if used not in flags:
            raise UsageError(
                f"This llama-server has no {used} ({engine}).", f"Leave out {name}, or use another build."
            )
        arguments.append(used)
        if isinstance(value, tuple):
            arguments.append(",".join(f"{part:g}" for part in value))
        elif not isinstance(value, bool):
            arguments.append(f"{value:g}" if isinstance(value, float) else str(value))
    return arguments


def build_argv(
    engine: Path,
    flags: Set[str],
    model: Path,
    options: LoadOptions,
    *,
    port: int,
    alias: str,
    api_key: str,
    repack: bool = True,
) -> Launch:
    """The launch of `model` on a loopback port.

    Args:
        flags: What the engine's `--help` lists; optional ones that it lacks are left out.
        alias: The model id it answers to; holds no comma, which would make two of it.
        api_key: Goes by environment: on Linux everybody may read a command line.
        repack: False after an illegal instruction: some virtual machines claim what they cannot do.
    """
    argv = [str(engine), "--model", str(model), "--host", LOOPBACK, "--port", str(port), "--alias", alias]
    argv += [flag for flag in ("--offline", "--no-slots") if flag in flags]
    argv += [flag for flag in ("--no-ui", "--no-webui") if flag in flags][:1]
    # An origin that nothing uses: the default lets every web page in.
    values: dict[str, str | int | None] = {
        "--cors-origins": f"http://{LOOPBACK}:{port}",
        "--sse-ping-interval": _PING_S,
        "--log-colors": "off",
    }
    argv += _pairs({flag: value for flag, value in values.items() if flag in flags})
    argv += option_arguments(options, flags, engine=engine.name)
    if not repack and "--no-repack" in flags and "--no-repack" not in argv:
        argv.append("--no-repack")
    refuse_denied(argv)
    return Launch(tuple(argv), _CHILD_PROTOCOL | {"LLAMA_API_KEY": api_key})


def refuse_denied(argv: list[str]) -> None:
    """Raise UsageError when an argument is, abbreviates or extends (`--x=y`) a denied option."""
    for argument in argv[1:]:
        name = argument.partition("=")[0]
        if name in DENIED_FLAGS or name.startswith(("--hf-", "-hf", "--mcp-", "--lookup-cache-")):
            raise UsageError(f"The engine option {name} is not allowed here.", "Leave it out.")


def _pairs(values: Mapping[str, str | int | None]) -> list[str]:
    return [part for flag, value in values.items() if value is not None for part in (flag, str(value))]
