"""The one schema of all settings: default, unit, bounds, title and help of each, nowhere else.

Files, command line, dialogs, JSON schemas and docs/settings.md are made from it. Values are frozen.
"""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from llama_runner.core.fields import (
    Language,
    ModelPath,
    Networks,
    Ports,
    Section,
    setting,
)
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.serving_settings import (
    KIB,
    MIB,
    EnginePath,
    ModelsDir,
    ModelStores,
    NamedEngine,
    ProxySettings,
    RouteEntry,
    RuntimeSettings,
    ServiceSettings,
)

__all__ = [
    "CONFIG_VERSION",
    "KIB",
    "MIB",
    "AppConfig",
    "ArenaSettings",
    "ChatSettings",
    "DiscoverySettings",
    "EnginePath",
    "LoggingSettings",
    "ModelEntry",
    "ModelStores",
    "ModelsConfig",
    "ModelsDir",
    "MonitorSettings",
    "NamedEngine",
    "ProxySettings",
    "RouteEntry",
    "RuntimeSettings",
    "ServiceSettings",
    "StressSettings",
    "UiSettings",
]

CONFIG_VERSION: Final = 1


class DiscoverySettings(Section):
    """Finding model servers."""

    ports: Ports = setting(
        (11434, 1234, 8080, 9931, 8000, 5000, 5001, 30000, 4000, 1337, 3000, 12434, 13305, 4891, 2242, 6767),
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
    never_scan: Networks = setting(
        (),
        title="Never scan",
        help="Networks and addresses that no scan touches, whatever it is asked for.",
        max_length=64,
        clamp=False,
    )
    shared_addresses: bool = setting(
        False,
        title="Scan shared addresses",
        help="Allow scans of 100.64.0.0/10, which VPNs such as Tailscale use, and some providers for others.",
    )
    refresh_s: float = setting(
        60.0,
        title="Check known servers every",
        help="How long the answer of a known server counts; one that is gone is asked ever more rarely.",
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
    keep_history: bool = setting(
        True,
        title="Keep conversations",
        help="Keep chats of the window on this machine, to find and to go on with; private ones never.",
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
        1.0, title="Sample every", help="Pause between two samples.", unit="s", ge=0.1, le=60, applies="start"
    )
    history_s: float = setting(
        600.0,
        title="History",
        help="How far back the charts reach.",
        unit="s",
        ge=10,
        le=86400,
        applies="start",
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
        applies="start",
    )


class LoggingSettings(Section):
    """What is written to the log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", title="Level", help="The least important messages that are still written.", applies="start"
    )
    file_max_bytes: int = setting(
        10 * MIB,
        title="Size of a log file",
        help="A log file that grows beyond this is put aside.",
        unit="bytes",
        ge=64 * KIB,
        le=100 * MIB,
        applies="start",
    )
    file_count: int = setting(
        5,
        title="Log files",
        help="How many log files are kept, the current one included.",
        unit="files",
        ge=2,
        le=20,
        applies="start",
    )


class AppConfig(Section):
    """config/app_config.json: the settings of the program."""

    version: Literal[1] = Field(CONFIG_VERSION, title="Version", description="Version of this file's format.")
    runtime: RuntimeSettings = RuntimeSettings()
    service: ServiceSettings = ServiceSettings()
    proxy: ProxySettings = ProxySettings()
    discovery: DiscoverySettings = DiscoverySettings()
    chat: ChatSettings = ChatSettings()
    arena: ArenaSettings = ArenaSettings()
    stress: StressSettings = StressSettings()
    monitor: MonitorSettings = MonitorSettings()
    ui: UiSettings = UiSettings()
    logging: LoggingSettings = LoggingSettings()


class ModelEntry(Section):
    """One model the user named."""

    path: ModelPath = Field(
        title="File", description="The GGUF file: a full path, or one below the models folder.", min_length=1
    )
    display_name: str | None = setting(
        None, title="Name", help="How the model is shown; null shows its id.", max_length=256, clamp=False
    )
    parameters: LoadOptions = LoadOptions()
    profiles: Mapping[str, LoadOptions] = Field(
        default_factory=dict,
        title="Profiles",
        description="More ways to load it, by name: options that count before those in parameters.",
    )
    default_profile: str | None = setting(
        None,
        title="Default profile",
        help="The profile it is loaded with when none is named.",
        max_length=64,
        clamp=False,
    )


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
