"""The one schema of all settings: default, unit, bounds, title and help of each, nowhere else.

Files, command line, dialogs, JSON schemas and docs/settings.md are made from it. Values are frozen.
"""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from llama_runner.core.fields import (
    HostNames,
    Language,
    LinuxPath,
    ListenHost,
    LoopbackHost,
    ModelPath,
    Networks,
    Origins,
    Ports,
    Section,
    Servers,
    Steps,
    WindowsPath,
    setting,
)
from llama_runner.core.load_options import EngineName, LoadOptions, Workers

CONFIG_VERSION: Final = 1
KIB: Final = 1024
MIB: Final = 1024 * KIB


class EnginePath(Section):
    """Where llama-server is, per operating system."""

    windows: WindowsPath = setting(
        "F:\\llm\\llama\\llama-server.exe",
        title="Engine on Windows",
        help="Full path of llama-server.exe.",
        applies="load",
    )
    linux: LinuxPath = setting(
        "",
        title="Engine on Linux",
        help="Full path of llama-server; empty looks on PATH, then for the demo engine.",
        applies="load",
    )

    def on(self, platform: str) -> str:
        """The path for a `sys.platform`, empty when none is set."""
        return self.windows if platform == "win32" else self.linux


class NamedEngine(Section):
    """One more llama-server, kept beside the others; a setting or a profile chooses it by its name."""

    windows: WindowsPath = setting("", title="Engine on Windows", help="Full path of llama-server.exe.")
    linux: LinuxPath = setting("", title="Engine on Linux", help="Full path of llama-server.")
    supports_tools: bool | None = setting(
        None,
        title="Tool calls",
        help="Whether it can make models call tools; null looks at its own --help.",
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


class ModelStores(Section):
    """Models that other programs keep on this machine; they are read and never changed."""

    hugging_face: bool = setting(
        True,
        title="Hugging Face's models",
        help="List the GGUF files of the hub cache: HF_HUB_CACHE, HF_HOME, or .cache/huggingface/hub.",
    )
    lm_studio: bool = setting(
        True,
        title="LM Studio's models",
        help="List the models in LM Studio's models folder.",
    )
    ollama: bool = setting(
        True,
        title="Ollama's models",
        help="List the models that Ollama has pulled: in OLLAMA_MODELS, or .ollama/models.",
    )


class RuntimeSettings(Section):
    """Running models on this machine."""

    engine_path: EnginePath = EnginePath()
    engine: EngineName | None = setting(
        None,
        title="Engine",
        help="Which of the named engines runs models that name none; empty uses the engine path.",
    )
    # A plain dict to pydantic; nothing in this program changes it in place.
    engines: Mapping[str, NamedEngine] = Field(
        default_factory=dict, title="Engines", description="More engines, by the name they are chosen by."
    )
    rpc_workers: Workers = setting(
        (),
        title="Other machines",
        help="Machines of yours that models may be spread over. Who reaches such a worker's port controls "
        "that machine, and nothing sent to it is encrypted: only on a network you trust.",
        max_length=16,
        clamp=False,
    )
    models_dir: ModelsDir = ModelsDir()
    stores: ModelStores = ModelStores()
    stop_grace_s: float = setting(
        5.0,
        title="Time to stop",
        help="How long a model may take to stop before it is ended.",
        unit="s",
        ge=0.1,
        le=120,
        applies="load",
    )
    load_stall_s: float = setting(
        300.0,
        title="Loading stall",
        help="A model that loads without any progress for this long is given up.",
        unit="s",
        ge=1,
        le=7200,
        applies="load",
    )
    memory_limit_bytes: int = setting(
        0,
        title="Memory for models",
        help="All loaded models together may take so much; 0 means what this machine has free.",
        unit="bytes",
        ge=0,
        le=2**50,
    )
    idle_unload_s: float = setting(
        600.0,
        title="Unload when idle for",
        help="A model that a program's request loaded leaves the memory after so long without work; 0 never.",
        unit="s",
        ge=0,
        le=30 * 86400,
        applies="load",
    )
    log_ring_bytes: int = setting(
        MIB,
        title="Output kept per model",
        help="How much of each model's output is kept in memory for the log view.",
        unit="bytes",
        ge=16 * KIB,
        le=64 * MIB,
        applies="load",
    )


class ServiceSettings(Section):
    """The background service that owns the running models."""

    control_host: LoopbackHost = setting(
        "127.0.0.1",
        title="Control address",
        help="Address the control API listens on; only this machine can reach it.",
        applies="start",
    )
    control_port: int = setting(
        8035,
        title="Control port",
        help="Port of the control API; 0 takes any free one.",
        ge=0,
        le=65535,
        clamp=False,
        applies="start",
    )
    keep_serving_after_window: bool = setting(
        False,
        title="Keep serving after the window closes",
        help="Leave the service and its models running when the window that started them closes.",
        applies="start",
    )


class RouteEntry(Section):
    """A name that programs may ask for, and what answers for it."""

    steps: Steps = setting(
        (),
        title="Steps",
        help="Models in the order tried until one begins to answer: names of models here, or model@server.",
        max_length=8,
        clamp=False,
    )


class ProxySettings(Section):
    """Other programs' way to the models of this machine."""

    openai_enabled: bool = setting(
        False,
        title="Serve the OpenAI and LM Studio API",
        help="Let programs of this machine use local models as if LM Studio ran here.",
    )
    openai_port: int = setting(
        1234,
        title="OpenAI port",
        help="Port of the OpenAI and LM Studio API; 0 takes any free one.",
        ge=0,
        le=65535,
        clamp=False,
    )
    ollama_enabled: bool = setting(
        False,
        title="Serve the Ollama API",
        help="Let programs of this machine use local models as if Ollama ran here.",
    )
    ollama_port: int = setting(
        11434,
        title="Ollama port",
        help="Port of the Ollama API; 0 takes any free one.",
        ge=0,
        le=65535,
        clamp=False,
    )
    host: ListenHost = setting(
        "127.0.0.1",
        title="Address",
        help="Where both APIs listen. Anything but 127.0.0.1, ::1 and localhost lets other machines in: that "
        "takes an access token (the command access-token makes one), and never happens as root.",
    )
    always_ask_token: bool = setting(
        False,
        title="Ask programs of this machine for the token too",
        help="Keeps other users of this machine out: every program has to send the access token.",
    )
    origins: Origins = setting(
        (),
        title="Web pages that may call",
        help="Origins of pages and browser extensions that may use the APIs, as the browser says them.",
        max_length=32,
        clamp=False,
    )
    host_names: HostNames = setting(
        (),
        title="Other names of this machine",
        help="Names beyond its addresses that programs reach the APIs by, such as host.docker.internal.",
        max_length=32,
        clamp=False,
    )
    servers: Servers = setting(
        (),
        title="Servers offered too",
        help="Known servers whose models programs may ask for as model@server.",
        max_length=32,
        clamp=False,
    )
    # A plain dict to pydantic; nothing in this program changes it in place.
    routes: Mapping[str, RouteEntry] = Field(
        default_factory=dict, title="Routes", description="More names to ask for, and where each leads."
    )
    step_timeout_s: float = setting(
        60.0,
        title="Time for a step",
        help="How long a server of a route may take to begin its answer before the next step is asked.",
        unit="s",
        ge=0.1,
        le=3600,
    )
    log_prompts: bool = setting(
        False,
        title="Log prompts and answers",
        help="Keep what programs ask and are answered in logs/prompts.log, with keys hidden.",
    )


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
