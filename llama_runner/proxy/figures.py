"""What the end of an answer says of it: tokens, the engine's own clock, and whether the context sufficed.

Reads the last bytes only, in any of the dialects: an answer that goes through is not parsed for it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llama_runner.core.jsonio import JsonValue

# The figures are in the last event, or at the end of a whole document.
TAIL_BYTES: Final = 8 * 1024
# A word is a token at least, whatever the tokenizer; a little is allowed for the odd one that knows phrases.
WORDS_PER_TOKEN: Final = 1.25
# Below this many words a template's own tokens blur the comparison.
MIN_WORDS: Final = 64

PROMPT_CUT: Final = "the prompt was cut"
CONTEXT_FULL: Final = "the context is full"

# The same thing in several dialects: the first name that is there counts.
_PROMPT: Final = (b'"prompt_tokens"', b'"prompt_eval_count"')
_OUTPUT: Final = (b'"completion_tokens"', b'"predicted_n"', b'"eval_count"', b'"output_tokens"')
# Counts that leave out what came from a cache, and what they leave out.
_ANTHROPICS: Final = (b'"input_tokens"', b'"cache_read_input_tokens"', b'"cache_creation_input_tokens"')
_LLAMAS: Final = (b'"prompt_n"', b'"cache_n"')
_REASON: Final = (b'"finish_reason"', b'"done_reason"', b'"stop_reason"', b'"stop_type"')
_BACKSLASH: Final = ord("\\")
_NUMBER: Final = re.compile(rb"\s*:\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)")
_AT_LENGTH: Final = re.compile(rb'\s*:\s*"(?:length|max_tokens|limit)"')
_TRUE: Final = re.compile(rb"\s*:\s*true")


@dataclass(frozen=True, slots=True)
class Figures:
    """None where the answer does not say.

    Attributes:
        prefill_s: The engine's own time for the prompt.
        decode_s: The engine's own time for the output.
        at_length: It ended because it had to, not because it was done.
        truncated: The engine says that it dropped some of the prompt.
    """

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    at_length: bool = False
    truncated: bool = False


def figures(tail: bytes) -> Figures:
    """What the last bytes of an engine's answer say."""
    tail = tail[-TAIL_BYTES:]
    prompt = _number(tail, *_PROMPT)
    if prompt is None:
        prompt = _sum(tail, _ANTHROPICS) or _sum(tail, _LLAMAS)
    output = _number(tail, *_OUTPUT)
    return Figures(
        prompt_tokens=None if prompt is None else int(prompt),
        output_tokens=None if output is None else int(output),
        prefill_s=_seconds(_number(tail, b'"prompt_ms"'), _number(tail, b'"prompt_eval_duration"')),
        decode_s=_seconds(_number(tail, b'"predicted_ms"'), _number(tail, b'"eval_duration"')),
        at_length=_value(tail, _REASON, _AT_LENGTH) is not None,
        truncated=_value(tail, (b'"truncated"',), _TRUE) is not None,
    )


def warning_of(told: Figures, document: Mapping[str, JsonValue], context: int | None) -> str | None:
    """What a person should know about the context, None when nothing is wrong with it.

    Args:
        document: The request.
        context: Tokens one request can use; None when unknown.
    """
    if told.truncated or _is_cut(told, document):
        return PROMPT_CUT
    used = (told.prompt_tokens or 0) + (told.output_tokens or 0)
    return CONTEXT_FULL if told.at_length and context and used >= context - 1 else None


def _is_cut(told: Figures, document: Mapping[str, JsonValue]) -> bool:
    """Whether the engine read fewer tokens than the prompt has words."""
    words = prompt_words(document) if told.prompt_tokens is not None else 0
    return words >= MIN_WORDS and words > (told.prompt_tokens or 0) * WORDS_PER_TOKEN


def prompt_words(document: Mapping[str, JsonValue]) -> int:
    """Words in the texts of a request, counted between white space."""
    messages = document.get("messages")
    texts = [document.get("prompt"), document.get("system")]
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        texts += (
            [part.get("text") for part in content if isinstance(part, dict)]
            if isinstance(content, list)
            else [content]
        )
    return sum(len(text.split()) for text in texts if isinstance(text, str))


def _number(tail: bytes, *names: bytes) -> float | None:
    found = _value(tail, names, _NUMBER)
    return None if found is None else float(found[1])


def _sum(tail: bytes, names: tuple[bytes, ...]) -> float | None:
    """Of the first and those of the others that are there; None without the first."""
    first, *others = (_number(tail, name) for name in names)
    return None if first is None else first + sum(filter(None, others))


def _value(tail: bytes, names: tuple[bytes, ...], shape: re.Pattern[bytes]) -> re.Match[bytes] | None:
    """The last value of that shape behind one of the names; searched backwards, which a pattern cannot."""
    for name in names:
        at = tail.rfind(name)
        while at >= 0:
            # A quote in a model's text stands behind a backslash: that is no field.
            is_field = at == 0 or tail[at - 1] != _BACKSLASH
            if is_field and (found := shape.match(tail, at + len(name))):
                return found
            at = tail.rfind(name, 0, at)
    return None


def _seconds(ms: float | None, ns: float | None) -> float | None:
    if ms is not None:
        return ms / 1e3
    return None if ns is None else ns / 1e9
