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
from llama_runner.proxy.durations import nanoseconds, rfc3339
from llama_runner.proxy.ollama_errors import error_document
from llama_runner.proxy.records import RequestRecord
from llama_runner.proxy.vectors import shortened, vectors_of

_LENGTH: Final = "length"


class TextDecoder(OpenAIDecoder):
    """The same stream where a choice has a `text` and no `delta`: a completion without a template."""

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
        self._fold = AnswerFold()
        self._usage = Usage()
        self._timings = ServerTimings()

    def feed(self, data: bytes) -> bytes:
        """The lines that `data` completes."""
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
        out = bytearray()
        for event in events:
            self._fold.add(event)
            match event:
                case TextDelta(text=text) if self._streamed:
                    out += self._line({"text": text})
                case ReasoningDelta(text=text) if self._streamed:
                    out += self._line({"thinking": text})
                case UsageReport(usage=usage):
                    self._usage = usage
                case TimingsReport(timings=timings):
                    self._timings = timings
                case Finished():
                    out += self._last(event)
                case _:
                    # Tool calls come whole, before the last line; the rest has no word in this dialect.
                    continue
        return bytes(out)

    def _line(self, piece: Mapping[str, JsonValue], **more: JsonValue) -> bytes:
        body: dict[str, JsonValue] = {
            "model": self._name,
            "created_at": rfc3339(self._clock.utc().timestamp()),
            **self._placed(piece),
            "done": False,
            **more,
        }
        # Texts of the decoder hold no surrogates, which alone this encoder refuses.
        return msgspec.json.encode(body) + b"\n"

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
        "created_at": rfc3339(clock.utc().timestamp()),
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
