"""Which server is this? Rules on collected answers, without I/O (order and markers: `products`).

What an answer says is checked by its content, never by its status alone: some servers answer 200 to all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from llama_runner.backends.base import Engine
from llama_runner.core.jsonio import JsonValue
from llama_runner.discovery.answers import ProbeAnswer
from llama_runner.discovery.products import (
    ANTHROPIC,
    FIRST_STAGE,
    GREETINGS,
    HEALTH,
    LAST_STAGE,
    LLAMA_SERVER,
    MARK_STAGE,
    MARKS,
    MODELS,
    OLLAMA_STAGE,
    OLLAMA_TAGS,
    OLLAMA_VERSION,
    OWN,
    OWNERS,
    PROPS,
    ROOT,
    VERSION,
    VERSIONS,
    VLLM,
    Product,
)
from llama_runner.discovery.registry import Certainty
from llama_runner.net.answering import OWN_HEADER

# D16: longer ones are not versions.
MAX_VERSION_CHARS: Final = 64


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
Rule = Callable[[Answers], Product | None]

_NO_ANSWER: Final = ProbeAnswer()
_OPENAI: Final = Product("openai-compatible", Engine.OPENAI, Certainty.LIKELY)


def next_paths(answers: Answers) -> tuple[str, ...]:
    """What to ask next; nothing once the rules are sure or it cannot be a model server."""
    if not answers:
        return FIRST_STAGE
    if not _may_be_server(answers):
        return ()
    known = _recognise(answers)
    if known is not None:
        return tuple(path for path in _still_to_ask(known, answers) if path not in answers)
    stages = ((*MARK_STAGE, *_conditional(answers)), OLLAMA_STAGE, LAST_STAGE)
    return next((stage for stage in stages if stage[0] not in answers), ())


def verdict(answers: Answers) -> Verdict:
    """The best name for what was collected, sure or not."""
    if not _may_be_server(answers):
        return NotAServer(_reason(answers))
    models = _answer(answers, MODELS)
    known = _recognise(answers) or _generic(models)
    if known is None:
        return NotAServer(_reason(answers))
    return Fingerprint(
        known.engine,
        known.name,
        known.certainty,
        version=_version(known, answers),
        needs_key=models.refused,
        loading=models.status == 503,
    )


def _generic(models: ProbeAnswer) -> Product | None:
    """What has no mark of its own and still looks like a model server."""
    if models.lists_models:
        return _OPENAI
    return replace(_OPENAI, certainty=Certainty.GUESS) if models.refused else None


# --- rules, imitators first --------------------------------------------------------------------------------


def _own(answers: Answers) -> Product | None:
    return Product(OWN) if _header(answers, OWN_HEADER) else None


def _by_server_header(answers: Answers) -> Product | None:
    if not _header(answers, "server").startswith("llama.cpp"):
        return None
    return LLAMA_SERVER if _owner(answers) in ("", "llamacpp") else None


def _by_owner(answers: Answers) -> Product | None:
    return OWNERS.get(_owner(answers))


def _by_greeting(answers: Answers) -> Product | None:
    text = _answer(answers, ROOT).text
    return next((product for greeting, product in GREETINGS.items() if greeting in text), None)


def _anthropic(answers: Answers) -> Product | None:
    """Its list is not OpenAI's, and neither is its refusal of a request without its own headers."""
    models = _answer(answers, MODELS)
    lists = models.first_model.get("type") == "model" and "has_more" in models.object()
    return ANTHROPIC if lists or _wants_anthropics_headers(models) else None


def _wants_anthropics_headers(models: ProbeAnswer) -> bool:
    refusal = models.refusal()
    error = refusal.get("error")
    if refusal.get("type") != "error" or not isinstance(error, dict):
        return False
    return error.get("type") == "authentication_error" or "anthropic-version" in str(error.get("message"))


def _by_mark(answers: Answers) -> Product | None:
    found = (mark.product for mark in MARKS if mark.shows(_answer(answers, mark.path).document()))
    return next(found, None)


def _ollama(answers: Answers) -> Product | None:
    version = _answer(answers, OLLAMA_VERSION).object()
    tags = _answer(answers, OLLAMA_TAGS).object()
    if not isinstance(tags.get("models"), list) or not isinstance(version.get("version"), str):
        return None
    if _imitates_ollama(tags):
        return None
    sure = _greets_as_ollama(answers) and set(version) == {"version"}
    return Product("ollama", Engine.OLLAMA, Certainty.CERTAIN if sure else Certainty.LIKELY)


def _old_llama_server(answers: Answers) -> Product | None:
    if "default_generation_settings" not in _answer(answers, PROPS).object():
        return None
    return replace(LLAMA_SERVER, certainty=Certainty.LIKELY)


def _mlx(answers: Answers) -> Product | None:
    healthy = _answer(answers, HEALTH).object() == {"status": "ok"}
    return (
        Product("mlx-lm", Engine.OPENAI, Certainty.LIKELY) if healthy and _is_plain_python(answers) else None
    )


def _locked_vllm(answers: Answers) -> Product | None:
    """With a key set it guards its models and not its version."""
    version = _answer(answers, VERSION).object()
    if not _may_be_locked_vllm(answers) or set(version) != {"version"}:
        return None
    return replace(VLLM, certainty=Certainty.LIKELY)


def _aggregator(answers: Answers) -> Product | None:
    entry = _answer(answers, MODELS).first_model
    if "architecture" in entry and "pricing" in entry:
        return Product("openrouter", Engine.OPENAI, Certainty.LIKELY)
    return None


_RULES: Final[tuple[Rule, ...]] = (
    _own,
    _by_greeting,
    _by_server_header,
    _by_mark,
    _by_owner,
    _anthropic,
    _aggregator,
    _ollama,
    _old_llama_server,
    _mlx,
    _locked_vllm,
)


def _recognise(answers: Answers) -> Product | None:
    """The server when a marker gives it away, None while it could be several."""
    return next((found for rule in _RULES if (found := rule(answers)) is not None), None)


# --- what else is worth asking -----------------------------------------------------------------------------


def _still_to_ask(known: Product, answers: Answers) -> tuple[str, ...]:
    """Where it tells its version, and what makes a likely name certain."""
    if known.name == "lm-studio":
        return ("/lmstudio-greeting",)
    path, _ = VERSIONS.get(known.name, ("", ""))
    silent = known is LLAMA_SERVER and (_answer(answers, MODELS).refused or _loading(answers))
    return (path,) if path and not silent else ()


def _conditional(answers: Answers) -> tuple[str, ...]:
    """Only where they can mean something: `/health` of some gateways asks every model."""
    health = (HEALTH,) if _is_plain_python(answers) else ()
    return (*health, VERSION) if _may_be_locked_vllm(answers) else health


def _is_plain_python(answers: Answers) -> bool:
    return _header(answers, "server").startswith("BaseHTTP/") and not _owner(answers)


def _may_be_locked_vllm(answers: Answers) -> bool:
    return _answer(answers, MODELS).refused and _header(answers, "server") == "uvicorn"


# --- what the answers hold ---------------------------------------------------------------------------------


def _answer(answers: Answers, path: str) -> ProbeAnswer:
    return answers.get(path, _NO_ANSWER)


def _header(answers: Answers, name: str) -> str:
    """Of the first two answers, whichever has it: what comes later may be a part of the server only."""
    first = (_answer(answers, path).headers.get(name, "") for path in FIRST_STAGE)
    return next(filter(None, first), "")


def _may_be_server(answers: Answers) -> bool:
    """Whether asking on makes sense: a model list, a wish for a key, or one of the greetings."""
    models, root = _answer(answers, MODELS), _answer(answers, ROOT)
    if _own(answers) is not None:
        # Our control API has no models.
        return models.lists_models
    if models.lists_models or _greets_as_ollama(answers) or _by_greeting(answers) is not None:
        return True
    if _header(answers, "server").startswith("llama.cpp"):
        return True
    # Old TGI: no list, and an empty page.
    if models.status == 404 and root.ok and not root.body:
        return True
    return _wants_anthropics_headers(models) or (models.refused and not models.asks_for_login)


def _greets_as_ollama(answers: Answers) -> bool:
    return "Ollama is running" in _answer(answers, ROOT).text


def _loading(answers: Answers) -> bool:
    return _answer(answers, MODELS).status == 503


def _owner(answers: Answers) -> str:
    owner = _answer(answers, MODELS).first_model.get("owned_by")
    return owner if isinstance(owner, str) else ""


def _imitates_ollama(tags: Mapping[str, JsonValue]) -> bool:
    models = tags.get("models")
    first = models[0] if isinstance(models, list) and models else None
    if not isinstance(first, dict):
        return False
    details = first.get("details")
    family = details.get("family") if isinstance(details, dict) else None
    return str(first.get("digest", "")).startswith("sha256:sglang") or family == "koboldcpp"


def _version(known: Product, answers: Answers) -> str | None:
    if known.name == OWN:
        return _plain_version(_header(answers, OWN_HEADER).partition(";")[0])
    path, name = VERSIONS.get(known.name, ("", ""))
    return _plain_version(_answer(answers, path).object().get(name))


def _plain_version(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_VERSION_CHARS else None


def _reason(answers: Answers) -> str:
    """D1 to D4, D10: why this is not listed."""
    models = _answer(answers, MODELS)
    if _own(answers) is not None:
        return "It is Llama Runner itself."
    if models.status is None:
        return models.failure or "It does not answer."
    if 300 <= models.status < 400:
        return "It redirects elsewhere, which is not followed."
    if models.asks_for_login:
        return "It asks for a login that no model server uses: not an LLM server."
    if "<title>Open WebUI</title>" in _answer(answers, ROOT).text:
        return "It is Open WebUI, which stands in front of model servers: not an LLM server itself."
    if not models.ok:
        return f"It answers {MODELS} with status {models.status}: not an LLM server."
    if models.text.lstrip().startswith("<"):
        return "It answers with a web page: not an LLM server."
    return "Its answer holds no list of models: not an LLM server."
