"""llama-server's answer in the words of LM Studio's `/api/v1/chat`. Sans-I/O: its stream in, events out."""

from collections.abc import Callable, Mapping
from typing import Final

from llama_runner.backends.events import (
    Finished,
    PromptProgress,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    TimingsReport,
    UsageReport,
)
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.core.clock import Clock
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.trace import ServerTimings, Usage
from llama_runner.proxy.answers import SSE_PING
from llama_runner.proxy.lm_studio_errors import error_answer
from llama_runner.proxy.records import RequestRecord

_MESSAGE: Final = "message"
_REASONING: Final = "reasoning"


class ChatWriter:
    """One answer of `/api/v1/chat`.

    Args:
        remember: Called with the whole text; gives the answer's id, None when it is not kept.
        since: Seconds since the request arrived.
    """

    def __init__(
        self,
        model_id: str,
        *,
        streamed: bool,
        record: RequestRecord,
        since: Callable[[], float],
        remember: Callable[[str], str | None],
        clock: Clock,
    ) -> None:
        self.content_type = "text/event-stream" if streamed else "application/json"
        self._decoder = OpenAIDecoder(model_id)
        self._instance: Mapping[str, JsonValue] = {"model_instance_id": model_id}
        self._streamed = streamed
        self._record = record
        self._since = since
        self._remember = remember
        self._clock = clock
        # In the order they came: what it is, and its pieces.
        self._blocks: list[tuple[str, list[str]]] = []
        self._begun = False
        self._first_token_s: float | None = None
        self._n_reasoning = 0
        self._usage = Usage()
        self._timings = ServerTimings()

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes. Raises ServerError."""
        return self._told(self._decoder.feed(self._clock.now_ns(), data))

    def end(self) -> bytes:
        """The last event, or the whole object. Raises ServerError when the answer is not complete."""
        return self._told(self._decoder.close(self._clock.now_ns()))

    def broken(self, error: LlamaRunnerError) -> bytes:
        """An error event ends the stream."""
        _, document = error_answer(error)
        inner = document["error"] if isinstance(document, dict) else None
        return self._event("error", error=inner)

    def ping(self) -> bytes:
        """A bare comment."""
        return SSE_PING if self._streamed else b""

    def _told(self, events: list[StreamEvent]) -> bytes:
        if self._decoder.failure is not None:
            raise self._decoder.failure
        return b"".join(self._one(event) for event in events)

    def _one(self, event: StreamEvent) -> bytes:
        before = self._start()
        match event:
            case PromptProgress(processed=processed, total=total) if total:
                return before + self._event("prompt_processing.progress", progress=processed / total)
            case TextDelta(text=text):
                return before + self._piece(_MESSAGE, text)
            case ReasoningDelta(text=text):
                self._n_reasoning += 1
                return before + self._piece(_REASONING, text)
            case UsageReport(usage=usage):
                self._usage = usage
            case TimingsReport(timings=timings):
                self._timings = timings
            case Finished():
                return before + self._last()
        return before

    def _start(self) -> bytes:
        """What happened before the engine's first word."""
        if self._begun:
            return b""
        self._begun = True
        told = self._event("chat.start", **self._instance)
        if load_s := self._record.load_s:
            told += self._event("model_load.start", **self._instance)
            told += self._event("model_load.end", **self._instance, load_time_seconds=round(load_s, 3))
        return told + self._event("prompt_processing.start")

    def _piece(self, kind: str, text: str) -> bytes:
        told = b""
        if not self._blocks or self._blocks[-1][0] != kind:
            told = self._end_block() + self._event(f"{kind}.start")
            self._blocks.append((kind, []))
        self._blocks[-1][1].append(text)
        return told + self._event(f"{kind}.delta", content=text)

    def _end_block(self) -> bytes:
        """The end of what came before: the prompt's reading, or a block of the answer."""
        if self._blocks:
            return self._event(f"{self._blocks[-1][0]}.end")
        if self._first_token_s is None:
            self._first_token_s = self._since()
        return self._event("prompt_processing.end")

    def _last(self) -> bytes:
        ended = self._end_block()
        result = self._result()
        return ended + self._event("chat.end", result=result) if self._streamed else dump_json(result)

    def _result(self) -> dict[str, JsonValue]:
        output: list[JsonValue] = [
            {"type": kind, "content": "".join(pieces)} for kind, pieces in self._blocks
        ]
        said = "".join("".join(pieces) for kind, pieces in self._blocks if kind == _MESSAGE)
        result: dict[str, JsonValue] = {**self._instance, "output": output, "stats": self._stats()}
        if (response_id := self._remember(said)) is not None:
            result["response_id"] = response_id
        return result

    def _stats(self) -> dict[str, JsonValue]:
        usage, timings = self._usage, self._timings
        n_output = usage.output_tokens or timings.output_tokens or 0
        speed = n_output / timings.output_s if timings.output_s else None
        stats: dict[str, JsonValue] = {
            "input_tokens": usage.prompt_tokens or 0,
            "total_output_tokens": n_output,
            # The engine does not count them apart, and sends one at a time.
            "reasoning_output_tokens": usage.reasoning_tokens or self._n_reasoning,
            "tokens_per_second": speed,
            "time_to_first_token_seconds": self._first_token_s,
        }
        if self._record.load_s:
            stats["model_load_time_seconds"] = round(self._record.load_s, 3)
        return stats

    def _event(self, name: str, **more: JsonValue) -> bytes:
        if not self._streamed:
            return b""
        return f"event: {name}\n".encode() + b"data: " + dump_json({"type": name, **more}) + b"\n\n"
