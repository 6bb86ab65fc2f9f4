"""The command line of one llama-server child. Pure: an allow-list in, a list of arguments out."""

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from llama_runner.core.errors import UsageError
from llama_runner.core.settings import ModelParameters

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
class LoadOptions:
    """How to load a model; None leaves the choice to the engine. Bounds are those of the settings.

    Attributes:
        context_length: Tokens, shared by all slots.
        gpu_layers: Layers on the GPU; 0 uses the CPU only.
        parallel: Slots: requests answered at the same time.
    """

    context_length: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None
    parallel: int | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start.

    Attributes:
        env: Variables on top of the scrubbed environment; holds the key, so it is kept out of every repr.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


def merged_options(wanted: LoadOptions, configured: ModelParameters) -> LoadOptions:
    """What was asked for, and the model's own entry where nothing was. Raises UsageError out of bounds."""
    merged = configured.model_dump() | {
        name: value for name, value in asdict(wanted).items() if value is not None
    }
    try:
        checked = ModelParameters.model_validate(merged)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        raise UsageError(
            f"The load option {'.'.join(map(str, fault['loc']))} cannot be {str(fault['input'])[:40]}: "
            f"{fault['msg'][:120]}.",
            "Leave it out to let the engine choose.",
        ) from error
    return LoadOptions(checked.context_length, checked.gpu_layers, checked.threads, checked.parallel)


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
    argv += _pairs(
        {
            "--ctx-size": options.context_length,
            "--n-gpu-layers": options.gpu_layers,
            "--threads": options.threads,
            "--parallel": options.parallel,
        }
    )
    if not repack and "--no-repack" in flags:
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
