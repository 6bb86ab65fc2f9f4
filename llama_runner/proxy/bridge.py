"""A chat for a server that speaks another dialect: OpenAI's request to the backend's, its events to OpenAI's.

Every face of the proxy asks in OpenAI's words and reads them back, so this one bridge serves all of them.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import httpx

from llama_runner.backends.base import Backend, Endpoint, Engine, StreamDecoder, WireRequest
from llama_runner.backends.events import (
    Finished,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    TimingsReport,
    ToolCallDelta,
    UsageReport,
)
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.registry import connect
from llama_runner.core.clock import Clock
from llama_runner.core.errors import LlamaRunnerError, UnsupportedError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.trace import ServerTimings, Usage
from llama_runner.proxy.answers import AnswerWriter
from llama_runner.proxy.as_chat import CHAT_PATH, PATHS
from llama_runner.proxy.calls import Call
from llama_runner.proxy.chat_reading import chat_request, unread
from llama_runner.proxy.host import Upstream

# Names of options that change how long an answer takes, not what it says.
_QUIET: Final = frozenset({"cache_prompt"})
# OpenAI's words for why an answer ended; what other dialects call it.
_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}


def is_needed(call: Call, engine: Engine) -> bool:
    """Whether a chat has to be said in other words for an engine. Raises UnsupportedError if it can't be."""
    if engine is Engine.ANTHROPIC and call.path != CHAT_PATH and call.path not in PATHS:
        raise UnsupportedError(
            f"An Anthropic server has no {call.path}.", "Ask another model, or ask this one to chat."
        )
    if call.path != CHAT_PATH:
        return False
    # What was made from another dialect has fields in it that only llama-server knows.
    return engine is Engine.ANTHROPIC or (call.translated and engine is not Engine.LLAMA_SERVER)


def backend_of(upstream: Upstream, http: httpx.AsyncClient, clock: Clock) -> Backend:
    """What knows the upstream's dialect."""
    endpoint = Endpoint(upstream.base_url, upstream.engine, upstream.api_key)
    return connect(endpoint, http=http, clock=clock)


def bridged(
    backend: Backend, document: Mapping[str, JsonValue], inner: AnswerWriter, clock: Clock
) -> tuple[WireRequest, AnswerWriter]:
    """The request as the upstream wants it, and a writer for its answer.

    Args:
        inner: Takes the answer in OpenAI's words: a stream where `document` asks for one, else an object.

    Raises:
        InvalidRequestError: A picture is no data: URL.
    """
    asked = chat_request(document)
    streamed = document.get("stream") is True
    writer = BridgedWriter(backend.decoder(), inner, streamed=streamed, model=asked.model_id, clock=clock)
    wire = backend.encode(asked)
    return replace(wire, not_sent=(*unread(document), *wire.not_sent)), writer


def not_told(names: Iterable[str]) -> str | None:
    """What a person is told of what a server has no words for; None when it was told all."""
    told = [name for name in dict.fromkeys(names) if name not in _QUIET]
    return f"this server was not told: {', '.join(told)}" if told else None


class BridgedWriter:
    """The upstream's stream as OpenAI's, for a writer that reads that.

    Args:
        streamed: `inner` reads server-sent events; else one object at the end.
    """

    def __init__(
        self, decoder: StreamDecoder, inner: AnswerWriter, *, streamed: bool, model: str, clock: Clock
    ) -> None:
        self.content_type = inner.content_type
        self._decoder = decoder
        self._inner = inner
        self._streamed = streamed
        self._clock = clock
        self._fold = AnswerFold()
        self._usage = Usage()
        self._timings: ServerTimings | None = None
        self._head: dict[str, JsonValue] = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(clock.utc().timestamp()),
            "model": model,
        }

    def feed(self, data: bytes) -> bytes:
        """What the client gets for the events that `data` completes."""
        return self._told(self._decoder.feed(self._clock.now_ns(), data))

    def end(self) -> bytes:
        """The rest. Raises ServerError when the answer was not whole."""
        out = self._told(self._decoder.close(self._clock.now_ns()))
        if not self._streamed:
            out += self._inner.feed(dump_json(self._whole()))
        return out + self._inner.end()

    def broken(self, error: LlamaRunnerError) -> bytes:
        """The last bytes in the client's dialect."""
        return self._inner.broken(error)

    def ping(self) -> bytes:
        """The client's own."""
        return self._inner.ping()

    def _told(self, events: list[StreamEvent]) -> bytes:
        pieces = bytearray()
        for event in events:
            self._fold.add(event)
            pieces += self._one(event)
        out = self._inner.feed(bytes(pieces)) if pieces else b""
        if self._decoder.failure is not None:
            raise self._decoder.failure
        return out

    def _one(self, event: StreamEvent) -> bytes:
        match event:
            case UsageReport(usage=usage):
                self._usage = usage
            case TimingsReport(timings=timings):
                self._timings = timings
            case _ if not self._streamed:
                pass
            case TextDelta(text=text):
                return self._chunk({"content": text})
            case ReasoningDelta(text=text):
                return self._chunk({"reasoning_content": text})
            case ToolCallDelta():
                return self._chunk({"tool_calls": [_call_delta(event)]})
            case Finished(reason=reason):
                return self._chunk({}, _reason(reason, self._fold)) + self._figures() + b"data: [DONE]\n\n"
        return b""

    def _chunk(self, delta: dict[str, JsonValue], reason: str | None = None) -> bytes:
        choice: JsonValue = {"index": 0, "delta": delta, "finish_reason": reason}
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def _figures(self) -> bytes:
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [], **self._counts()})

    def _counts(self) -> dict[str, JsonValue]:
        usage, timings = self._usage, self._timings
        prompt, output = usage.prompt_tokens or 0, usage.output_tokens or 0
        counts: dict[str, JsonValue] = {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
        }
        if usage.cached_tokens is not None:
            counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
        if usage.reasoning_tokens is not None:
            counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
        found: dict[str, JsonValue] = {"usage": counts}
        if timings is not None:
            found["timings"] = {
                "prompt_n": timings.prompt_tokens,
                "prompt_ms": None if timings.prompt_s is None else timings.prompt_s * 1e3,
                "predicted_n": timings.output_tokens,
                "predicted_ms": None if timings.output_s is None else timings.output_s * 1e3,
            }
        return found

    def _whole(self) -> JsonValue:
        answer = self._fold.snapshot()
        message: dict[str, JsonValue] = {"role": "assistant", "content": answer.text}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.call_id or f"call_{index}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for index, call in enumerate(answer.tool_calls)
            ]
        choice: JsonValue = {
            "index": 0,
            "message": message,
            "finish_reason": _reason(answer.finish_reason, self._fold),
        }
        return {**self._head, "object": "chat.completion", "choices": [choice], **self._counts()}


def _event(document: dict[str, JsonValue]) -> bytes:
    return b"data: " + dump_json(document) + b"\n\n"


def _call_delta(event: ToolCallDelta) -> JsonValue:
    function: dict[str, JsonValue] = {"arguments": event.arguments}
    delta: dict[str, JsonValue] = {"index": event.index, "type": "function", "function": function}
    if event.name is not None:
        function["name"] = event.name
        delta["id"] = event.call_id or f"call_{event.index}"
    return delta


def _reason(reason: str | None, fold: AnswerFold) -> str:
    if fold.snapshot().tool_calls:
        return "tool_calls"
    return _REASONS.get(reason or "stop", reason or "stop")
