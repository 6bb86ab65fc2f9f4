"""What the metronome shall answer: one plan per request, taken from the request itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final
from urllib.parse import quote, unquote

MODEL_PREFIX: Final = "plan:"


@dataclass(frozen=True, slots=True)
class Plan:
    """One answer. Times count from the arrival of the request's first byte.

    Attributes:
        id: Name under which the log finds the request again.
        shift_ms: Added to every time, to take streams out of step.
        prefill_ms: Until the first token.
        tokens: Output tokens, reasoning and tool call included.
        gap_ms: Between chunks: one token each, or as many as `tokens_per_chunk` says.
        first_chunk_tokens: Tokens in the first chunk, None for `tokens_per_chunk`.
        role_ms: When the role event is sent, None for no role event.
        ping_ms: Interval of comment lines before the first token, None for none.
        ping_for_ever: Pings go on and no token ever comes.
        progress: Number of prefill progress events, spread evenly over the prefill.
        usage: none, final, per_chunk, wrong (half of the true count).
        reasoning: How many of the tokens are reasoning, first.
        tool_call: The last token is a tool call.
        error_at: After this many tokens an error event ends the stream.
        cut_at: After this many tokens the stream ends without its end marker.
        reset_at: After this many tokens the connection is reset.
        stall_at: After this many tokens nothing more is sent and the connection stays open.
        status: Anything but 200 is answered at once with an error body.
        error_body: Body of that answer, a text.
        location: Location header of that answer.
        retry_after: Retry-After header of that answer.
        content_type: Overrides the stream's content type.
        fragment: Bytes per write, 0 for whole events; each piece is a write of its own.
        word: What every token says; empty for "w1 ", "w2 ", ...
    """

    id: str = ""
    shift_ms: float = 0
    prefill_ms: float = 0
    tokens: int = 8
    gap_ms: float = 0
    tokens_per_chunk: int = 1
    first_chunk_tokens: int | None = None
    role_ms: float | None = 0
    ping_ms: float | None = None
    ping_for_ever: bool = False
    progress: int = 0
    usage: str = "final"
    reasoning: int = 0
    tool_call: bool = False
    error_at: int | None = None
    cut_at: int | None = None
    reset_at: int | None = None
    stall_at: int | None = None
    status: int = 200
    error_body: str | None = None
    location: str | None = None
    retry_after: str | None = None
    content_type: str | None = None
    fragment: int = 0
    word: str = ""

    def model_id(self) -> str:
        """A model id that carries this plan, for clients that can send nothing else."""
        return MODEL_PREFIX + quote(json.dumps(self.differences()), safe="")

    def differences(self) -> dict[str, Any]:
        """The fields that are not at their default."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    def chunks(self) -> list[int]:
        """Tokens in each chunk."""
        sizes: list[int] = []
        left = self.tokens
        size = self.first_chunk_tokens or self.tokens_per_chunk
        while left > 0:
            sizes.append(min(size, left))
            left -= sizes[-1]
            size = self.tokens_per_chunk
        return sizes


def plan_of(body: Mapping[str, Any], default: Plan) -> Plan:
    """The plan in a request's `metronome` field, else in its model id, else the default."""
    wanted = body.get("metronome")
    model = body.get("model")
    if not isinstance(wanted, dict) and isinstance(model, str) and model.startswith(MODEL_PREFIX):
        wanted = json.loads(unquote(model.removeprefix(MODEL_PREFIX)))
    if not isinstance(wanted, dict):
        wanted = {}
    plan = replace(default, **wanted)
    asked = _max_tokens(body)
    return replace(plan, tokens=min(plan.tokens, asked)) if asked is not None else plan


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    options = body.get("options")
    nested = options.get("num_predict") if isinstance(options, dict) else None
    asked = body.get("max_tokens") or body.get("max_completion_tokens") or nested
    return asked if isinstance(asked, int) else None
