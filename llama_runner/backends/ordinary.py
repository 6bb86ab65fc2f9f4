"""The ordinary event of each dialect, read straight into typed fields: a fifth of the time of a document.

Gives None for whatever is odd or broken; the decoders then read the whole document with care (safety R5).
What is given obeys the same rules: texts are scrubbed, counts plausible; what is not read is not kept.
"""

from typing import Final, TypeVar

import msgspec

from llama_runner.backends.values import MAX_COUNT
from llama_runner.core.jsonio import scrub_text

T = TypeVar("T")


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    refusal: msgspec.Raw | None = None
    tool_calls: msgspec.Raw | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta
    index: int = 0
    finish_reason: str | None = None
    message: msgspec.Raw | None = None


class _Usage(msgspec.Struct, gc=False):
    completion_tokens: int


class _Timings(msgspec.Struct, gc=False):
    predicted_n: int


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice]
    usage: _Usage | None = None
    timings: _Timings | None = None
    object: str = ""
    type: str = ""
    error: msgspec.Raw | None = None
    prompt_progress: msgspec.Raw | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: msgspec.Raw | None = None


class _Line(msgspec.Struct, gc=False):
    message: _Message
    done: bool = False
    object: str = ""
    type: str = ""
    error: msgspec.Raw | None = None


class Ordinary(msgspec.Struct, gc=False):
    """What one event says.

    Attributes:
        counted: Output tokens so far by the server's count, None where this event has none.
        has_usage, has_timings: The event carries them; whoever needs them reads its document.
    """

    text: str
    reasoning: str
    reason: str = ""
    counted: int | None = None
    has_usage: bool = False
    has_timings: bool = False


_read_chunk: Final = msgspec.json.Decoder(_Chunk).decode
_read_line: Final = msgspec.json.Decoder(_Line).decode
# Anything but the JSON that the fields above describe, broken UTF-8 and endless nesting included.
_NOT_ORDINARY: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def openai_chunk(data: bytes) -> Ordinary | None:
    """A chunk of a chat completion with one choice of text or reasoning, or with none."""
    try:
        chunk = _read_chunk(data)
    except _NOT_ORDINARY:
        return None
    if chunk.error is not None or chunk.prompt_progress is not None or len(chunk.choices) > 1:
        return None
    if "error" in (chunk.object, chunk.type):
        return None
    counted: int | None = None
    usage, timings = chunk.usage, chunk.timings
    if usage is not None and not 0 <= (counted := usage.completion_tokens) <= MAX_COUNT:
        return None
    if timings is not None and not 0 <= (counted := timings.predicted_n) <= MAX_COUNT:
        return None
    if not chunk.choices:
        return Ordinary("", "", "", counted, usage is not None, timings is not None)
    choice = chunk.choices[0]
    delta = choice.delta
    if delta.tool_calls is not None or delta.refusal is not None:
        return None
    if choice.message is not None or choice.index != 0:
        return None
    text, reason = delta.content, choice.finish_reason
    reasoning = delta.reasoning_content or delta.reasoning or delta.thinking
    return Ordinary(
        scrub_text(text) if text else "",
        scrub_text(reasoning) if reasoning else "",
        scrub_text(reason) if reason else "",
        counted,
        usage is not None,
        timings is not None,
    )


def ollama_line(data: bytes) -> Ordinary | None:
    """A line of /api/chat with text or reasoning, not the last one."""
    try:
        line = _read_line(data)
    except _NOT_ORDINARY:
        return None
    message = line.message
    if line.done or line.error is not None or message.tool_calls is not None:
        return None
    if "error" in (line.object, line.type):
        return None
    return Ordinary(scrub_text(message.content or ""), scrub_text(message.thinking or ""))
