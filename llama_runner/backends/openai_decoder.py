"""The OpenAI chat stream and its many variations, as events. No I/O."""

import json
from collections.abc import Mapping
from typing import Final

from llama_runner.backends.decoding import DecoderBase
from llama_runner.backends.events import (
    PromptProgress,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    TimingsReport,
    ToolCallDelta,
    UsageReport,
)
from llama_runner.backends.values import (
    as_count,
    as_list,
    as_object,
    as_seconds,
    as_text,
    content_text,
)
from llama_runner.core.errors import ProtocolError
from llama_runner.core.jsonio import JsonValue
from llama_runner.core.trace import ServerTimings, Usage
from llama_runner.net.errors import stream_error
from llama_runner.net.lines import DEFAULT_CAPS, StreamCaps
from llama_runner.net.sse import SseEvent, SseParser

DONE: Final = b"[DONE]"
# llama-server, SGLang, DeepSeek and LM Studio; then vLLM, Ollama's /v1 and OpenRouter. Some send two of them
# with the same text, so only the first that is there counts.
REASONING_KEYS: Final = ("reasoning_content", "reasoning", "thinking")
# We ask for one choice; more than this in one event is not looked through (S13).
MAX_CHOICES: Final = 64
_BLANKS: Final = b" \t\r\n\xef\xbb\xbf"
_MS: Final = 1e3


class OpenAIDecoder(DecoderBase):
    """One answer to a streamed chat completion.

    A body that is one JSON document instead of a stream is read as the whole answer (S17).
    """

    def __init__(self, endpoint: str, caps: StreamCaps = DEFAULT_CAPS) -> None:
        super().__init__(endpoint, caps)
        self._sse = SseParser(caps)
        self._whole: bytearray | None = None
        self._shape_known = False
        self._usage: UsageReport | None = None
        self._timings: TimingsReport | None = None

    def _feed(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None:
        if not self._shape_known:
            self._sniff(data)
        if self._whole is not None:
            self._keep_whole(data)
            return
        for event in self._sse.feed(data):
            self._event(t_ns, event, events)

    def _close(self, t_ns: int, events: list[StreamEvent]) -> None:
        if self._whole is not None:
            self._whole_answer(t_ns, bytes(self._whole), events)
            return
        for event in self._sse.close():
            self._event(t_ns, event, events)

    def _sniff(self, data: bytes) -> None:
        """The first character that is no blank shows the shape: `{` begins a document.

        Blanks before it are not kept: they mean nothing in either shape, and may come for ever.
        """
        meaning = data.lstrip(_BLANKS)
        self._shape_known = bool(meaning)
        if meaning.startswith(b"{"):
            self._whole = bytearray()
        elif meaning.startswith(b"<"):
            raise ProtocolError(self.endpoint, "it sent a web page")

    def _keep_whole(self, data: bytes) -> None:
        assert self._whole is not None
        self._whole += data
        if len(self._whole) > self._caps.event:
            raise ProtocolError(self.endpoint, "its answer is one document of more than 4 MiB")

    def _whole_answer(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None:
        document = self._document(data.strip(_BLANKS))
        if document is None or "choices" not in document:
            raise ProtocolError(self.endpoint, "its answer is not a chat completion")
        self._chunk(t_ns, document, events)
        self._end(t_ns, events)

    def _event(self, t_ns: int, event: SseEvent, events: list[StreamEvent]) -> None:
        if self._finished:
            self.late_events += 1
        elif event.data.strip() == DONE:
            self._end(t_ns, events)
        elif event.name == "error":
            raise stream_error(
                self._parsed(event.data) or event.data.decode("utf-8", "replace"), self.endpoint
            )
        elif event.name in ("", "message") and (document := self._document(event.data)) is not None:
            self._chunk(t_ns, document, events)

    def _chunk(self, t_ns: int, document: Mapping[str, JsonValue], events: list[StreamEvent]) -> None:
        self._progress(t_ns, as_object(document.get("prompt_progress")), events)
        counted = self._counts(t_ns, document)
        for position, item in enumerate(as_list(document.get("choices"))[:MAX_CHOICES]):
            choice = as_object(item)
            if choice.get("index", position) == 0:
                self._choice(t_ns, choice, counted, events)

    def _choice(
        self, t_ns: int, choice: Mapping[str, JsonValue], counted: int | None, events: list[StreamEvent]
    ) -> None:
        if reason := as_text(choice.get("finish_reason")):
            self._reason = reason
        delta = as_object(choice.get("delta")) or as_object(choice.get("message"))
        reasoning = next((text for key in REASONING_KEYS if (text := content_text(delta.get(key)))), "")
        if reasoning:
            events.append(ReasoningDelta(t_ns, reasoning, counted))
        if text := content_text(delta.get("content")) or as_text(delta.get("refusal")):
            events.append(TextDelta(t_ns, text, counted))
        for position, call in enumerate(as_list(delta.get("tool_calls"))[:MAX_CHOICES]):
            if (fragment := tool_call(t_ns, position, as_object(call), counted)) is not None:
                events.append(fragment)

    def _counts(self, t_ns: int, document: Mapping[str, JsonValue]) -> int | None:
        """Remember usage and timings; the output tokens so far where this chunk counts them."""
        usage = usage_of(as_object(document.get("usage")))
        timings = timings_of(as_object(document.get("timings")))
        if usage is not None:
            self._usage = UsageReport(t_ns, usage)
        if timings is not None:
            self._timings = TimingsReport(t_ns, timings)
        if timings is not None and timings.output_tokens is not None:
            return timings.output_tokens
        return usage.output_tokens if usage is not None else None

    def _progress(self, t_ns: int, progress: Mapping[str, JsonValue], events: list[StreamEvent]) -> None:
        processed, total = as_count(progress.get("processed")), as_count(progress.get("total"))
        if processed is not None and total is not None:
            events.append(PromptProgress(t_ns, processed, total))

    def _end(self, t_ns: int, events: list[StreamEvent]) -> None:
        events.extend(report for report in (self._usage, self._timings) if report is not None)
        self._finish(t_ns, events)


def tool_call(
    t_ns: int, position: int, call: Mapping[str, JsonValue], counted: int | None
) -> ToolCallDelta | None:
    """A fragment of a tool call; None when it says nothing. Arguments as an object become their JSON text."""
    function = as_object(call.get("function"))
    index = as_count(call.get("index"))
    if index is None:
        index = as_count(function.get("index"))
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    call_id, name = as_text(call.get("id")) or None, as_text(function.get("name")) or None
    if call_id is None and name is None and not as_text(arguments):
        return None
    return ToolCallDelta(
        t_ns, position if index is None else index, call_id, name, as_text(arguments), counted
    )


def usage_of(usage: Mapping[str, JsonValue]) -> Usage | None:
    """OpenAI's `usage` object; None when nothing in it is a plausible count."""
    found = Usage(
        prompt_tokens=as_count(usage.get("prompt_tokens")),
        output_tokens=as_count(usage.get("completion_tokens")),
        reasoning_tokens=as_count(as_object(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        cached_tokens=as_count(as_object(usage.get("prompt_tokens_details")).get("cached_tokens")),
    )
    return None if found == Usage() else found


def timings_of(timings: Mapping[str, JsonValue]) -> ServerTimings | None:
    """llama-server's `timings` object; None when nothing in it is plausible."""
    found = ServerTimings(
        prompt_tokens=as_count(timings.get("prompt_n")),
        prompt_s=as_seconds(timings.get("prompt_ms"), _MS),
        output_tokens=as_count(timings.get("predicted_n")),
        output_s=as_seconds(timings.get("predicted_ms"), _MS),
    )
    return None if found == ServerTimings() else found
