"""Which server is this? Rules on collected answers, without I/O (order and markers: the protocol notes).

Imitators come before what they imitate. What an answer says is checked by its content, never by its status
alone: some servers answer 200 to everything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from llama_runner.backends.base import Engine
from llama_runner.core.jsonio import JsonValue
from llama_runner.discovery.answers import ProbeAnswer
from llama_runner.discovery.registry import Certainty

# D16: longer ones are not versions.
MAX_VERSION_CHARS: Final = 64

ROOT: Final = "/"
MODELS: Final = "/v1/models"
_KOBOLD: Final = "/api/extra/version"
_LM_STUDIO: Final = "/lmstudio-greeting"
_LOCAL_AI: Final = "/.well-known/localai.json"
_LITE_LLM: Final = "/health/liveliness"
_OLLAMA_VERSION: Final = "/api/version"
_OLLAMA_TAGS: Final = "/api/tags"
_PROPS: Final = "/props"
_VLLM_VERSION: Final = "/version"

# Asked one after the other until the rules are sure; the paths of one stage at the same time. GET only.
FIRST_STAGE: Final = (ROOT, MODELS)
_STAGES: Final = ((_KOBOLD, _LM_STUDIO, _LOCAL_AI, _LITE_LLM), (_OLLAMA_VERSION, _OLLAMA_TAGS), (_PROPS,))

# The first model entry's `owned_by`, where it gives the server away.
_OWNERS: Final[Mapping[str, tuple[Engine, str]]] = {
    "llamacpp": (Engine.LLAMA_SERVER, "llama-server"),
    "vllm": (Engine.VLLM, "vllm"),
    "sglang": (Engine.OPENAI, "sglang"),
    "llama-swap": (Engine.OPENAI, "llama-swap"),
    "lemonade": (Engine.OPENAI, "lemonade"),
    "koboldcpp": (Engine.OPENAI, "koboldcpp"),
    "omlx": (Engine.OPENAI, "omlx"),
    "docker": (Engine.OPENAI, "docker-model-runner"),
    "humanity": (Engine.OPENAI, "gpt4all"),
    "organization_owner": (Engine.LM_STUDIO, "lm-studio"),
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A model server, recognised.

    Attributes:
        needs_key: It wants a key before it lists its models.
        loading: It is up and its model is not yet.
    """

    engine: Engine
    product: str
    certainty: Certainty
    version: str | None = None
    needs_key: bool = False
    loading: bool = False


@dataclass(frozen=True, slots=True)
class NotAServer:
    """Something answers, and it is no model server. `reason` is one sentence."""

    reason: str


Verdict = Fingerprint | NotAServer
Answers = Mapping[str, ProbeAnswer]
Rule = Callable[[Answers], Fingerprint | None]

_NO_ANSWER: Final = ProbeAnswer()


def next_paths(answers: Answers) -> tuple[str, ...]:
    """What to ask next; nothing once the rules are sure or it cannot be a model server."""
    if not answers:
        return FIRST_STAGE
    if not _may_be_server(answers):
        return ()
    known = recognise(answers)
    if known is not None:
        path = _version_path(known)
        return (path,) if path and path not in answers else ()
    return next((stage for stage in _STAGES if stage[0] not in answers), ())


def verdict(answers: Answers) -> Verdict:
    """The best name for what was collected, sure or not."""
    if not _may_be_server(answers):
        return NotAServer(_reason(answers))
    return recognise(answers) or _generic(answers)


def recognise(answers: Answers) -> Fingerprint | None:
    """The server when a marker gives it away, None while it could be several."""
    return next((found for rule in _RULES if (found := rule(answers)) is not None), None)


# --- rules, imitators first --------------------------------------------------------------------------------


def _by_server_header(answers: Answers) -> Fingerprint | None:
    models = _answer(answers, MODELS)
    if not any(answer.headers.get("server", "").startswith("llama.cpp") for answer in answers.values()):
        return None
    if _owner(models) not in ("", "llamacpp"):
        return None
    return Fingerprint(
        Engine.LLAMA_SERVER,
        "llama-server",
        Certainty.CERTAIN,
        version=_text_field(_answer(answers, _PROPS).object(), "build_info"),
        needs_key=_refused(models),
        loading=models.status == 503,
    )


def _by_owner(answers: Answers) -> Fingerprint | None:
    known = _OWNERS.get(_owner(_answer(answers, MODELS)))
    if known is None:
        return None
    engine, product = known
    certainty = Certainty.LIKELY if engine is Engine.LM_STUDIO else Certainty.CERTAIN
    return Fingerprint(engine, product, certainty, version=_version_of(answers, engine))


def _kobold(answers: Answers) -> Fingerprint | None:
    found = _answer(answers, _KOBOLD).object()
    if found.get("result") != "KoboldCpp":
        return None
    return Fingerprint(Engine.OPENAI, "koboldcpp", Certainty.CERTAIN, version=_text_field(found, "version"))


def _lm_studio(answers: Answers) -> Fingerprint | None:
    if _answer(answers, _LM_STUDIO).object().get("lmstudio") is not True:
        return None
    refused = _refused(_answer(answers, MODELS))
    return Fingerprint(Engine.LM_STUDIO, "lm-studio", Certainty.CERTAIN, needs_key=refused)


def _local_ai(answers: Answers) -> Fingerprint | None:
    found = _answer(answers, _LOCAL_AI).object()
    if not found or "error" in found:
        return None
    return Fingerprint(Engine.OPENAI, "localai", Certainty.LIKELY, version=_text_field(found, "version"))


def _lite_llm(answers: Answers) -> Fingerprint | None:
    if _answer(answers, _LITE_LLM).document() != "I'm alive!":
        return None
    refused = _refused(_answer(answers, MODELS))
    return Fingerprint(Engine.OPENAI, "litellm", Certainty.CERTAIN, needs_key=refused)


def _ollama(answers: Answers) -> Fingerprint | None:
    version = _answer(answers, _OLLAMA_VERSION).object()
    tags = _answer(answers, _OLLAMA_TAGS).object()
    if not isinstance(tags.get("models"), list) or not isinstance(version.get("version"), str):
        return None
    if _imitates_ollama(tags):
        return None
    greets = "Ollama is running" in _answer(answers, ROOT).text
    sure = greets and set(version) == {"version"}
    certainty = Certainty.CERTAIN if sure else Certainty.LIKELY
    return Fingerprint(Engine.OLLAMA, "ollama", certainty, version=_text_field(version, "version"))


def _old_llama_server(answers: Answers) -> Fingerprint | None:
    props = _answer(answers, _PROPS).object()
    if "default_generation_settings" not in props:
        return None
    version = _text_field(props, "build_info")
    return Fingerprint(Engine.LLAMA_SERVER, "llama-server", Certainty.LIKELY, version=version)


_RULES: Final[tuple[Rule, ...]] = (
    _by_server_header,
    _by_owner,
    _kobold,
    _lm_studio,
    _local_ai,
    _lite_llm,
    _ollama,
    _old_llama_server,
)


def _generic(answers: Answers) -> Fingerprint:
    models = _answer(answers, MODELS)
    if _refused(models):
        return Fingerprint(Engine.OPENAI, "openai-compatible", Certainty.GUESS, needs_key=True)
    certainty = Certainty.LIKELY if _lists_models(models) else Certainty.GUESS
    return Fingerprint(Engine.OPENAI, "openai-compatible", certainty)


# --- what the answers hold ---------------------------------------------------------------------------------


def _answer(answers: Answers, path: str) -> ProbeAnswer:
    return answers.get(path, _NO_ANSWER)


def _may_be_server(answers: Answers) -> bool:
    """Whether asking on makes sense: a model list, a wish for a key, or one of the greetings."""
    models, root = _answer(answers, MODELS), _answer(answers, ROOT)
    if _lists_models(models) or "Ollama is running" in root.text:
        return True
    if any(answer.headers.get("server", "").startswith("llama.cpp") for answer in (root, models)):
        return True
    return _refused(models) and not _asks_for_login(models)


def _lists_models(models: ProbeAnswer) -> bool:
    """A `data` list; null where Ollama has no model (with its `object`), not any JSON object."""
    document = models.object()
    data = document.get("data")
    if data is None:
        return "data" in document and document.get("object") == "list"
    return isinstance(data, list) and all(isinstance(item, dict) and "id" in item for item in data[:5])


def _refused(answer: ProbeAnswer) -> bool:
    return answer.status in (401, 403)


def _asks_for_login(answer: ProbeAnswer) -> bool:
    """A router's or a printer's own login, which no model server uses."""
    return (
        answer.headers.get("www-authenticate", "")
        .lower()
        .startswith(("basic", "digest", "ntlm", "negotiate"))
    )


def _owner(models: ProbeAnswer) -> str:
    data = models.object().get("data")
    first = data[0] if isinstance(data, list) and data else None
    owner = first.get("owned_by") if isinstance(first, dict) else None
    return owner if isinstance(owner, str) else ""


def _imitates_ollama(tags: Mapping[str, JsonValue]) -> bool:
    models = tags.get("models")
    first = models[0] if isinstance(models, list) and models else None
    if not isinstance(first, dict):
        return False
    details = first.get("details")
    family = details.get("family") if isinstance(details, dict) else None
    return str(first.get("digest", "")).startswith("sha256:sglang") or family == "koboldcpp"


def _version_path(known: Fingerprint) -> str | None:
    if known.needs_key or known.loading:
        return None
    return {Engine.LLAMA_SERVER: _PROPS, Engine.VLLM: _VLLM_VERSION}.get(known.engine)


def _version_of(answers: Answers, engine: Engine) -> str | None:
    if engine is Engine.VLLM:
        return _text_field(_answer(answers, _VLLM_VERSION).object(), "version")
    if engine is Engine.LLAMA_SERVER:
        return _text_field(_answer(answers, _PROPS).object(), "build_info")
    return None


def _text_field(document: Mapping[str, JsonValue], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_VERSION_CHARS else None


def _reason(answers: Answers) -> str:
    """D1 to D4, D10: why this is not listed."""
    models = _answer(answers, MODELS)
    if models.status is None:
        return models.failure or "It does not answer."
    if 300 <= models.status < 400:
        return "It redirects elsewhere, which is not followed."
    if _asks_for_login(models):
        return "It asks for a login that no model server uses: not an LLM server."
    if not models.ok:
        return f"It answers {MODELS} with status {models.status}: not an LLM server."
    if models.text.lstrip().startswith("<"):
        return "It answers with a web page: not an LLM server."
    return "Its answer holds no list of models: not an LLM server."
