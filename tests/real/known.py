"""What was found out about each real server: its traits, and the tests that it cannot pass, with the reason.

Only a server's own ways stand here. What is our fault is mended, not listed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from llama_runner.backends.models import ContextSource, ModelInfo
from llama_runner.core.trace import TokensSource
from llama_runner.discovery.registry import Certainty
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
    ),
    "guidellm mock": replace(_PLAIN, limit_reason="stop"),
    "transformers serve": _PLAIN,
    "mlx-lm": _PLAIN,
    "litellm": replace(
        _PLAIN,
        # It has different words for a wrong key and for none.
        refusal_text="",
        embedding_model="smol",
        obeys_schema=True,
        describes=ModelInfo("smol", context_length=CONTEXT_TOKENS, context_source=ContextSource.RUNNING),
    ),
    "portkey": replace(_PLAIN, embedding_model="smol", obeys_schema=True),
    "anthropic on llama-server": replace(_PLAIN, counts_prompt=True),
    "anthropic on vllm": replace(
        _PLAIN, counts_prompt=True, refusal_text="Unauthorized", overflow_text="maximum context length"
    ),
    "anthropic on litellm": replace(_PLAIN, counts_prompt=True, refusal_text=""),
}

# What discovery is to say: the product, how sure it is, and whether a key is wanted.
PRODUCTS: Final[Mapping[str, tuple[str, Certainty, bool]]] = {
    "llama-server": ("llama-server", Certainty.CERTAIN, False),
    "llama-server router": ("llama-server", Certainty.CERTAIN, False),
    "xllamacpp": ("llama-server", Certainty.CERTAIN, True),
    "vllm": ("vllm", Certainty.LIKELY, True),
    "transformers serve": ("openai-compatible", Certainty.LIKELY, False),
    "llama-cpp-python": ("llama-cpp-python", Certainty.CERTAIN, True),
    "mlx-lm": ("mlx-lm", Certainty.LIKELY, False),
    "guidellm mock": ("openai-compatible", Certainty.LIKELY, False),
    "litellm": ("litellm", Certainty.CERTAIN, True),
    "portkey": ("portkey", Certainty.CERTAIN, False),
}

# Answers differ from one time to the next, whatever the seed.
RANDOM: Final = frozenset({"guidellm mock"})

_NO_EYES: Final = "it ignores images"
NO_LIMIT: Final = "it takes prompts of any length"
_AT_LEAST_16: Final = "it asks on through the Responses API, with at least 16 tokens and no reason to finish"

# (server, test without its parameters) -> why this server cannot pass it.
CANNOT: Final[Mapping[tuple[str, str], str]] = {
    ("mlx-lm", "test_a_prompt_beyond_the_context_says_so"): NO_LIMIT,
    ("transformers serve", "test_a_prompt_beyond_the_context_says_so"): NO_LIMIT,
    ("transformers serve", "test_an_image_for_a_model_without_eyes_is_refused_in_words"): _NO_EYES,
    (
        "llama-cpp-python",
        "test_every_delta_has_text_and_the_figures_are_whole",
    ): "it counts nothing in streams",
    ("llama-cpp-python", "test_a_prompt_beyond_the_context_says_so"): "it breaks an empty stream off",
    (
        "llama-cpp-python",
        "test_an_image_for_a_model_without_eyes_is_refused_in_words",
    ): "it breaks an empty stream off",
    ("guidellm mock", "test_cancelling_the_reader_makes_the_server_stop"): "its answers have a fixed length",
    ("guidellm mock", "test_a_prompt_beyond_the_context_says_so"): NO_LIMIT,
    ("guidellm mock", "test_an_image_for_a_model_without_eyes_is_refused_in_words"): _NO_EYES,
    ("anthropic on litellm", "test_the_token_limit_is_kept_and_named"): _AT_LEAST_16,
    ("anthropic on litellm", "test_a_load_workers_reads_decode_to_the_same_answer"): _AT_LEAST_16,
}


def traits_of(name: str, *, keyed: bool) -> Traits:
    """Of the server called `name`; of one that nobody tried yet, the plain dialect's."""
    return replace(TRAITS.get(name, _PLAIN), keyed=keyed)


def reason_to_fail(name: str, test: str) -> str | None:
    """Why the server called `name` cannot pass a test; None where it has to."""
    return CANNOT.get((name, test))
