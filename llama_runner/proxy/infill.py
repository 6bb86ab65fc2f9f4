"""Filling in the middle: llama-server's own stream, read for Ollama's dialect and told in OpenAI's."""

import secrets
from collections.abc import Mapping
from typing import Final

from llama_runner.backends.decoding import SseDecoder
from llama_runner.backends.events import (
    Finished,
    StreamEvent,
    TextDelta,
    TimingsReport,
    UsageReport,
)
from llama_runner.backends.openai_decoder import timings_of
from llama_runner.backends.values import as_count, as_object, as_text
from llama_runner.core.clock import Clock
from llama_runner.core.errors import InvalidRequestError, LlamaRunnerError, ProtocolError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.trace import Usage
from llama_runner.proxy import fields
from llama_runner.proxy.answers import DONE_LINE, SSE_PING
from llama_runner.proxy.openai_errors import error_document

PATH: Final = "/infill"
END_MARKER: Final = b'"stop":true'
_LIMIT: Final = "limit"


def infill_body(
    prefix: JsonValue, suffix: JsonValue, sampling: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """What the engine is asked: always a stream. Raises InvalidRequestError."""
    if not isinstance(prefix or "", str):
        raise InvalidRequestError("With a suffix, prompt must be a text.", "Correct the request.")
    allowed = {name: check for name, check in fields.INFILL.items() if name != "prompt"}
    return {
        **fields.allowed(sampling, allowed),
        "input_prefix": prefix or "",
        "input_suffix": suffix or "",
        "stream": True,
    }


class InfillDecoder(SseDecoder):
    """One answer of llama-server's `/infill` or `/completion`: pieces of `content`, the last with `stop`."""

    def _event(self, t_ns: int, name: str, data: bytes, events: list[StreamEvent]) -> None:
        if (document := self._document(data)) is not None:
            self._piece(t_ns, document, events)

    def _whole_answer(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None:
        document = self._document(data)
        if document is None or "content" not in document:
            raise ProtocolError(self.endpoint, "its answer is not a completion")
        self._piece(t_ns, {**document, "stop": True}, events)

    def _piece(self, t_ns: int, piece: Mapping[str, JsonValue], events: list[StreamEvent]) -> None:
        if text := as_text(piece.get("content")):
            # What looks like thinking in somebody's source text is source text.
            events.append(TextDelta(t_ns, text))
        if piece.get("stop") is not True:
            return
        usage = Usage(as_count(piece.get("tokens_evaluated")), as_count(piece.get("tokens_predicted")))
        events.append(UsageReport(t_ns, usage))
        if (timings := timings_of(as_object(piece.get("timings")))) is not None:
            events.append(TimingsReport(t_ns, timings))
        self._reason = "length" if piece.get("stop_type") == _LIMIT else "stop"
        self._finish(t_ns, events)


class InfillAsCompletion:
    """The same as OpenAI's `/v1/completions` has it, streamed or whole.

    Args:
        with_usage: The stream ends with the counts, which only some clients can read.
    """

    def __init__(self, model_id: str, *, streamed: bool, with_usage: bool, clock: Clock) -> None:
        self.content_type = "text/event-stream" if streamed else "application/json"
        self._decoder = InfillDecoder(model_id)
        self._streamed = streamed
        self._with_usage = with_usage
        self._clock = clock
        self._same: Mapping[str, JsonValue] = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(clock.utc().timestamp()),
            "model": model_id,
        }
        self._texts: list[str] = []
        self._usage = Usage()

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes. Raises ServerError."""
        return self._told(self._decoder.feed(self._clock.now_ns(), data))

    def end(self) -> bytes:
        """What is left. Raises ServerError when the answer is not complete."""
        return self._told(self._decoder.close(self._clock.now_ns()))

    def broken(self, error: LlamaRunnerError) -> bytes:
        """An error event, and no end marker after it."""
        return _event(error_document(error)) if self._streamed else b""

    def ping(self) -> bytes:
        """A bare comment."""
        return SSE_PING if self._streamed else b""

    def _told(self, events: list[StreamEvent]) -> bytes:
        if self._decoder.failure is not None:
            raise self._decoder.failure
        out = bytearray()
        for event in events:
            match event:
                case TextDelta(text=text):
                    self._texts.append(text)
                    out += self._chunk(text, None) if self._streamed else b""
                case UsageReport(usage=usage):
                    self._usage = usage
                case Finished(reason=reason):
                    out += self._last(reason)
                case _:
                    continue
        return bytes(out)

    def _chunk(self, text: str, reason: str | None) -> bytes:
        return _event({**self._same, "choices": [_choice(text, reason)]})

    def _last(self, reason: str | None) -> bytes:
        usage = _usage(self._usage)
        if not self._streamed:
            choice = _choice("".join(self._texts), reason)
            return dump_json({**self._same, "choices": [choice], "usage": usage})
        counts = _event({**self._same, "choices": [], "usage": usage}) if self._with_usage else b""
        return self._chunk("", reason) + counts + DONE_LINE + b"\n\n"


def _choice(text: str, reason: str | None) -> JsonValue:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


def _usage(usage: Usage) -> JsonValue:
    prompt, output = usage.prompt_tokens or 0, usage.output_tokens or 0
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}


def _event(document: JsonValue) -> bytes:
    return b"data: " + dump_json(document) + b"\n\n"
