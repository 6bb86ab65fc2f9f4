"""What the proxy needs of whoever runs the models. Implemented by the service; nothing here knows how."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from llama_runner.backends.base import Engine

# Where a model of this machine answers, as headers and records call it.
LOCAL: Final = "local"


class ModelState(StrEnum):
    """Whether a model is in memory."""

    LOADED = "loaded"
    LOADING = "loading"
    NOT_LOADED = "not-loaded"


@dataclass(frozen=True, slots=True)
class Step:
    """One place that may answer.

    Attributes:
        target: What `ModelHost.use` is asked for.
        where: LOCAL, or the address of a known server; never has more in it than that.
    """

    target: str
    where: str = LOCAL


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """One model that requests may name; None where unknown.

    Attributes:
        id: The name in requests and answers.
        digest: 64 hexadecimal digits, another for every file and set of capabilities: clients cache by it.
        modified_s: When its file changed, seconds since 1970.
        trained_context: The most tokens it was trained for.
        running_context: Tokens one request can use now, None while it is not loaded.
        capabilities: In Ollama's words: completion, tools, thinking, insert, vision, audio, embedding.
        idle_unload_s: When it leaves the memory, counted from its last request; None for never.
        steps: What answers for it, in the order tried until one begins to answer; empty for itself.
    """

    id: str
    digest: str
    size_bytes: int
    modified_s: float
    state: ModelState = ModelState.NOT_LOADED
    architecture: str | None = None
    quantization: str | None = None
    parameter_count: int | None = None
    trained_context: int | None = None
    running_context: int | None = None
    embedding_length: int | None = None
    block_count: int | None = None
    capabilities: tuple[str, ...] = ("completion",)
    memory_bytes: int | None = None
    vram_bytes: int | None = None
    idle_unload_s: float | None = None
    steps: tuple[Step, ...] = ()

    @property
    def ways(self) -> tuple[Step, ...]:
        """What answers for it, never empty."""
        return self.steps or (Step(self.id),)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A model that is ready, for the length of one request.

    Attributes:
        api_key: For this upstream only; never leaves towards a client. None where it wants none.
        model_id: The model as the upstream calls it.
        load_s: How long this request waited for the model to load; 0 when it was ready.
        engine: Decides in which dialect it is asked.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    model_id: str
    load_s: float = 0.0
    engine: Engine = Engine.LLAMA_SERVER


class ModelHost(Protocol):
    """Runs models."""

    async def offered(self) -> Sequence[OfferedModel]:
        """Every model that can be asked for, in the order shown."""
        ...

    def use(self, model_id: str) -> AbstractAsyncContextManager[Upstream]:
        """Have the model ready for the length of the block, loading it when it is not; counts as in flight.

        Raises:
            NotFoundError: There is no such model.
            EngineError, ModelFileError: It cannot be loaded; says why.
            ServiceError: The service is ending.
        """
        ...

    def keep(self, model_id: str, idle_s: float | None) -> None:
        """How long a loaded model stays without work: None for the default, infinity for ever."""
        ...

    async def changed(self, limit_s: float) -> None:
        """Wait until anything changed about any model, at most `limit_s`."""
        ...

    async def unload(self, model_id: str) -> None:
        """Take it out of memory. Raises NotFoundError when it is not loaded."""
        ...
