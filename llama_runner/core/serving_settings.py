"""The settings of what serves: runtime, service and proxy; part of the schema in `core.settings`."""

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from llama_runner.core.fields import (
    HostNames,
    LinuxPath,
    ListenHost,
    LoopbackHost,
    Origins,
    Section,
    Servers,
    Steps,
    WindowsPath,
    setting,
)
from llama_runner.core.option_types import EngineName, Workers

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
    restart_stuck_s: float = setting(
        0.0,
        title="Restart when stuck for",
        help="A model whose engine computes for so long without a token for anybody is restarted; its "
        "requests fail. Reading a long prompt on a slow machine looks the same. 0 never.",
        unit="s",
        ge=0,
        le=86400,
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
