"""What is known of model servers by name: the marks that give each away, and where each tells its version.

Tables only; `fingerprint` applies them. Every mark is a read-only GET that no known server acts on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from llama_runner.backends.base import Engine
from llama_runner.core.jsonio import JsonValue
from llama_runner.discovery.registry import Certainty

Document = Mapping[str, JsonValue]

ROOT: Final = "/"
MODELS: Final = "/v1/models"
OLLAMA_VERSION: Final = "/api/version"
OLLAMA_TAGS: Final = "/api/tags"
PROPS: Final = "/props"
OPENAPI: Final = "/openapi.json"
HEALTH: Final = "/health"
VERSION: Final = "/version"

# Our own listeners, by their header; never a stranger.
OWN: Final = "llama-runner"


@dataclass(frozen=True, slots=True)
class Product:
    """A server program, and how it is spoken to."""

    name: str
    engine: Engine = Engine.OPENAI
    certainty: Certainty = Certainty.CERTAIN


LLAMA_SERVER: Final = Product("llama-server", Engine.LLAMA_SERVER)
VLLM: Final = Product("vllm", Engine.VLLM)
LM_STUDIO: Final = Product("lm-studio", Engine.LM_STUDIO)
KOBOLDCPP: Final = Product("koboldcpp", Engine.KOBOLDCPP)
LLAMA_SWAP: Final = Product("llama-swap", Engine.LLAMA_SWAP)
LITELLM: Final = Product("litellm", Engine.LITELLM)
LOCALAI: Final = Product("localai", Engine.LOCALAI)
TGI: Final = Product("tgi", Engine.TGI)
ANTHROPIC: Final = Product("anthropic", Engine.ANTHROPIC, Certainty.LIKELY)
LEMONADE: Final = Product("lemonade")
TABBYAPI: Final = Product("tabbyapi")
APHRODITE: Final = Product("aphrodite")
TEXT_WEBUI: Final = Product("text-generation-webui")
DOCKER: Final = Product("docker-model-runner")

# What `GET /` says. Before everything else: what forwards passes on the marks of what is behind it. LiteLLM
# without a database answers 500 to whoever has no key, so this page is all there is to see of it.
GREETINGS: Final[Mapping[str, Product]] = {
    "Docker Model Runner is running": DOCKER,
    "<title>LiteLLM API": LITELLM,
    "AI Gateway says hey!": Product("portkey"),
}

# The first model entry's `owned_by`, where it gives the server away. Jan's "llama.cpp", llama-cpp-python's
# "me" and text-generation-webui's "user" could be anybody's.
OWNERS: Final[Mapping[str, Product]] = {
    "llamacpp": LLAMA_SERVER,
    "vllm": VLLM,
    "sglang": Product("sglang", Engine.SGLANG),
    "llama-swap": LLAMA_SWAP,
    "lemonade": LEMONADE,
    "koboldcpp": KOBOLDCPP,
    "omlx": Product("omlx"),
    "docker": DOCKER,
    "humanity": Product("gpt4all"),
    "tabbyAPI": TABBYAPI,
    # Its greeting, asked for next, makes it certain.
    "organization_owner": Product("lm-studio", Engine.LM_STUDIO, Certainty.LIKELY),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """What one path answers on one server and on no other.

    Attributes:
        shows: Whether a JSON answer is that server's.
    """

    path: str
    product: Product
    shows: Callable[[JsonValue], bool]


def _object(shows: Callable[[Document], bool]) -> Callable[[JsonValue], bool]:
    return lambda document: isinstance(document, dict) and shows(document)


def _software(name: str) -> Callable[[JsonValue], bool]:
    def shows(document: Document) -> bool:
        software = document.get("software")
        return isinstance(software, dict) and software.get("name") == name

    return _object(shows)


def _titled(beginning: str) -> Callable[[JsonValue], bool]:
    def shows(document: Document) -> bool:
        info = document.get("info")
        title = info.get("title") if isinstance(info, dict) else None
        return isinstance(title, str) and title.startswith(beginning)

    return _object(shows)


def _local_ai(document: Document) -> bool:
    """Not only a version: servers that answer everything alike would have one too."""
    return isinstance(document.get("version"), str) and not {"data", "models", "error"} & set(document)


# Imitators before what they imitate.
MARKS: Final[tuple[Mark, ...]] = (
    Mark("/api/extra/version", KOBOLDCPP, _object(lambda d: d.get("result") == "KoboldCpp")),
    Mark("/lmstudio-greeting", LM_STUDIO, _object(lambda d: d.get("lmstudio") is True)),
    Mark("/.well-known/localai.json", LOCALAI, _object(_local_ai)),
    Mark("/.well-known/serviceinfo", TABBYAPI, _software("TabbyAPI")),
    Mark("/.well-known/serviceinfo", APHRODITE, _software("Aphrodite Engine")),
    Mark("/.well-known/serviceinfo", KOBOLDCPP, _software("KoboldCpp")),
    Mark("/health/liveliness", LITELLM, lambda document: document == "I'm alive!"),
    Mark("/v1/health", LEMONADE, _object(lambda d: "all_models_loaded" in d)),
    Mark("/info", TGI, _object(lambda d: "model_id" in d and "max_concurrent_requests" in d)),
    Mark("/v1/internal/model/info", TEXT_WEBUI, _object(lambda d: "model_name" in d and "lora_names" in d)),
    Mark(OLLAMA_VERSION, LLAMA_SWAP, _object(lambda d: "commit" in d and "build_date" in d)),
    Mark(OPENAPI, Product("jan"), _titled("Jan API Server")),
    Mark(OPENAPI, TEXT_WEBUI, _titled("Text generation web UI")),
    Mark(OPENAPI, Product("llama-cpp-python"), _titled("🦙 llama.cpp Python API")),
    Mark(OPENAPI, LITELLM, _titled("LiteLLM API")),
)

# Asked one after the other until a rule is sure, the paths of one stage at the same time.
FIRST_STAGE: Final = (ROOT, MODELS)
MARK_STAGE: Final = tuple(
    dict.fromkeys(mark.path for mark in MARKS if mark.path not in (OLLAMA_VERSION, OPENAPI))
)
OLLAMA_STAGE: Final = (OLLAMA_VERSION, OLLAMA_TAGS)
LAST_STAGE: Final = (PROPS, OPENAPI)

# Where a server that is known tells its version: path and field.
VERSIONS: Final[Mapping[str, tuple[str, str]]] = {
    "llama-server": (PROPS, "build_info"),
    "vllm": (VERSION, "version"),
    "sglang": ("/server_info", "version"),
    "llama-swap": (OLLAMA_VERSION, "version"),
    "lemonade": ("/v1/health", "version"),
    "koboldcpp": ("/api/extra/version", "version"),
    "localai": ("/.well-known/localai.json", "version"),
    "litellm": ("/health/readiness", "litellm_version"),
    "aphrodite": (VERSION, "version"),
    "tgi": ("/info", "version"),
    "ollama": (OLLAMA_VERSION, "version"),
}
