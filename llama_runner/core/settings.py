"""The one schema of all settings: default, unit, bounds, title and help of each, nowhere else.

Files, command line, dialogs, JSON schemas and docs/settings.md are made from it. Values are frozen.
"""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

CONFIG_VERSION: Final = 1
# Linux paths end at 4096 bytes, Windows paths at 32767 characters; nobody types more (C7).
MAX_PATH_CHARS: Final = 4096
KIB: Final = 1024
MIB: Final = 1024 * KIB


class Section(BaseModel):
    """Base of every part of the configuration: frozen, strict (true is not a number), unknown keys ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


def setting(
    default: Any,
    *,
    title: str,
    help: str,
    unit: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    clamp: bool = True,
    max_length: int | None = None,
) -> Any:
    """Declare one setting.

    Args:
        unit: What the number counts, None for plain counts and texts.
        ge: Smallest allowed value.
        le: Largest allowed value.
        clamp: Whether a value out of bounds becomes the nearest allowed one; otherwise it becomes the default.
            Nearest makes sense for durations and sizes, not for ports.
        max_length: Longest allowed text or list.
    """
    extra: dict[str, Any] = {"clamp": clamp}
    if unit is not None:
        extra["unit"] = unit
    return Field(
        default, title=title, description=help, ge=ge, le=le, max_length=max_length, json_schema_extra=extra
    )


class BadText(ValueError):
    """A text is not what the setting takes; the text of the error completes "must be …"."""


def _plain(text: str, what: str) -> str:
    if len(text) > MAX_PATH_CHARS or not text.isprintable():
        raise BadText(f"{what} of at most {MAX_PATH_CHARS} characters without control characters")
    return text


def _check_windows_path(text: str) -> str:
    _plain(text, "a path")
    path = PureWindowsPath(text)
    if text and (not path.is_absolute() or path.drive.startswith("\\\\")):
        raise BadText(
            "empty or a full path on a drive, such as C:\\models; network and device paths are not used"
        )
    return text


def _check_linux_path(text: str) -> str:
    _plain(text, "a path")
    if text and not PurePosixPath(text).is_absolute():
        raise BadText("empty or a full path that starts with /; ~ and $HOME are not expanded")
    return text


def _check_model_path(text: str) -> str:
    _plain(text, "a path")
    windows = PureWindowsPath(text)
    if not text.strip() or text[0] in "~$-" or windows.drive.startswith("\\\\") or ".." in windows.parts:
        raise BadText(
            "a full path, or one below the models folder; ~, $HOME, .. and network paths are not used"
        )
    return text


def _check_loopback(text: str) -> str:
    if text == "localhost":
        return text
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    # A scope id ("::1%eth0") is loopback to ipaddress but not to every socket call.
    if address is None or not address.is_loopback or "%" in text:
        raise BadText("an address of this machine only: 127.0.0.1, ::1 or localhost")
    return text


def _check_language(text: str) -> str:
    if text != "system" and not re.fullmatch(r"[a-z]{2,3}(_[A-Z]{2})?", text):
        raise BadText('"system" or a language code such as en or de_DE')
    return text


WindowsPath = Annotated[str, AfterValidator(_check_windows_path)]
LinuxPath = Annotated[str, AfterValidator(_check_linux_path)]
ModelPath = Annotated[str, AfterValidator(_check_model_path)]
LoopbackHost = Annotated[str, AfterValidator(_check_loopback)]
Language = Annotated[str, AfterValidator(_check_language)]
Port = Annotated[int, Field(ge=1, le=65535)]
# JSON has lists only: the tuple itself is taken from a list, its items stay strict.
Ports = Annotated[tuple[Port, ...], Field(strict=False)]


class EnginePath(Section):
    """Where llama-server is, per operating system."""

    windows: WindowsPath = setting(
        "F:\\llm\\llama\\llama-server.exe", title="Engine on Windows", help="Full path of llama-server.exe."
    )
    linux: LinuxPath = setting(
        "",
        title="Engine on Linux",
        help="Full path of llama-server; empty looks on PATH, then for the demo engine.",
    )

    def on(self, platform: str) -> str:
        """The path for a `sys.platform`, empty when none is set."""
        return self.windows if platform == "win32" else self.linux


class ModelsDir(Section):
    """Where model files are, per operating system."""

    windows: WindowsPath = setting(
        "F:\\llm\\llama\\models", title="Models folder on Windows", help="Each model in its own sub-folder."
    )
    linux: LinuxPath = setting(
        "",
        title="Models folder on Linux",
        help="Each model in its own sub-folder; empty means models below the data folder.",
    )

    def on(self, platform: str) -> str:
        """The path for a `sys.platform`, empty when none is set."""
        return self.windows if platform == "win32" else self.linux


class RuntimeSettings(Section):
    """Running models on this machine."""

    engine_path: EnginePath = EnginePath()
    models_dir: ModelsDir = ModelsDir()
    stop_grace_s: float = setting(
        5.0,
        title="Time to stop",
        help="How long a model may take to stop before it is ended.",
        unit="s",
        ge=0.1,
        le=120,
    )
    load_stall_s: float = setting(
        300.0,
        title="Loading stall",
        help="A model that loads without any progress for this long is given up.",
        unit="s",
        ge=1,
        le=7200,
    )
    log_ring_bytes: int = setting(
        MIB,
        title="Output kept per model",
        help="How much of each model's output is kept in memory for the log view.",
        unit="bytes",
        ge=16 * KIB,
        le=64 * MIB,
    )


class ServiceSettings(Section):
    """The background service that owns the running models."""

    control_host: LoopbackHost = setting(
        "127.0.0.1",
        title="Control address",
        help="Address the control API listens on; only this machine can reach it.",
    )
    control_port: int = setting(
        8035,
        title="Control port",
        help="Port of the control API; 0 takes any free one.",
        ge=0,
        le=65535,
        clamp=False,
    )
    keep_serving_after_window: bool = setting(
        False,
        title="Keep serving after the window closes",
        help="Leave the service and its models running when the window that started them closes.",
    )


class DiscoverySettings(Section):
    """Finding model servers."""

    ports: Ports = setting(
        (11434, 1234, 8080, 9931, 8000, 5000, 5001, 30000, 4000, 1337),
        title="Ports to look at",
        help="Where model servers are looked for, most likely first.",
        max_length=64,
        clamp=False,
    )
    connect_timeout_s: float = setting(
        0.5,
        title="Connect timeout",
        help="How long a port may take to accept a connection.",
        unit="s",
        ge=0.05,
        le=30,
    )
    probe_timeout_s: float = setting(
        2.0, title="Probe timeout", help="How long an open port may take to answer.", unit="s", ge=0.1, le=60
    )
    refresh_s: float = setting(
        60.0,
        title="Check known servers every",
        help="Pause between two checks of the known servers.",
        unit="s",
        ge=5,
        le=86400,
    )


class ChatSettings(Section):
    """Talking to a model."""

    system_prompt: str = setting(
        "",
        title="System prompt",
        help="Sent before every conversation; empty sends none.",
        max_length=100_000,
        clamp=False,
    )
    temperature: float | None = setting(
        None,
        title="Temperature",
        help="How freely the model chooses; empty leaves it to the server.",
        ge=0,
        le=5,
    )
    max_tokens: int | None = setting(
        None,
        title="Longest answer",
        help="Most tokens an answer may have; empty leaves it to the server.",
        unit="tokens",
        ge=1,
        le=1_000_000,
    )
    first_token_timeout_s: float = setting(
        600.0,
        title="First token timeout",
        help="How long to wait for the first token.",
        unit="s",
        ge=1,
        le=7200,
    )
    idle_timeout_s: float = setting(
        120.0,
        title="Idle timeout",
        help="How long a stream may pause after its first token.",
        unit="s",
        ge=1,
        le=7200,
    )


class ArenaSettings(Section):
    """Comparing models side by side."""

    max_entries: int = setting(
        6,
        title="Entries",
        help="Most models that answer the same prompt side by side.",
        unit="models",
        ge=2,
        le=6,
    )


class StressSettings(Section):
    """Load tests."""

    concurrency: int = setting(
        4,
        title="Concurrency",
        help="Requests kept in flight at the same time.",
        unit="requests",
        ge=1,
        le=4096,
    )
    requests: int = setting(
        32, title="Requests", help="Requests of one run in all.", unit="requests", ge=1, le=1_000_000
    )
    max_tokens: int = setting(
        128,
        title="Tokens per answer",
        help="Most tokens each answer may have.",
        unit="tokens",
        ge=1,
        le=1_000_000,
    )
    prompt: str = setting(
        "Explain in plain words how a bicycle stays upright while it is moving.",
        title="Prompt",
        help="What every request asks.",
        max_length=1_000_000,
        clamp=False,
    )
    max_concurrency: int = setting(
        256,
        title="Concurrency limit",
        help="No run may keep more requests in flight than this.",
        unit="requests",
        ge=1,
        le=4096,
    )
    request_timeout_s: float = setting(
        600.0,
        title="Request timeout",
        help="A request that takes longer counts as failed.",
        unit="s",
        ge=1,
        le=7200,
    )


class MonitorSettings(Section):
    """Watching this machine."""

    interval_s: float = setting(
        1.0, title="Sample every", help="Pause between two samples.", unit="s", ge=0.1, le=60
    )
    history_s: float = setting(
        600.0, title="History", help="How far back the charts reach.", unit="s", ge=10, le=86400
    )


class UiSettings(Section):
    """The window."""

    theme: Literal["system", "light", "dark"] = setting(
        "system", title="Theme", help="Light, dark, or as the desktop says."
    )
    language: Language = setting(
        "system",
        title="Language",
        help="A language code such as en or de_DE, or system for the desktop's language.",
    )


class LoggingSettings(Section):
    """What is written to the log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", title="Level", help="The least important messages that are still written."
    )
    file_max_bytes: int = setting(
        10 * MIB,
        title="Size of a log file",
        help="A log file that grows beyond this is put aside.",
        unit="bytes",
        ge=64 * KIB,
        le=100 * MIB,
    )
    file_count: int = setting(
        5,
        title="Log files",
        help="How many log files are kept, the current one included.",
        unit="files",
        ge=1,
        le=20,
    )


class AppConfig(Section):
    """config/app_config.json: the settings of the program."""

    version: Literal[1] = Field(CONFIG_VERSION, title="Version", description="Version of this file's format.")
    runtime: RuntimeSettings = RuntimeSettings()
    service: ServiceSettings = ServiceSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    chat: ChatSettings = ChatSettings()
    arena: ArenaSettings = ArenaSettings()
    stress: StressSettings = StressSettings()
    monitor: MonitorSettings = MonitorSettings()
    ui: UiSettings = UiSettings()
    logging: LoggingSettings = LoggingSettings()


class ModelParameters(Section):
    """How a model is loaded; null leaves the choice to the engine."""

    context_length: int | None = setting(
        None,
        title="Context length",
        help="Tokens a conversation may have.",
        unit="tokens",
        ge=1,
        le=16_777_216,
    )
    gpu_layers: int | None = setting(
        None,
        title="GPU layers",
        help="Layers kept on the GPU; 0 uses the CPU only.",
        unit="layers",
        ge=0,
        le=10_000,
    )
    threads: int | None = setting(
        None, title="Threads", help="CPU threads used for generation.", unit="threads", ge=1, le=1024
    )
    parallel: int | None = setting(
        None,
        title="Parallel requests",
        help="Requests the model answers at the same time.",
        unit="slots",
        ge=1,
        le=256,
    )


class ModelEntry(Section):
    """One model the user named."""

    path: ModelPath = Field(
        title="File", description="The GGUF file: a full path, or one below the models folder.", min_length=1
    )
    display_name: str | None = setting(
        None, title="Name", help="How the model is shown; null shows its id.", max_length=256, clamp=False
    )
    parameters: ModelParameters = ModelParameters()


class ModelsConfig(Section):
    """config/models_config.json: the models the user named."""

    version: Literal[1] = Field(CONFIG_VERSION, title="Version", description="Version of this file's format.")
    default_model: str | None = setting(
        None,
        title="Default model",
        help="Id of the model to load when none is named.",
        max_length=256,
        clamp=False,
    )
    # A plain dict to pydantic; nothing in this program changes it in place.
    models: Mapping[str, ModelEntry] = Field(
        default_factory=dict, title="Models", description="The models, by the id they are served under."
    )
