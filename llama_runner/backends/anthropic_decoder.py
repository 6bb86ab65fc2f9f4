"""The Anthropic Messages stream as events. No I/O.

Shapes: platform.claude.com/docs/en/build-with-claude/streaming and the types of the `anthropic` package 2.11;
llama-server, vLLM, SGLang, LM Studio and Ollama send the same events at /v1/messages.
"""

import json
from collections.abc import Mapping
from typing import Final

from llama_runner.backends.decoding import SseDecoder
from llama_runner.backends.events import StreamEvent, ToolCallDelta, UsageReport
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.core.errors import ProtocolError, ServerError
from llama_runner.core.jsonio import JsonValue
from llama_runner.core.trace import Usage
from llama_runner.net.errors import error_for, error_text
from llama_runner.net.lines import DEFAULT_CAPS, StreamCaps

# The words of every other dialect; what is not listed is passed on as it came.
_REASONS: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
# An error inside a stream has no status of its own: the one that its type would have had before it.
_STATUSES: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 503,
}
_PROMPT_COUNTS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_COUNTS: Final = (*_PROMPT_COUNTS, "output_tokens", "output_tokens_details")
# More blocks in one whole answer than any has.
MAX_BLOCKS: Final = 10_000


class AnthropicDecoder(SseDecoder):
    """One answer to /v1/messages.

    A body that is one JSON document instead of a stream is read as the whole answer (S17).
    """

    def __init__(self, endpoint: str, caps: StreamCaps = DEFAULT_CAPS) -> None:
        super().__init__(endpoint, caps)
        self._counts: dict[str, JsonValue] = {}
        self._calls: dict[int, int] = {}

    def _whole_answer(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None:
        document = self._message_document(data)
        if document is None or "content" not in document:
            raise ProtocolError(self.endpoint, "its answer is not a message")
        self._count(document.get("usage"))
        for index, block in enumerate(as_list(document["content"])[:MAX_BLOCKS]):
            self._block(t_ns, index, as_object(block), events)
        self._remember_reason(document)
        self._end(t_ns, events)

    def _event(self, t_ns: int, name: str, data: bytes, events: list[StreamEvent]) -> None:
        if (document := self._message_document(data)) is None:
            return
        match document.get("type") or name:
            case "content_block_delta":
                self._delta(t_ns, _index(document), as_object(document.get("delta")), events)
            case "content_block_start":
                self._block(t_ns, _index(document), as_object(document.get("content_block")), events)
            case "message_start":
                # The output is only beginning: what it says of that is no count yet.
                self._count(as_object(document.get("message")).get("usage"), _PROMPT_COUNTS)
            case "message_delta":
                self._remember_reason(as_object(document.get("delta")))
                self._count(document.get("usage"))
            case "message_stop":
                self._end(t_ns, events)

    def _delta(
        self, t_ns: int, index: int, delta: Mapping[str, JsonValue], events: list[StreamEvent]
    ) -> None:
        match delta.get("type"):
            case "text_delta":
                self._text(t_ns, as_text(delta.get("text")), events)
            case "thinking_delta":
                self._thinking(t_ns, as_text(delta.get("thinking")), events)
            case "input_json_delta":
                if fragment := as_text(delta.get("partial_json")):
                    self._add_call(ToolCallDelta(t_ns, self._call(index), None, None, fragment), events)

    def _block(
        self, t_ns: int, index: int, block: Mapping[str, JsonValue], events: list[StreamEvent]
    ) -> None:
        """A block's beginning, mostly empty, or the whole of it."""
        match block.get("type"):
            case "text":
                self._text(t_ns, as_text(block.get("text")), events)
            case "thinking":
                self._thinking(t_ns, as_text(block.get("thinking")), events)
            case "tool_use":
                given = block.get("input")
                arguments = json.dumps(given, ensure_ascii=False) if given else ""
                call_id, name = as_text(block.get("id")) or None, as_text(block.get("name")) or None
                self._add_call(ToolCallDelta(t_ns, self._call(index), call_id, name, arguments), events)

    def _text(self, t_ns: int, text: str, events: list[StreamEvent]) -> None:
        if text:
            self._add_text(t_ns, text, None, events)

    def _thinking(self, t_ns: int, text: str, events: list[StreamEvent]) -> None:
        if text:
            self._add_reasoning(t_ns, text, None, events)

    def _call(self, index: int) -> int:
        """Which tool call the block is: blocks of every kind share one numbering."""
        return self._calls.setdefault(index, len(self._calls))

    def _remember_reason(self, fields: Mapping[str, JsonValue]) -> None:
        if reason := as_text(fields.get("stop_reason")):
            self._reason = _REASONS.get(reason, reason)

    def _count(self, usage: JsonValue, names: tuple[str, ...] = _COUNTS) -> None:
        """Counts are running totals: the last word on each counts."""
        fields = as_object(usage)
        self._counts.update({name: value for name in names if (value := fields.get(name)) is not None})

    def _end(self, t_ns: int, events: list[StreamEvent]) -> None:
        self._splitter.flush(events)
        if (usage := usage_of(self._counts)) is not None:
            events.append(UsageReport(t_ns, usage))
        self._finish(t_ns, events)

    def _message_document(self, data: bytes) -> dict[str, JsonValue] | None:
        document = self._parsed(data)
        if isinstance(document, dict) and document.get("type") == "error":
            raise _error(document, self.endpoint)
        return self._document(data) if not isinstance(document, dict) or document.get("error") else document


def usage_of(counts: Mapping[str, JsonValue]) -> Usage | None:
    """Anthropic's `usage`; None when nothing in it is a plausible count.

    `input_tokens` leaves out what was read from or written to the cache; ours counts the whole prompt.
    """
    fresh, read = as_count(counts.get("input_tokens")), as_count(counts.get("cache_read_input_tokens"))
    written = as_count(counts.get("cache_creation_input_tokens"))
    found = Usage(
        prompt_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        output_tokens=as_count(counts.get("output_tokens")),
        reasoning_tokens=as_count(as_object(counts.get("output_tokens_details")).get("thinking_tokens")),
        cached_tokens=read,
    )
    return None if found == Usage() else found


def _index(document: Mapping[str, JsonValue]) -> int:
    return as_count(document.get("index")) or 0


def _error(document: dict[str, JsonValue], endpoint: str) -> ServerError:
    said, kind = error_text(document)
    return error_for(_STATUSES.get(kind), said, kind, endpoint)
