"""How each dialect spells the metronome's events. Bytes out of plans, no I/O."""

import json
from dataclasses import dataclass
from typing import Any, Protocol

from tests.fakes.metronome_plan import Plan

PROMPT_TOKENS = 12
CACHED_TOKENS = 4
CREATED = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an answer is when a chunk is sent.

    Attributes:
        first: Number of the chunk's first token, from 1.
        count: Tokens in the chunk.
    """

    first: int
    count: int

    @property
    def done(self) -> int:
        """Tokens sent with this chunk included."""
        return self.first + self.count - 1


class Dialect(Protocol):
    """One server's spelling."""

    content_type: str

    def role(self, plan: Plan) -> bytes: ...
    def ping(self) -> bytes: ...
    def prefill(self, processed: int, total: int) -> bytes: ...
    def chunk(self, plan: Plan, at: Progress) -> bytes: ...
    def end(self, plan: Plan) -> bytes: ...
    def error(self, message: str) -> bytes: ...


def words(plan: Plan, at: Progress) -> str:
    """The text of a chunk."""
    return "".join(plan.word or f"w{number} " for number in range(at.first, at.first + at.count))


def counted(plan: Plan, tokens: int) -> int:
    """What the usage says about so many tokens."""
    return max(tokens // 2, 1) if plan.usage == "wrong" else tokens


class OpenAI:
    """Chat completion chunks as server-sent events."""

    content_type = "text/event-stream"
    first_content: str | None = ""
    reasoning_key = "reasoning_content"

    def __init__(self, model: str) -> None:
        self._model = model

    def role(self, plan: Plan) -> bytes:
        return self._event([_choice({"role": "assistant", "content": self.first_content})])

    def ping(self) -> bytes:
        return b": ping\n\n"

    def prefill(self, processed: int, total: int) -> bytes:
        return b""

    def chunk(self, plan: Plan, at: Progress) -> bytes:
        return self._event([_choice(self._delta(plan, at))], **self._chunk_counts(plan, at))

    def end(self, plan: Plan) -> bytes:
        reason = "tool_calls" if plan.tool_call else "stop"
        finish = self._event([_choice({}, reason)], **self._finish_counts(plan))
        usage = b"" if plan.usage == "none" else self._event([], **self._end_counts(plan))
        return finish + usage + b"data: [DONE]\n\n"

    def error(self, message: str) -> bytes:
        return _sse({"error": {"message": message, "type": "server_error", "code": 500}})

    def _delta(self, plan: Plan, at: Progress) -> dict[str, Any]:
        if plan.tool_call and at.done == plan.tokens:
            function = {"name": "clock", "arguments": '{"zone": "UTC"}'}
            return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
        key = self.reasoning_key if at.first <= plan.reasoning else "content"
        return {key: words(plan, at)}

    def _chunk_counts(self, plan: Plan, at: Progress) -> dict[str, Any]:
        return {"usage": self._usage(plan, at.done)} if plan.usage == "per_chunk" else {}

    def _finish_counts(self, plan: Plan) -> dict[str, Any]:
        return {}

    def _end_counts(self, plan: Plan) -> dict[str, Any]:
        return {"usage": self._usage(plan, plan.tokens)}

    def _usage(self, plan: Plan, tokens: int) -> dict[str, Any]:
        return _usage(plan, tokens)

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED}
        return _sse({**head, "model": self._model, "choices": choices, **more})


class LlamaServer(OpenAI):
    """The same with llama.cpp's timings, progress and bare pings."""

    first_content = None

    def __init__(self, model: str, *, timings_per_token: bool, progress: bool) -> None:
        super().__init__(model)
        self._timings_per_token = timings_per_token
        self._progress = progress

    def ping(self) -> bytes:
        return b":\n\n"

    def prefill(self, processed: int, total: int) -> bytes:
        if not self._progress:
            return b""
        report = {"total": total, "cache": 0, "processed": processed, "time_ms": 1}
        return self._event([_choice({})], prompt_progress=report)

    def _chunk_counts(self, plan: Plan, at: Progress) -> dict[str, Any]:
        per_chunk = plan.usage != "none" and self._timings_per_token
        return {"timings": _timings(plan, at.done)} if per_chunk else {}

    def _end_counts(self, plan: Plan) -> dict[str, Any]:
        return {"usage": _usage(plan, plan.tokens), "timings": _timings(plan, plan.tokens)}


class Vllm(OpenAI):
    """Counts in every chunk when asked to; `reasoning` since 0.11."""

    reasoning_key = "reasoning"

    def __init__(self, model: str, *, continuous: bool) -> None:
        super().__init__(model)
        self._continuous = continuous

    def _chunk_counts(self, plan: Plan, at: Progress) -> dict[str, Any]:
        per_chunk = plan.usage != "none" and self._continuous
        return {"usage": self._usage(plan, at.done)} if per_chunk else super()._chunk_counts(plan, at)


class Sglang(Vllm):
    """The same, with reasoning under the older name and its count beside the others."""

    reasoning_key = "reasoning_content"

    def _usage(self, plan: Plan, tokens: int) -> dict[str, Any]:
        usage = super()._usage(plan, tokens)
        details = usage.pop("completion_tokens_details", {})
        return {**usage, "reasoning_tokens": details.get("reasoning_tokens", 0)}


class LocalAI(OpenAI):
    """As OpenRouter calls reasoning."""

    reasoning_key = "reasoning"


class LmStudio(OpenAI):
    """Says the role in every chunk."""

    def _delta(self, plan: Plan, at: Progress) -> dict[str, Any]:
        return {"role": "assistant", **super()._delta(plan, at)}


class Tgi(OpenAI):
    """Leaves reasoning in the text, between tags, and no blank after `data:`."""

    def _delta(self, plan: Plan, at: Progress) -> dict[str, Any]:
        delta = super()._delta(plan, at)
        if "tool_calls" in delta:
            return delta
        opened = "<think>" if plan.reasoning and at.first == 1 else ""
        last = at.first <= plan.reasoning and (at.done >= plan.reasoning or at.done == plan.tokens)
        text = words(plan, at)
        return {"role": "assistant", "content": f"{opened}{text}{'</think>' if last else ''}"}

    def _usage(self, plan: Plan, tokens: int) -> dict[str, Any]:
        usage = super()._usage(plan, tokens)
        return {name: value for name, value in usage.items() if not name.endswith("_details")}

    def error(self, message: str) -> bytes:
        return _sse({"error": message, "error_type": "incomplete_generation"}).replace(b"data: ", b"data:")

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return super()._event(choices, **more).replace(b"data: ", b"data:", 1)


class Ollama:
    """/api/chat lines."""

    content_type = "application/x-ndjson"

    def __init__(self, model: str) -> None:
        self._model = model

    def role(self, plan: Plan) -> bytes:
        return self._line({"role": "assistant", "content": ""})

    def ping(self) -> bytes:
        return b"\n"

    def prefill(self, processed: int, total: int) -> bytes:
        return b""

    def chunk(self, plan: Plan, at: Progress) -> bytes:
        if plan.tool_call and at.done == plan.tokens:
            call = {"function": {"index": 0, "name": "clock", "arguments": {"zone": "UTC"}}}
            return self._line({"role": "assistant", "content": "", "tool_calls": [call]})
        key = "thinking" if at.first <= plan.reasoning else "content"
        return self._line({"role": "assistant", "content": "", key: words(plan, at)})

    def end(self, plan: Plan) -> bytes:
        counts = {
            "prompt_eval_count": PROMPT_TOKENS,
            "prompt_eval_duration": int(max(plan.prefill_ms, 0.001) * 1e6),
            "eval_count": counted(plan, plan.tokens),
            "eval_duration": int(max(plan.gap_ms, 0.001) * 1e6) * plan.tokens,
        }
        more = {} if plan.usage == "none" else counts
        return self._line({"role": "assistant", "content": ""}, done=True, done_reason="stop", **more)

    def error(self, message: str) -> bytes:
        return json.dumps({"error": message}).encode() + b"\n"

    def _line(self, message: dict[str, Any], *, done: bool = False, **more: Any) -> bytes:
        head = {"model": self._model, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": done}
        return json.dumps({**head, **more}).encode() + b"\n"


def _choice(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}


def _usage(plan: Plan, tokens: int) -> dict[str, Any]:
    output = counted(plan, tokens)
    usage: dict[str, Any] = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": output,
        "total_tokens": PROMPT_TOKENS + output,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }
    if plan.reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": min(plan.reasoning, tokens)}
    return usage


def _timings(plan: Plan, tokens: int) -> dict[str, Any]:
    return {
        "cache_n": CACHED_TOKENS,
        "prompt_n": PROMPT_TOKENS - CACHED_TOKENS,
        "prompt_ms": max(plan.prefill_ms, 0.001),
        "predicted_n": counted(plan, tokens),
        "predicted_ms": max(plan.gap_ms, 0.001) * tokens,
    }


def _sse(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"
