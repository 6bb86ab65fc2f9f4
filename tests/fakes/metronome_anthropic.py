"""How Anthropic Messages spells the metronome's events. One instance spells one answer, no I/O."""

import json
from typing import Any

from tests.fakes.metronome_dialects import CACHED_TOKENS, PROMPT_TOKENS, Progress, counted, words
from tests.fakes.metronome_plan import Plan


class Anthropic:
    """Named events; blocks of one kind each, begun and ended around what they hold."""

    content_type = "text/event-stream"

    def __init__(self, model: str) -> None:
        self._model = model
        self._started = False
        self._kind = ""
        self._blocks = 0

    def role(self, plan: Plan) -> bytes:
        self._started = True
        # The first read of a prompt also says how much of it was cached; the output is only beginning.
        usage = {"input_tokens": PROMPT_TOKENS - CACHED_TOKENS, "cache_read_input_tokens": CACHED_TOKENS}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": self._model}
        given = {} if plan.usage == "none" else {"usage": {**usage, "output_tokens": 1}}
        return _event("message_start", message={**message, "stop_reason": None, **given})

    def ping(self) -> bytes:
        return _event("ping")

    def prefill(self, processed: int, total: int) -> bytes:
        return b""

    def chunk(self, plan: Plan, at: Progress) -> bytes:
        start = b"" if self._started else self.role(plan)
        if plan.tool_call and at.done == plan.tokens:
            opened = self._block("tool_use", id="toolu_1", name="clock", input={})
            delta = {"type": "input_json_delta", "partial_json": '{"zone": "UTC"}'}
        elif at.first <= plan.reasoning:
            opened = self._block("thinking", thinking="", signature="")
            delta = {"type": "thinking_delta", "thinking": words(plan, at)}
        else:
            opened = self._block("text", text="")
            delta = {"type": "text_delta", "text": words(plan, at)}
        return start + opened + _event("content_block_delta", index=self._blocks - 1, delta=delta)

    def end(self, plan: Plan) -> bytes:
        reason = "tool_use" if plan.tool_call else "end_turn"
        usage: dict[str, Any] = {"output_tokens": counted(plan, plan.tokens)}
        if plan.reasoning:
            usage["output_tokens_details"] = {"thinking_tokens": plan.reasoning}
        given = {} if plan.usage == "none" else {"usage": usage}
        delta = {"stop_reason": reason, "stop_sequence": None}
        start = b"" if self._started else self.role(plan)
        return start + self._stop() + _event("message_delta", delta=delta, **given) + _event("message_stop")

    def error(self, message: str) -> bytes:
        return _event("error", error={"type": "api_error", "message": message}, request_id="req_1")

    def _block(self, kind: str, **fields: Any) -> bytes:
        """The end of the block before and the beginning of this one; nothing while it goes on."""
        if kind == self._kind:
            return b""
        stopped = self._stop()
        self._kind, self._blocks = kind, self._blocks + 1
        start = {"type": kind, **fields}
        return stopped + _event("content_block_start", index=self._blocks - 1, content_block=start)

    def _stop(self) -> bytes:
        if not self._kind:
            return b""
        signed = b""
        if self._kind == "thinking":
            delta = {"type": "signature_delta", "signature": "bWV0cm9ub21l"}
            signed = _event("content_block_delta", index=self._blocks - 1, delta=delta)
        self._kind = ""
        return signed + _event("content_block_stop", index=self._blocks - 1)


def _event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}).encode()
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
