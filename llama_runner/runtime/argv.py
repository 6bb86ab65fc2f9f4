"""The command line of one llama-server child. Pure: an allow-list in, a list of arguments out."""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llama_runner.core.errors import UsageError
from llama_runner.core.load_options import FLAGS, Flag, LoadOptions
from llama_runner.runtime.catalogue import ModelFile

# Beyond it the work space grows larger than most embedding models.
MAX_BATCH: Final = 8192
LOOPBACK: Final = "127.0.0.1"
# The older build ends a stopped stream only at its next ping, 30 s apart by default; a ping is no token.
_PING_S: Final = 2
_SCALE: Final = re.compile(r"-?[0-9]{1,4}(\.[0-9]{1,6})?")
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
    """What was asked for, else the model's own entry; a model made for embeddings or ranking serves them.

    Such a model needs each text in one batch: without that llama-server refuses a longer one.
    """
    chosen = model.parameters.model_copy(update=asked.model_dump(exclude_none=True))
    header = model.header
    if header is None or "embedding" not in header.capabilities or chosen.embedding is not None:
        return chosen
    longest = min(chosen.context_length or header.context_length or MAX_BATCH, MAX_BATCH)
    ranks = True if "rerank" in header.capabilities else None
    usual = LoadOptions(embedding=True, batch_size=longest, ubatch_size=longest, rerank=ranks)
    return usual.model_copy(update=chosen.model_dump(exclude_none=True))


def option_arguments(options: LoadOptions, flags: Set[str], *, engine: str) -> list[str]:
    """The options as the engine's arguments. Raises UsageError for one that this engine does not know.

    Args:
        options: Files as full paths; `rpc_workers` only checked ones.
    """
    arguments: list[str] = []
    for name, flag in FLAGS.items():
        value = getattr(options, name)
        if not flag.name or value is None or value == () or (value is False and not flag.off):
            continue
        for part in _adapters(value) if name == "loras" else [_argument(flag, value)]:
            if part[0] not in flags:
                raise UsageError(
                    f"This llama-server has no {part[0]} ({engine}).",
                    f"Leave out {name}, or use another build.",
                )
            arguments += part
    return arguments


def _argument(flag: Flag, value: object) -> list[str]:
    if isinstance(value, bool):
        return [flag.name if value else flag.off]
    parts = value if isinstance(value, tuple) else (value,)
    return [flag.name, ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in parts)]


def _adapters(loras: tuple[str, ...]) -> list[list[str]]:
    """Adapters at full strength and those at another, which the engine takes apart."""
    whole = [lora for lora in loras if split_scale(lora)[1] is None]
    scaled = [lora for lora in loras if split_scale(lora)[1] is not None]
    if any(":" in split_scale(lora)[0] for lora in scaled):
        raise UsageError(
            "This llama-server cannot take an adapter's strength with a path that holds a colon.",
            "Leave out the strength, or give the path without its drive.",
        )
    pairs = (("--lora", whole), ("--lora-scaled", scaled))
    return [[name, ",".join(files)] for name, files in pairs if files]


def split_scale(lora: str) -> tuple[str, float | None]:
    """File and strength of an adapter as options spell it: "style.gguf" or "style.gguf:0.5"."""
    file, _, scale = lora.rpartition(":")
    found = _SCALE.fullmatch(scale) if file else None
    return (file, float(scale)) if found else (lora, None)


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
    # Counts only, behind the key; the slots would tell what is asked.
    argv += [flag for flag in ("--offline", "--no-slots", "--metrics") if flag in flags]
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
    workers, argv = _workers(argv)
    refuse_denied(argv)
    argv += workers
    return Launch(tuple(argv), _CHILD_PROTOCOL | {"LLAMA_API_KEY": api_key})


def _workers(argv: list[str]) -> tuple[list[str], list[str]]:
    """The one denied option that a setting of the user's may allow (R7, I9), and all the rest."""
    if "--rpc" not in argv:
        return [], argv
    at = argv.index("--rpc")
    return argv[at : at + 2], argv[:at] + argv[at + 2 :]


def refuse_denied(argv: list[str]) -> None:
    """Raise UsageError when an argument is, abbreviates or extends (`--x=y`) a denied option."""
    for argument in argv[1:]:
        name = argument.partition("=")[0]
        if name in DENIED_FLAGS or name.startswith(("--hf-", "-hf", "--mcp-", "--lookup-cache-")):
            raise UsageError(f"The engine option {name} is not allowed here.", "Leave it out.")


def _pairs(values: Mapping[str, str | int | None]) -> list[str]:
    return [part for flag, value in values.items() if value is not None for part in (flag, str(value))]
