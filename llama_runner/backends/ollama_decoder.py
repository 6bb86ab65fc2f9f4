"""Ollama's chat stream (one JSON object per line) as events. No I/O."""

from collections.abc import Mapping
from typing import Final

from llama_runner.backends.decoding import DecoderBase
from llama_runner.backends.events import StreamEvent, TimingsReport, UsageReport
from llama_runner.backends.openai_decoder import tool_call
from llama_runner.backends.ordinary import ollama_line
from llama_runner.backends.values import as_count, as_list, as_object, as_seconds, as_text
from llama_runner.core.errors import ProtocolError
from llama_runner.core.jsonio import JsonValue
from llama_runner.core.trace import ServerTimings, Usage
from llama_runner.net.lines import DEFAULT_CAPS, StreamCaps
from llama_runner.net.ndjson import NdjsonParser

_NS: Final = 1e9
# More calls in one event than any answer has.
MAX_TOOL_CALLS: Final = 64


class OllamaDecoder(DecoderBase):
    """One answer to /api/chat. Also reads the whole answer of a server that ignored `stream`."""

    def __init__(self, endpoint: str, caps: StreamCaps = DEFAULT_CAPS) -> None:
        super().__init__(endpoint, caps)
        self._lines = NdjsonParser(caps)

    def _feed(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None:
        for line in self._lines.feed(data):
            self._line(t_ns, line, events)

    def _close(self, t_ns: int, events: list[StreamEvent]) -> None:
        for line in self._lines.close():
            self._line(t_ns, line, events)

    def _line(self, t_ns: int, line: bytes, events: list[StreamEvent]) -> None:
        if self._finished:
            self.late_events += 1
            return
        if (ordinary := ollama_line(line)) is not None:
            if ordinary.reasoning:
                self._add_reasoning(t_ns, ordinary.reasoning, None, events)
            if ordinary.text:
                self._add_text(t_ns, ordinary.text, None, events)
            return
        if line.startswith(b"<") and not self.bad_events:
            raise ProtocolError(self.endpoint, "it sent a web page")
        document = self._document(line)
        if document is None:
            return
        self._message(t_ns, as_object(document.get("message")), events)
        if document.get("done") is True:
            self._end(t_ns, document, events)

    def _message(self, t_ns: int, message: Mapping[str, JsonValue], events: list[StreamEvent]) -> None:
        if thinking := as_text(message.get("thinking")):
            self._add_reasoning(t_ns, thinking, None, events)
        if text := as_text(message.get("content")):
            self._add_text(t_ns, text, None, events)
        for position, call in enumerate(as_list(message.get("tool_calls"))[:MAX_TOOL_CALLS]):
            if (fragment := tool_call(t_ns, position, as_object(call), None)) is not None:
                self._add_call(fragment, events)

    def _end(self, t_ns: int, document: Mapping[str, JsonValue], events: list[StreamEvent]) -> None:
        prompt_tokens = as_count(document.get("prompt_eval_count"))
        output_tokens = as_count(document.get("eval_count"))
        usage = Usage(prompt_tokens=prompt_tokens, output_tokens=output_tokens)
        timings = ServerTimings(
            prompt_tokens=prompt_tokens,
            prompt_s=as_seconds(document.get("prompt_eval_duration"), _NS),
            output_tokens=output_tokens,
            output_s=as_seconds(document.get("eval_duration"), _NS),
        )
        self._splitter.flush(events)
        if usage != Usage():
            events.append(UsageReport(t_ns, usage))
        if timings.prompt_s is not None or timings.output_s is not None:
            events.append(TimingsReport(t_ns, timings))
        self._reason = as_text(document.get("done_reason")) or None
        self._finish(t_ns, events)
