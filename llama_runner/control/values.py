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
        url: Where it is served, for programs of this machine; None when it is not.
        problem: Why it is not although it is to be, or not where it is to be, and what to do; empty when
            nothing is wrong.
        fixed: The service was told on its command line; the settings do not count.
        needs_token: Programs have to send the access token as their API key.
        open_to_others: Other machines reach it.
    """

    port: int | None = None
    url: str | None = None
    problem: str = ""
    fixed: bool = False
    needs_token: bool = False
    open_to_others: bool = False


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
        capabilities: completion or embedding, tools, thinking, insert, vision, audio, rerank.
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
        profile: The one it was loaded with.
        engine: The name of what runs it; "default" for the one that the settings' engine path finds.
        gpu_layers: Layers planned for graphics cards; None where there are none.
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
    profile: str | None = None
    engine: str | None = None
    gpu_layers: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A loaded model in a plan; `bytes` are what it holds in all, `vram_bytes` those on graphics cards."""

    id: str
    model: str
    bytes: int
    in_flight: int
    idle_s: float | None
    pinned: bool
    vram_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PlanPart:
    """One kind of memory that a model needs: "weights", "context" (keys and values), "work"."""

    name: Literal["weights", "context", "work"]
    ram_bytes: int
    vram_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What loading a model would mean now; nothing was done.

    Attributes:
        need_bytes: What it takes; `measured` when an earlier load told, else estimated from its header.
        need_ram_bytes: Of it, main memory; `need_vram_bytes` is that of graphics cards.
        free_bytes: What is free of both together.
        parts: The estimate, also where a measured figure counts.
        command: The engine's command line as it would be started, but for the port; its key is no part of it.
        engine: The name of the engine; `profile` that of the profile that counts, None for none.
        gpu_layers: How many of its `layers` the plan puts on graphics cards; None where there are none.
        warnings: Sentences to read before.
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
    need_ram_bytes: int = 0
    need_vram_bytes: int = 0
    free_ram_bytes: int = 0
    free_vram_bytes: int = 0
    parts: tuple[PlanPart, ...] = ()
    command: tuple[str, ...] = ()
    engine: str = "default"
    profile: str | None = None
    gpu_layers: int | None = None
    layers: int | None = None
    warnings: tuple[str, ...] = ()


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
    """One llama-server; `problem` and `hint` say why it cannot be used.

    Attributes:
        name: How settings and profiles choose it; "default" is what the engine path finds.
        used: It runs models that name none.
        supports_tools: Whether it can make models call tools.
        lacks: Load options that it does not know.
    """

    path: str | None = None
    origin: str | None = None
    version: str | None = None
    note: str | None = None
    problem: str | None = None
    hint: str | None = None
    name: str = "default"
    used: bool = False
    supports_tools: bool | None = None
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """Body of a load.

    Attributes:
        options: Count before those of the profile.
        profile: By name; None for the model's default, an empty text for none.
        reload: A model that is loaded in another way finishes its work and is loaded anew.
    """

    model: str
    options: LoadOptions = NO_OPTIONS
    profile: str | None = None
    reload: bool = False


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
