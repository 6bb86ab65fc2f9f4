"""The OpenAI chat stream and its many variations, as events. No I/O."""

import json
from collections.abc import Mapping
from typing import Final

from llama_runner.backends.decoding import SseDecoder
from llama_runner.backends.events import (
    PromptProgress,
    StreamEvent,
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
    """

    def __init__(self, endpoint: str, caps: StreamCaps = DEFAULT_CAPS) -> None:
        super().__init__(endpoint, caps)
        # As they came: servers that count in every chunk would cost a report per token.
        self._usage: tuple[int, Mapping[str, JsonValue]] | None = None
        self._timings: tuple[int, Mapping[str, JsonValue]] | None = None

    def _whole_answer(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None:
        document = self._document(data)
        if document is None or "choices" not in document:
            raise ProtocolError(self.endpoint, "its answer is not a chat completion")
        self._chunk(t_ns, document, events)
        self._end(t_ns, events)

    def _event(self, t_ns: int, name: str, data: bytes, events: list[StreamEvent]) -> None:
        if data.strip() == DONE:
            self._end(t_ns, events)
        elif name == "error":
            raise stream_error(self._parsed(data) or data.decode("utf-8", "replace"), self.endpoint)
        elif name in ("", "message") and (document := self._document(data)) is not None:
            self._chunk(t_ns, document, events)

    def _chunk(self, t_ns: int, document: Mapping[str, JsonValue], events: list[StreamEvent]) -> None:
        if "prompt_progress" in document:
            self._progress(t_ns, as_object(document["prompt_progress"]), events)
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
        for key in REASONING_KEYS:
            if key in delta and (reasoning := content_text(delta[key])):
                self._add_reasoning(t_ns, reasoning, counted, events)
                break
        if text := content_text(delta.get("content")) or as_text(delta.get("refusal")):
            self._add_text(t_ns, text, counted, events)
        if "tool_calls" in delta:
            for position, call in enumerate(as_list(delta["tool_calls"])[:MAX_CHOICES]):
                if (fragment := tool_call(t_ns, position, as_object(call), counted)) is not None:
                    self._add_call(fragment, events)

    def _counts(self, t_ns: int, document: Mapping[str, JsonValue]) -> int | None:
        """Remember usage and timings; the output tokens so far where this chunk counts them."""
        counted: int | None = None
        if usage := as_object(document.get("usage")):
            counted = as_count(usage.get("completion_tokens"))
            if counted is not None or usage_of(usage) is not None:
                self._usage = t_ns, usage
        if timings := as_object(document.get("timings")):
            predicted = as_count(timings.get("predicted_n"))
            if predicted is not None or timings_of(timings) is not None:
                self._timings = t_ns, timings
                counted = counted if predicted is None else predicted
        return counted

    def _progress(self, t_ns: int, progress: Mapping[str, JsonValue], events: list[StreamEvent]) -> None:
        processed, total = as_count(progress.get("processed")), as_count(progress.get("total"))
        if processed is not None and total is not None:
            events.append(PromptProgress(t_ns, processed, total))

    def _end(self, t_ns: int, events: list[StreamEvent]) -> None:
        self._splitter.flush(events)
        if self._usage is not None and (usage := usage_of(self._usage[1])) is not None:
            events.append(UsageReport(self._usage[0], usage))
        if self._timings is not None and (timings := timings_of(self._timings[1])) is not None:
            events.append(TimingsReport(self._timings[0], timings))
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
