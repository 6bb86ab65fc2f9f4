"""What travels through the control API: one shape for the service that writes and the clients that read.

Every value is plain JSON with these field names; `None` is `null`. Unknown keys are ignored, so that an older
client understands a newer service.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from llama_runner.core.errors import ServiceError, UsageError
from llama_runner.core.load_options import NO_OPTIONS, LoadOptions

API_PREFIX: Final = "/api/v1"

# A waiting request is answered after this time at the latest: longer ones look dead to proxies and debuggers.
MAX_WAIT_S: Final = 30.0

FitMark = Literal["fits", "tight", "too large"]
InstanceStateName = Literal["stopped", "starting", "ready", "degraded", "stopping", "backoff", "failed"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProxyFace:
    """One dialect that other programs may speak to us.

    Attributes:
        port: Where it is to be served, 0 for any free port; None when it is switched off.
        url: Where it is served; None when it is not.
        problem: Why it is not although it is to be, and what to do; empty when nothing is wrong.
        fixed: The service was told on its command line; the settings do not count.
    """

    port: int | None = None
    url: str | None = None
    problem: str = ""
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Who answers, and how it is doing.

    Attributes:
        status: "closing" once the service refuses new work.
        owned: Whether it ends with the program that started it.
        demo: Whether it offers the demo engine and model.
        keep: Whether an owned service stays when its owner goes.
        openai: Where programs that speak OpenAI's or LM Studio's dialect reach the models.
        ollama: The same for Ollama's.
        notices: Sentences a person should see: a busy port, a setting that was out of range.
    """

    status: Literal["ok", "closing"]
    version: str
    pid: int
    uptime_s: float
    owned: bool
    keep: bool
    demo: bool = False
    notices: tuple[str, ...] = ()
    openai: ProxyFace = ProxyFace()
    ollama: ProxyFace = ProxyFace()


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """A LoRA file that can be applied to a model: its path is what the option `loras` takes.

    Attributes:
        base_model: What it was made for, as it says itself.
    """

    name: str
    path: str
    size_bytes: int
    base_model: str | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model the service can load; None where its header does not say.

    Attributes:
        origin: The store it is in: "models folder", "configured", "Hugging Face", "LM Studio", "Ollama",
            "demo package".
        size_bytes: All its parts together.
        context_length: The most tokens it was trained for.
        problem: Why it cannot be loaded; None when nothing is wrong.
        capabilities: completion or embedding, tools, thinking, vision, audio, rerank.
        base_name: Of its family; `base_model` is what it was made from.
        parts: Files it consists of.
        template_sha256: Of its chat template; `template_changed` when this file had another one before.
        projector: The file that lets it see or hear, which is loaded with it.
        fit: How it fits this machine when no other model is loaded: "fits", "tight" (only with a shorter
            context), "too large"; None when unknown.
        need_bytes: What it takes, as the user set it up; of `room_bytes`.
        warnings: What is odd about its header.
    """

    id: str
    path: str
    origin: str
    size_bytes: int | None = None
    name: str | None = None
    architecture: str | None = None
    quantization: str | None = None
    context_length: int | None = None
    problem: str | None = None
    parameter_count: int | None = None
    block_count: int | None = None
    embedding_length: int | None = None
    capabilities: tuple[str, ...] = ()
    license: str | None = None
    base_name: str | None = None
    size_label: str | None = None
    base_model: str | None = None
    parts: int = 1
    template_sha256: str | None = None
    template_changed: bool = False
    projector: str | None = None
    adapters: tuple[ServedAdapter, ...] = ()
    fit: FitMark | None = None
    need_bytes: int | None = None
    room_bytes: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelList:
    """The models found, and what was wrong while looking."""

    models: tuple[ServedModel, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """One llama-server child, as `ps --json` shows it.

    Attributes:
        progress: Share of the model that is loaded, 0 to 1, None when unknown.
        error: Why it is not ready, one sentence.
        advice: What to do about it, one sentence.
        started_utc: ISO 8601.
        unload_in_s: Until it leaves for want of work; None for never, or while it works.
        note: What is not as it was asked for, one sentence.
    """

    id: str
    model: str
    state: InstanceStateName
    pid: int | None = None
    port: int | None = None
    url: str | None = None
    progress: float | None = None
    load_s: float | None = None
    error: str | None = None
    advice: str | None = None
    started_utc: str | None = None
    idle_s: float | None = None
    in_flight: int | None = None
    pinned: bool = False
    ram_bytes: int | None = None
    vram_bytes: int | None = None
    unload_in_s: float | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A loaded model in a plan."""

    id: str
    model: str
    bytes: int
    in_flight: int
    idle_s: float | None
    pinned: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What loading a model would mean now; nothing was done.

    Attributes:
        need_bytes: What it takes; `measured` when an earlier load told, else estimated from its header.
        load_s: How long it took the last time, None when it was never loaded like this.
        evict: What would leave, first to last; each finishes what it works on.
        fits: Whether there is room after that.
        loaded: It is loaded, or loading, already: nothing would happen.
    """

    model: str
    need_bytes: int
    measured: bool
    free_bytes: int
    load_s: float | None
    fits: bool
    loaded: bool
    evict: tuple[PlannedModel, ...]
    keep: tuple[PlannedModel, ...]


@dataclass(frozen=True, slots=True)
class PinRequest:
    """Body of a change of an instance."""

    pinned: bool


@dataclass(frozen=True, slots=True)
class TriedStep:
    """A step of a route that did not answer a request, and why, one sentence."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class ProxiedRequest:
    """One request that went through the proxy; None where it never came to that.

    Attributes:
        queue_s: Waited for its turn.
        load_s: Waited for the model.
        upstream_s: From asking the engine to the head of its answer.
        first_byte_s: From arrival to the first byte of the answer.
        own_s: Of that, what neither queue, load nor engine took.
        outcome: "running", "done", "failed", "refused" or "client left".
        step: Who answered, or was asked last: "local" or a server's address.
        tried: The steps of its route before that one.
        prefill_s: The engine's own time for the prompt.
        decode_s: The engine's own time for the output.
        warning: What is wrong with the context, in words.
    """

    number: int
    path: str
    model: str
    started_utc: str
    streamed: bool
    status: int | None
    outcome: str
    queue_s: float | None
    load_s: float | None
    upstream_s: float | None
    first_byte_s: float | None
    own_s: float | None
    total_s: float | None
    bytes_sent: int
    error: str | None
    step: str | None = None
    tried: tuple[TriedStep, ...] = ()
    prefill_s: float | None = None
    decode_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class RequestList:
    """The newest requests through the proxy, oldest first."""

    requests: tuple[ProxiedRequest, ...]


@dataclass(frozen=True, slots=True)
class RouteStep:
    """One model that a route leads to.

    Attributes:
        target: As the settings name it.
        where: "local", or the address of a server.
        passed_over: Its server failed again and again; it is tried every few seconds.
        answered_s: How long it took to answer a test; None when it was not tested or did not.
        problem: Why it could not answer now, and what to do; None when nothing is known against it.
    """

    target: str
    where: str
    passed_over: bool = False
    answered_s: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A name that programs may ask for, and its steps in the order tried."""

    name: str
    steps: tuple[RouteStep, ...]


@dataclass(frozen=True, slots=True)
class RouteList:
    """All routes, and the servers whose models are offered as model@server."""

    routes: tuple[Route, ...]
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceList:
    """Every instance, and the revision to wait behind for the next change."""

    revision: int
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """Where an instance answers and the key it wants. The key stays out of every repr."""

    url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Lines of a log, and where to continue."""

    lines: tuple[str, ...]
    next: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The llama-server in use; `problem` and `hint` say why there is none."""

    path: str | None = None
    origin: str | None = None
    version: str | None = None
    note: str | None = None
    problem: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """Body of a load."""

    model: str
    options: LoadOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class KeepRequest:
    """Body of a change of mind about ending with the owner."""

    keep: bool


@dataclass(frozen=True, slots=True)
class Released:
    """What the service does after its owner let go: it stays while other programs rely on it."""

    ending: bool


@dataclass(frozen=True, slots=True)
class LoginLink:
    """A link for a browser; it works once, within `expires_in_s`. It stays out of every repr."""

    url: str = field(repr=False)
    expires_in_s: float


def to_json(value: Any) -> dict[str, Any]:
    """The JSON object of one of these values."""
    document: dict[str, Any] = adapter_of(type(value)).dump_python(value, mode="json")
    return document


def parse_answer(kind: type[T], data: bytes, *, endpoint: str) -> T:
    """The value in `data`, the answer of `endpoint`. Raises ServiceError naming the first wrong field."""
    try:
        value: T = adapter_of(kind).validate_json(data)
    except ValidationError as error:
        raise ServiceError(
            f"The service's answer to {endpoint} is not understood: {_first_fault(error)}.",
            "Stop it with `llama-runner serve --stop`, then start it again with this version.",
        ) from error
    return value


def parse_body(kind: type[T], data: bytes) -> T:
    """The value in a request body, without unknown keys. Raises UsageError naming the first wrong field."""
    try:
        value: T = adapter_of(kind).validate_json(data, strict=True, extra="forbid")
    except ValidationError as error:
        raise UsageError(
            f"The request body cannot be used: {_first_fault(error)}.", "Correct it and send it again."
        ) from error
    return value


# Building an adapter costs more than using it a hundred times.
_ADAPTERS: Final[dict[type[Any], TypeAdapter[Any]]] = {}


def adapter_of(kind: type[Any]) -> TypeAdapter[Any]:
    """What checks and writes values of `kind`."""
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        adapter = _ADAPTERS[kind] = TypeAdapter(kind)
    return adapter


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    what = fault["msg"][:200]
    return f"{where}: {what}" if where else what
