"""What was found out about each real server: its traits, and the tests that it cannot pass, with the reason.

Only a server's own ways stand here. What is our fault is mended, not listed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from llama_runner.backends.models import ContextSource, ModelInfo
from llama_runner.core.trace import TokensSource
from tests.contract.servers import CONTEXT_TOKENS, REAL_LLAMA_SERVER, Traits

_PLAIN: Final = Traits(limit_reason="length", not_found_text="Not Found")

TRAITS: Final[Mapping[str, Traits]] = {
    "llama-server": REAL_LLAMA_SERVER,
    "llama-server router": replace(REAL_LLAMA_SERVER, loads=True, embedding_model=None),
    "xllamacpp": REAL_LLAMA_SERVER,
    "vllm": replace(
        _PLAIN,
        counts=TokensSource.CHUNK_USAGE,
        refusal_text="Unauthorized",
        overflow_text="maximum context length",
        counts_tokens=True,
        counts_prompt=True,
        obeys_schema=True,
        describes=ModelInfo("smol", context_length=CONTEXT_TOKENS, context_source=ContextSource.RUNNING),
    ),
    "llama-cpp-python": replace(
        _PLAIN,
        counts=TokensSource.CHUNKS,
        refusal_text="Invalid API key",
        overflow_text="maximum context length",
        obeys_schema=True,
    ),
    "guidellm mock": replace(_PLAIN, limit_reason="stop"),
    "litellm": _PLAIN,
    "portkey": replace(_PLAIN, refusal_text="Invalid API Key", obeys_schema=True),
}

# (server, test without its parameters) -> why this server cannot pass it.
CANNOT: Final[Mapping[tuple[str, str], str]] = {}


def traits_of(name: str, *, keyed: bool) -> Traits:
    """Of the server called `name`; of one that nobody tried yet, the plain dialect's."""
    return replace(TRAITS.get(name, _PLAIN), keyed=keyed)


def reason_to_fail(name: str, test: str) -> str | None:
    """Why the server called `name` cannot pass a test; None where it has to."""
    return CANNOT.get((name, test))
