"""llama-server's answers in Ollama's words. Sans-I/O: the engine's stream in, lines or one object out."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from llama_runner.backends.base import StreamDecoder
from llama_runner.backends.events import (
    Finished,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    TimingsReport,
    UsageReport,
)
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.backends.request import ToolCall
from llama_runner.core.clock import Clock
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.trace import ServerTimings, Usage
from llama_runner.proxy.durations import Stamps, nanoseconds, utc_text
from llama_runner.proxy.ollama_errors import error_document
from llama_runner.proxy.records import RequestRecord
from llama_runner.proxy.vectors import shortened, vectors_of

_LENGTH: Final = "length"
_encoded: Final = msgspec.json.Encoder().encode


class TextDecoder(OpenAIDecoder):
    """The same stream where a choice has a `text` and no `delta`: a completion without a template."""

    text_key = b'"text":'

    def _choice(
        self, t_ns: int, choice: Mapping[str, JsonValue], counted: int | None, events: list[StreamEvent]
    ) -> None:
        text: JsonValue = {"content": choice.get("text")}
        super()._choice(t_ns, {**choice, "delta": text}, counted, events)


class Kind(StrEnum):
    """Which of the two calls is answered: they differ in where the text stands."""

    CHAT = "chat"
    GENERATE = "generate"


class OllamaWriter:
    """One answer of `/api/chat` or `/api/generate`.

    Args:
        decoder: Fresh, for the engine's stream.
        name: The model as the client called it.
        streamed: Lines as they come, or one object at the end.
        since: Seconds since the request arrived.
        clock: Stamps reads, and says what time it is.
    """

    def __init__(
        self,
        decoder: StreamDecoder,
        *,
        kind: Kind,
        name: str,
        streamed: bool,
        record: RequestRecord,
        since: Callable[[], float],
        clock: Clock,
    ) -> None:
        self.content_type = "application/x-ndjson" if streamed else "application/json; charset=utf-8"
        self._decoder = decoder
        self._kind = kind
        self._name = name
        self._streamed = streamed
        self._record = record
        self._since = since
        self._clock = clock
        self._stamps = Stamps(clock)
        # Of an answer that streams only the tool calls are kept: its text is out.
        self._fold = AnswerFold()
        self._text_line = self._around_text("text")
        self._thinking_line = self._around_text("thinking")
        self._usage = Usage()
        self._timings = ServerTimings()

    def feed(self, data: bytes) -> bytes:
        """The lines that `data` completes."""
        if self._streamed and (text := self._decoder.plain_text(data)):
            return self._piece(self._text_line, text)
        out = self._take(self._decoder.feed(self._clock.now_ns(), data))
        if self._decoder.failure is not None:
            raise self._decoder.failure
        return out

    def end(self) -> bytes:
        """The last line, or the whole object."""
        out = self._take(self._decoder.close(self._clock.now_ns()))
        if self._decoder.failure is not None:
            raise self._decoder.failure
        return out

    def broken(self, error: LlamaRunnerError) -> bytes:
        """A line with the error ends the stream, as Ollama does it."""
        return dump_json(error_document(error)) + b"\n" if self._streamed else b""

    def ping(self) -> bytes:
        """An empty piece: NDJSON knows no comment."""
        return self._line({"text": ""}) if self._streamed else b""

    def _take(self, events: list[StreamEvent]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if self._streamed and isinstance(event, TextDelta):
                out.append(self._piece(self._text_line, event.text))
            elif self._streamed and isinstance(event, ReasoningDelta):
                out.append(self._piece(self._thinking_line, event.text))
            else:
                out.append(self._keep(event))
        return b"".join(out)

    def _keep(self, event: StreamEvent) -> bytes:
        """What is told at the end, which this may be. Tool calls come whole, before the last line."""
        self._fold.add(event)
        match event:
            case UsageReport(usage=usage):
                self._usage = usage
            case TimingsReport(timings=timings):
                self._timings = timings
            case Finished():
                return self._last(event)
            case _:
                pass
        return b""

    def _around_text(self, field: str) -> tuple[bytes, bytes, bytes]:
        """A line with one text: what stands before its time, between the two, and after the text."""
        # No text of a request or an answer holds controls.
        rest, _, after = self._line({field: "\x02"}, created_at="\x01").rpartition(b'"\\u0002"')
        before, _, between = rest.rpartition(b"\\u0001")
        return before, between, after

    def _piece(self, line: tuple[bytes, bytes, bytes], text: str) -> bytes:
        """The same as `_line`, at a third of its cost: there is one per token."""
        before, between, after = line
        # Texts of the decoder hold no surrogates, which alone this encoder refuses.
        return b"".join((before, self._stamps.now(), between, _encoded(text), after))

    def _line(self, piece: Mapping[str, JsonValue], **more: JsonValue) -> bytes:
        body: dict[str, JsonValue] = {
            "model": self._name,
            "created_at": utc_text(self._clock.utc()),
            **self._placed(piece),
            "done": False,
            **more,
        }
        return _encoded(body) + b"\n"

    def _placed(self, piece: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Text, thinking and tool calls where this kind of answer has them; content is always there."""
        extra = {name: piece[name] for name in ("thinking", "tool_calls") if piece.get(name)}
        if self._kind is Kind.CHAT:
            return {"message": {"role": "assistant", "content": piece.get("text", ""), **extra}}
        return {"response": piece.get("text", ""), **extra}

    def _last(self, finished: Finished) -> bytes:
        snapshot = self._fold.snapshot()
        calls = [ollama_call(call, place) for place, call in enumerate(snapshot.tool_calls)]
        figures = self._figures(finished)
        if not self._streamed:
            whole: dict[str, JsonValue] = {
                "text": snapshot.text,
                "thinking": snapshot.reasoning,
                "tool_calls": calls,
            }
            return self._line(whole, **figures)
        before = self._line({"text": "", "tool_calls": calls}) if calls else b""
        return before + self._line({"text": ""}, **figures)

    def _figures(self, finished: Finished) -> dict[str, JsonValue]:
        usage, timings = self._usage, self._timings
        figures: dict[str, JsonValue] = {
            "done": True,
            "done_reason": _LENGTH if finished.reason == _LENGTH else "stop",
            "total_duration": nanoseconds(self._since()),
            "load_duration": nanoseconds(self._record.load_s),
            "prompt_eval_count": usage.prompt_tokens or timings.prompt_tokens or 0,
            "prompt_eval_duration": nanoseconds(timings.prompt_s),
            "eval_count": usage.output_tokens or timings.output_tokens or 0,
            "eval_duration": nanoseconds(timings.output_s),
        }
        # As Ollama: what is zero is left out.
        return {name: value for name, value in figures.items() if value != 0}


def ollama_call(call: ToolCall, place: int) -> JsonValue:
    """A whole tool call; arguments are an object here, and what is none is kept as text in one."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        arguments = {"arguments": call.arguments}
    if not isinstance(arguments, dict):
        arguments = {"arguments": arguments}
    named: dict[str, JsonValue] = {"index": place, "name": call.name, "arguments": arguments}
    return {"id": call.call_id, "function": named} if call.call_id else {"function": named}


def unspoken(name: str, kind: Kind, reason: str, clock: Clock) -> dict[str, JsonValue]:
    """The answer to a request that only loads or unloads."""
    empty: dict[str, JsonValue] = (
        {"message": {"role": "assistant", "content": ""}} if kind is Kind.CHAT else {"response": ""}
    )
    return {
        "model": name,
        "created_at": utc_text(clock.utc()),
        **empty,
        "done": True,
        "done_reason": reason,
    }


def embed_answer(
    name: str, dimensions: JsonValue, record: RequestRecord, document: Mapping[str, JsonValue]
) -> Mapping[str, JsonValue]:
    """OpenAI's vectors as `/api/embed` has them, cut to `dimensions` where that is a number."""
    usage = document.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    size = dimensions if isinstance(dimensions, int) and not isinstance(dimensions, bool) else None
    vectors: list[JsonValue] = [list(shortened(vector, size)) for vector in vectors_of(document)]
    return {
        "model": name,
        "embeddings": vectors,
        "total_duration": nanoseconds((record.upstream_s or 0.0) + (record.load_s or 0.0)),
        "load_duration": nanoseconds(record.load_s),
        "prompt_eval_count": tokens,
    }


def embeddings_answer(record: RequestRecord, document: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """OpenAI's vector as `/api/embeddings` has it."""
    vector: list[JsonValue] = list(next(iter(vectors_of(document)), []))
    return {"embedding": vector}
