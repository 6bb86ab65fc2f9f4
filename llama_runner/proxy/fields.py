"""Which fields of a request go on to the engine, and within which bounds (I10, I28, H17, H18).

An allow-list: engines have fields that read files, choose slots or overflow buffers.
"""

from collections.abc import Callable, Mapping
from typing import Final

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy.schemas import bounded

MAX_TOKENS: Final = 10_000_000
MAX_STOPS: Final = 64
MAX_LOGIT_BIAS: Final = 4096
MAX_CHOICES: Final = 16
MAX_MESSAGES: Final = 100_000
MAX_TOOLS: Final = 1024
MAX_INPUTS: Final = 8192
# What the engine makes a grammar of.
_WITH_SCHEMAS: Final = ("response_format", "json_schema", "tools", "text", "output_config")

Check = Callable[[JsonValue], str | None]


def _number(low: float, high: float) -> Check:
    def check(value: JsonValue) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        return None if low <= value <= high else f"must be from {low:g} to {high:g}"

    return check


def _whole(low: int, high: int) -> Check:
    def check(value: JsonValue) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            return "must be a whole number"
        return None if low <= value <= high else f"must be from {low} to {high}"

    return check


def _yes_or_no(value: JsonValue) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _text(value: JsonValue) -> str | None:
    return None if isinstance(value, str) else "must be a text"


def _object(value: JsonValue) -> str | None:
    return None if isinstance(value, dict) else "must be an object"


def _list(limit: int) -> Check:
    def check(value: JsonValue) -> str | None:
        if not isinstance(value, list):
            return "must be a list"
        return None if len(value) <= limit else f"may have at most {limit} entries"

    return check


def _map(limit: int) -> Check:
    def check(value: JsonValue) -> str | None:
        if not isinstance(value, dict):
            return "must be an object"
        return None if len(value) <= limit else f"may have at most {limit} entries"

    return check


def _nothing(value: JsonValue) -> str | None:
    """For what would change an answer's meaning when it was left out without a word."""
    return None if value in ("", False) else "is not supported here: nothing is kept between requests"


def _any_of(*checks: Check) -> Check:
    def check(value: JsonValue) -> str | None:
        faults = [check(value) for check in checks]
        return None if None in faults else faults[0]

    return check


_TEXTS_OR_TOKENS: Final = _any_of(_text, _list(MAX_INPUTS))

_SAMPLING: Final[Mapping[str, Check]] = {
    "temperature": _number(0, 100),
    "top_p": _number(0, 1),
    "top_k": _whole(-1, 1_000_000),
    "min_p": _number(0, 1),
    "typical_p": _number(0, 1),
    "top_n_sigma": _number(-1, 100),
    "xtc_probability": _number(0, 1),
    "xtc_threshold": _number(0, 1),
    "repeat_penalty": _number(0, 100),
    "repeat_last_n": _whole(0, MAX_TOKENS),
    "presence_penalty": _number(-100, 100),
    "frequency_penalty": _number(-100, 100),
    "dry_multiplier": _number(0, 100),
    "dry_base": _number(0, 100),
    "dry_allowed_length": _whole(0, MAX_TOKENS),
    "dry_penalty_last_n": _whole(0, MAX_TOKENS),
    "dry_sequence_breakers": _list(MAX_STOPS),
    "mirostat": _whole(0, 2),
    "mirostat_tau": _number(0, 100),
    "mirostat_eta": _number(0, 100),
    "dynatemp_range": _number(0, 100),
    "dynatemp_exponent": _number(0, 100),
    "seed": _whole(-1, 2**32 - 1),
    "logit_bias": _any_of(_map(MAX_LOGIT_BIAS), _list(MAX_LOGIT_BIAS)),
    "stop": _any_of(_text, _list(MAX_STOPS)),
    "ignore_eos": _yes_or_no,
    "cache_prompt": _yes_or_no,
    "n": _whole(1, MAX_CHOICES),
    "timings_per_token": _yes_or_no,
    "return_progress": _yes_or_no,
    "sse_ping_interval": _whole(-1, 3600),
    "user": _text,
}
_LENGTHS: Final[Mapping[str, Check]] = {
    "max_tokens": _whole(-1, MAX_TOKENS),
    "max_completion_tokens": _whole(-1, MAX_TOKENS),
    "n_predict": _whole(-1, MAX_TOKENS),
}
_STREAM: Final[Mapping[str, Check]] = {"stream": _yes_or_no, "stream_options": _object}

CHAT: Final[Mapping[str, Check]] = {
    **_SAMPLING,
    **_LENGTHS,
    **_STREAM,
    "messages": _list(MAX_MESSAGES),
    "tools": _list(MAX_TOOLS),
    "tool_choice": _any_of(_text, _object),
    "parallel_tool_calls": _yes_or_no,
    "parse_tool_calls": _yes_or_no,
    "response_format": _object,
    "json_schema": _object,
    "logprobs": _yes_or_no,
    "top_logprobs": _whole(0, 20),
    "chat_template_kwargs": _object,
    "reasoning_format": _text,
    "reasoning_effort": _text,
    "reasoning_budget_tokens": _whole(-1, MAX_TOKENS),
    "add_generation_prompt": _yes_or_no,
}
COMPLETION: Final[Mapping[str, Check]] = {
    **_SAMPLING,
    **_LENGTHS,
    **_STREAM,
    "prompt": _TEXTS_OR_TOKENS,
    "suffix": _text,
    "echo": _yes_or_no,
    "logprobs": _any_of(_yes_or_no, _whole(0, 20)),
    "n_probs": _whole(0, 20),
    "json_schema": _object,
}
EMBEDDINGS: Final[Mapping[str, Check]] = {
    "input": _TEXTS_OR_TOKENS,
    "encoding_format": _text,
    "dimensions": _whole(1, 1_000_000),
    "user": _text,
}
RESPONSES: Final[Mapping[str, Check]] = {
    **_STREAM,
    "input": _any_of(_text, _list(MAX_MESSAGES)),
    "instructions": _text,
    "max_output_tokens": _whole(1, MAX_TOKENS),
    "temperature": _number(0, 100),
    "top_p": _number(0, 1),
    "tools": _list(MAX_TOOLS),
    "tool_choice": _any_of(_text, _object),
    "parallel_tool_calls": _yes_or_no,
    "reasoning": _object,
    "text": _object,
    "previous_response_id": _nothing,
    "conversation": _nothing,
    "background": _nothing,
}
MESSAGES: Final[Mapping[str, Check]] = {
    "stream": _yes_or_no,
    "messages": _list(MAX_MESSAGES),
    "system": _any_of(_text, _list(MAX_MESSAGES)),
    "max_tokens": _whole(1, MAX_TOKENS),
    "temperature": _number(0, 100),
    "top_p": _number(0, 1),
    "top_k": _whole(0, 1_000_000),
    "stop_sequences": _list(MAX_STOPS),
    "tools": _list(MAX_TOOLS),
    "tool_choice": _object,
    "thinking": _object,
    "output_config": _object,
}


def whole(fields: Mapping[str, Check]) -> dict[str, Check]:
    """The same for a question whose answer is never streamed."""
    return {name: check for name, check in fields.items() if name not in _STREAM}


RERANK: Final[Mapping[str, Check]] = {
    "query": _text,
    "documents": _list(MAX_INPUTS),
    "top_n": _whole(1, MAX_INPUTS),
}
TOKENIZE: Final[Mapping[str, Check]] = {
    "content": _text,
    "add_special": _yes_or_no,
    "parse_special": _yes_or_no,
    "with_pieces": _yes_or_no,
}
APPLY_TEMPLATE: Final[Mapping[str, Check]] = {
    name: CHAT[name] for name in ("messages", "tools", "chat_template_kwargs", "add_generation_prompt")
}
DETOKENIZE: Final[Mapping[str, Check]] = {"tokens": _list(MAX_TOKENS)}
INFILL: Final[Mapping[str, Check]] = {
    **_SAMPLING,
    **_LENGTHS,
    "stream": _yes_or_no,
    "input_prefix": _text,
    "input_suffix": _text,
    "input_extra": _list(MAX_INPUTS),
    "prompt": _text,
}


def allowed(document: Mapping[str, JsonValue], fields: Mapping[str, Check]) -> dict[str, JsonValue]:
    """The fields of a request that go on, in their order. Null counts as absent, as engines take it.

    Raises:
        InvalidRequestError: A field is out of its bounds; names it.
    """
    kept: dict[str, JsonValue] = {}
    for name, check in fields.items():
        value = document.get(name)
        if value is None:
            continue
        if fault := check(value):
            raise InvalidRequestError(f"{name} {fault}.", "Correct the request.")
        kept[name] = bounded(value) if name in _WITH_SCHEMAS else value
    return kept
