"""What a model server's stream means, independent of its dialect. Every event carries the stamp of its bytes.

Stamps are monotonic nanoseconds taken where the bytes were read, never where they were parsed.
"""

from dataclasses import dataclass

from llama_runner.core.records import record
from llama_runner.core.trace import ServerTimings, Usage


@dataclass(frozen=True, slots=True)
class RequestSent:
    """The first byte of the request was written. Always the first event of `Backend.stream`.

    Attributes:
        not_sent: Names of fields of the request that the server's dialect cannot express.
    """

    t_ns: int
    not_sent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """The server accepted the request: response headers arrived."""

    t_ns: int


@record
class TextDelta:
    """Answer text, never empty. `cumulative_tokens`: output tokens so far by the server's count, or None."""

    t_ns: int
    text: str
    cumulative_tokens: int | None = None


@record
class ReasoningDelta:
    """Reasoning text, never empty."""

    t_ns: int
    text: str
    cumulative_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TextWasReasoning:
    """All text before this event was reasoning: a lone closing tag showed that the template had opened it."""

    t_ns: int


@record
class ToolCallDelta:
    """A fragment of tool call number `index`; id and name only where the server sent them."""

    t_ns: int
    index: int
    call_id: str | None
    name: str | None
    arguments: str
    cumulative_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """Prefill progress in prompt tokens. Not a token of output."""

    t_ns: int
    processed: int
    total: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The server's final counts."""

    t_ns: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class TimingsReport:
    """The server's own durations."""

    t_ns: int
    timings: ServerTimings


@dataclass(frozen=True, slots=True)
class Finished:
    """The end marker arrived. `reason` as the server spelt it (stop, length, ...), None if it gave none."""

    t_ns: int
    reason: str | None


StreamEvent = (
    RequestSent
    | Started
    | TextDelta
    | ReasoningDelta
    | TextWasReasoning
    | ToolCallDelta
    | PromptProgress
    | UsageReport
    | TimingsReport
    | Finished
)
TokenDelta = TextDelta | ReasoningDelta | ToolCallDelta
