"""The OpenAI chat stream and its many variations, as events. No I/O."""

from collections.abc import Mapping
from typing import ClassVar, Final

from llama_runner.backends.decoding import MAX_EVENTS, SseDecoder
from llama_runner.backends.events import (
    PromptProgress,
    StreamEvent,
    TextDelta,
    TimingsReport,
    ToolCallDelta,
    UsageReport,
)
from llama_runner.backends.ordinary import Ordinary, openai_chunk
from llama_runner.backends.repeats import Repeats
from llama_runner.backends.values import (
    NO_FIELDS,
    as_count,
    as_list,
    as_object,
    as_seconds,
    as_text,
    content_text,
)
from llama_runner.core.errors import ProtocolError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.trace import ServerTimings, Usage
from llama_runner.net.errors import stream_error
from llama_runner.net.lines import DEFAULT_CAPS, StreamCaps
from llama_runner.net.sse import is_one_event

DONE: Final = b"[DONE]"
# llama-server, SGLang, DeepSeek and LM Studio; then vLLM, Ollama's /v1 and OpenRouter. Some send two of them
# with the same text, so only the first that is there counts.
REASONING_KEYS: Final = ("reasoning_content", "reasoning", "thinking")
# We ask for one choice; more than this in one event is not looked through (S13).
MAX_CHOICES: Final = 64
_MS: Final = 1e3


class OpenAIDecoder(SseDecoder):
    """One answer to a streamed chat completion.

    A body that is one JSON document instead of a stream is read as the whole answer (S17).

    Attributes:
        text_key: The field of a choice, or of what is in it, that has the text.
    """

    text_key: ClassVar[bytes] = b'"content":'

    def __init__(self, endpoint: str, caps: StreamCaps = DEFAULT_CAPS) -> None:
        super().__init__(endpoint, caps)
        # The last event with each, as it came: some servers count in every chunk.
        self._usage: tuple[int, bytes] | None = None
        self._timings: tuple[int, bytes] | None = None
        self._repeats = Repeats(self.text_key)

    def plain_text(self, data: bytes) -> str:
        """For most reads of most engines: what they say besides the text is always the same."""
        text = self._repeats.text(data)
        if not text or self._finished or self.failure is not None or self._n_events >= MAX_EVENTS:
            return ""
        if not (self._splitter.passes(text) and self._sse.skip(data)):
            return ""
        self._n_events += 1
        return text

    def feed(self, t_ns: int, data: bytes) -> list[StreamEvent]:
        """See `DecoderBase`."""
        if text := self.plain_text(data):
            return [TextDelta(t_ns, text)]
        return super().feed(t_ns, data)

    def _feed(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None:
        usage, timings = self._usage, self._timings
        super()._feed(t_ns, data, events)
        # Counts are other ones in every event.
        is_bare = usage is self._usage and timings is self._timings
        if len(events) == 1 and is_bare and isinstance(only := events[0], TextDelta) and is_one_event(data):
            self._repeats.learn(data, only.text)

    def _close(self, t_ns: int, events: list[StreamEvent]) -> None:
        super()._close(t_ns, events)
        # transformers' server sends no [DONE], but says why it ended. Broken connections are the transport's
        # to tell, so what ends in order after its reason is whole.
        if self._reason is not None and not self._finished:
            self._end(t_ns, events)

    def _whole_answer(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None:
        document = self._document(data)
        if document is None or "choices" not in document:
            raise ProtocolError(self.endpoint, "its answer is not a chat completion")
        self._chunk(t_ns, document, data, events)
        self._end(t_ns, events)

    def _event(self, t_ns: int, name: str, data: bytes, events: list[StreamEvent]) -> None:
        if not name and (ordinary := openai_chunk(data)) is not None:
            self._ordinary(t_ns, ordinary, data, events)
        elif data.strip() == DONE:
            self._end(t_ns, events)
        elif name == "error":
            raise stream_error(self._parsed(data) or data.decode("utf-8", "replace"), self.endpoint)
        elif name in ("", "message") and (document := self._document(data)) is not None:
            self._chunk(t_ns, document, data, events)

    def _ordinary(self, t_ns: int, chunk: Ordinary, data: bytes, events: list[StreamEvent]) -> None:
        """The same as `_chunk`, for most chunks."""
        if chunk.has_usage:
            self._usage = t_ns, data
        if chunk.has_timings:
            self._timings = t_ns, data
        if chunk.reason:
            self._reason = chunk.reason
        if chunk.reasoning:
            self._add_reasoning(t_ns, chunk.reasoning, chunk.counted, events)
        if chunk.text:
            self._add_text(t_ns, chunk.text, chunk.counted, events)

    def _chunk(
        self, t_ns: int, document: Mapping[str, JsonValue], data: bytes, events: list[StreamEvent]
    ) -> None:
        self._progress(t_ns, as_object(document.get("prompt_progress")), events)
        counted = self._counts(t_ns, document, data)
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
            self._add_reasoning(t_ns, reasoning, counted, events)
        if text := content_text(delta.get("content")) or as_text(delta.get("refusal")):
            self._add_text(t_ns, text, counted, events)
        for position, call in enumerate(as_list(delta.get("tool_calls"))[:MAX_CHOICES]):
            if (fragment := tool_call(t_ns, position, as_object(call), counted)) is not None:
                self._add_call(fragment, events)

    def _counts(self, t_ns: int, document: Mapping[str, JsonValue], data: bytes) -> int | None:
        """Remember usage and timings; the output tokens so far where this chunk counts them."""
        usage = usage_of(as_object(document.get("usage")))
        timings = timings_of(as_object(document.get("timings")))
        if usage is not None:
            self._usage = t_ns, data
        if timings is not None:
            self._timings = t_ns, data
        if timings is not None and timings.output_tokens is not None:
            return timings.output_tokens
        return usage.output_tokens if usage is not None else None

    def _progress(self, t_ns: int, progress: Mapping[str, JsonValue], events: list[StreamEvent]) -> None:
        processed, total = as_count(progress.get("processed")), as_count(progress.get("total"))
        if processed is not None and total is not None:
            events.append(PromptProgress(t_ns, processed, total))

    def _end(self, t_ns: int, events: list[StreamEvent]) -> None:
        self._splitter.flush(events)
        if (usage := usage_of(self._remembered("usage", self._usage))) is not None:
            events.append(UsageReport(self._usage[0] if self._usage else t_ns, usage))
        if (timings := timings_of(self._remembered("timings", self._timings))) is not None:
            events.append(TimingsReport(self._timings[0] if self._timings else t_ns, timings))
        self._finish(t_ns, events)

    def _remembered(self, name: str, event: tuple[int, bytes] | None) -> Mapping[str, JsonValue]:
        return as_object(as_object(self._parsed(event[1])).get(name)) if event is not None else NO_FIELDS


def tool_call(
    t_ns: int, position: int, call: Mapping[str, JsonValue], counted: int | None
) -> ToolCallDelta | None:
    """A fragment of a tool call; None when it says nothing. Arguments become text (T3)."""
    function = as_object(call.get("function"))
    index = as_count(call.get("index"))
    if index is None:
        index = as_count(function.get("index"))
    given = function.get("arguments")
    arguments = given if isinstance(given, str) else "" if given is None else dump_json(given).decode()
    call_id, name = as_text(call.get("id")) or None, as_text(function.get("name")) or None
    if call_id is None and name is None and not arguments:
        return None
    return ToolCallDelta(t_ns, position if index is None else index, call_id, name, arguments, counted)


def usage_of(usage: Mapping[str, JsonValue]) -> Usage | None:
    """OpenAI's `usage` object; None when nothing in it is a plausible count."""
    reasoned = as_object(usage.get("completion_tokens_details")).get("reasoning_tokens")
    found = Usage(
        prompt_tokens=as_count(usage.get("prompt_tokens")),
        output_tokens=as_count(usage.get("completion_tokens")),
        # SGLang has the count beside the others.
        reasoning_tokens=as_count(usage.get("reasoning_tokens") if reasoned is None else reasoned),
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
