"""Embeddings out of untrusted answers: as many vectors as texts, all of one length, all numbers finite."""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from llama_runner.backends.models import Embeddings
from llama_runner.backends.values import as_list
from llama_runner.core.errors import ProtocolError
from llama_runner.core.jsonio import JsonValue

# Hosted services take 2048 texts, small servers fewer; so many vectors stay below the size of a reply.
BATCH_TEXTS: Final = 32
# The longest vectors there are have some 16,000 numbers; this bounds what one answer may hold.
MAX_DIMENSIONS: Final = 65_536


async def embed_in_batches(
    texts: Sequence[str], embed: Callable[[list[str]], Awaitable[Embeddings]]
) -> Embeddings:
    """All vectors in the order of `texts`, a few texts per request; none at all for no text."""
    parts = [
        await embed(list(texts[start : start + BATCH_TEXTS])) for start in range(0, len(texts), BATCH_TEXTS)
    ]
    tokens = [part.prompt_tokens for part in parts]
    known = [count for count in tokens if count is not None]
    return Embeddings(
        tuple(vector for part in parts for vector in part.vectors),
        sum(known) if known and len(known) == len(tokens) else None,
    )


def vectors_of(items: Sequence[JsonValue], expected: int, where: str) -> tuple[tuple[float, ...], ...]:
    """The vectors. Raises ProtocolError when they are not what was asked for."""
    vectors = tuple(_vector(item, where) for item in items)
    if len(vectors) != expected:
        raise ProtocolError(where, f"it has {len(vectors)} embeddings for {expected} texts")
    if len({len(vector) for vector in vectors}) > 1:
        raise ProtocolError(where, "its embeddings differ in length")
    return vectors


def _vector(item: JsonValue, where: str) -> tuple[float, ...]:
    numbers = as_list(item)
    # llama-server without pooling has a vector per token: a list in a list, of which one is no embedding.
    if not 0 < len(numbers) <= MAX_DIMENSIONS:
        raise ProtocolError(where, "it has no embedding")
    vector = tuple(float(n) for n in numbers if isinstance(n, int | float) and not isinstance(n, bool))
    if len(vector) != len(numbers) or not all(map(math.isfinite, vector)):
        raise ProtocolError(where, "an embedding is not a list of numbers")
    return vector
