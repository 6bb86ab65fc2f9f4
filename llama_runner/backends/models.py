"""What servers say about their models, and what else they can be asked. None always means: not said."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from llama_runner.core.trace import TokensSource

# The words for what a model can do, as in Ollama's `capabilities`; everything else is translated to them.
COMPLETION: Final = "completion"
TOOLS: Final = "tools"
VISION: Final = "vision"
AUDIO: Final = "audio"
THINKING: Final = "thinking"
EMBEDDING: Final = "embedding"
INSERT: Final = "insert"
RERANK: Final = "rerank"


class ContextSource(StrEnum):
    """Where a context length comes from, the one that really applies first."""

    SLOT = "slot"
    RUNNING = "running"
    TRAINED = "trained"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model as a server lists it; None where the server does not say.

    Attributes:
        context_length: Tokens that really apply: per slot, else running, else trained.
        loaded: Whether it is in memory now.
        capabilities: Words of this module.
        context_source: Which of them `context_length` is.
        trained_context: The most tokens it was trained for.
        family: Its architecture ("llama", "qwen3").
        parameters: How many weights, as the server words it ("8.2B").
        instance_id: What `unload` has to name where that is not the model's id.
        loadable: The server says of this very model that it loads and unloads it when asked. Most say nothing
            about single models: `Backend.can_load` tells for all of theirs.
    """

    id: str
    context_length: int | None = None
    size_bytes: int | None = None
    quantization: str | None = None
    loaded: bool | None = None
    capabilities: tuple[str, ...] = ()
    context_source: ContextSource | None = None
    trained_context: int | None = None
    family: str | None = None
    parameters: str | None = None
    instance_id: str | None = None
    loadable: bool = False


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How many tokens something is, and who counted."""

    tokens: int
    source: TokensSource


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector per text, in the order asked; all of one length.

    Attributes:
        prompt_tokens: Of all texts together.
    """

    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int | None = None


def weights_text(weights: int) -> str:
    """A number of weights as people say it: "135M", "8.19B"."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if weights >= size:
            return f"{weights / size:.3g}{unit}"
    return str(weights)
