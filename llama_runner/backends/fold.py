"""Events folded into one answer: text for views, a trace for the figures. The only place that does it."""

from dataclasses import dataclass, field
from typing import Final

from llama_runner.backends.events import (
    Finished,
    PromptProgress,
    ReasoningDelta,
    RequestSent,
    Started,
    StreamEvent,
    TextDelta,
    TextWasReasoning,
    TimingsReport,
    ToolCallDelta,
    UsageReport,
)
from llama_runner.backends.request import ToolCall
from llama_runner.core.errors import ServerError
from llama_runner.core.trace import (
    NO_METRICS,
    RequestMetrics,
    RequestTrace,
    ServerTimings,
    TokenKind,
    TokenStamp,
    Usage,
    request_metrics,
)

# T4: more calls than any answer has; what comes beyond is not kept.
MAX_TOOL_CALLS: Final = 128
# T1: shown names are cut much earlier.
MAX_NAME_CHARS: Final = 1024


@dataclass(frozen=True, slots=True)
class AnswerSnapshot:
    """The answer so far.

    Attributes:
        n_events: Token-bearing events so far; grows with every change of text, reasoning or tool calls.
        started: The response's head arrived.
        finished: The end marker arrived.
        finish_reason: As the server spelt it, None before the end or when it gave none.
        prompt_progress: Prefill done, 0 to 1; None when the server does not say.
        not_sent: What was asked for and could not be sent in this server's dialect.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    n_events: int = 0
    started: bool = False
    finished: bool = False
    finish_reason: str | None = None
    prompt_progress: float | None = None
    not_sent: tuple[str, ...] = ()


class AnswerFold:
    """Accumulates one answer. Appending is O(1); taking a snapshot joins only what came since the last one.

    Attributes:
        error: What ended the answer early, None when nothing did. Set by `fail`.
    """

    def __init__(self) -> None:
        self.error: ServerError | None = None
        self._text = _GrowingText()
        self._reasoning = _GrowingText()
        self._calls: dict[int, _GrowingCall] = {}
        self._stamps: list[TokenStamp] = []
        self._t_send_ns: int | None = None
        self._t_end_ns: int | None = None
        self._started = False
        self._finished = False
        self._finish_reason: str | None = None
        self._progress: float | None = None
        self._usage: Usage | None = None
        self._timings: ServerTimings | None = None
        self._not_sent: tuple[str, ...] = ()

    def add(self, event: StreamEvent) -> None:
        """Take one event in."""
        if isinstance(event, TextDelta):
            self._text.append(event.text)
            self._stamps.append(TokenStamp(event.t_ns, TokenKind.TEXT, event.cumulative_tokens))
        elif isinstance(event, ReasoningDelta):
            self._reasoning.append(event.text)
            self._stamps.append(TokenStamp(event.t_ns, TokenKind.REASONING, event.cumulative_tokens))
        elif isinstance(event, ToolCallDelta):
            self._add_call(event)
        else:
            self._add_other(event)

    def _add_other(self, event: StreamEvent) -> None:
        """What comes once or a few times in an answer."""
        match event:
            case TextWasReasoning():
                self._move_text()
            case RequestSent(t_ns, not_sent):
                self._t_send_ns, self._not_sent = t_ns, not_sent
            case Started():
                self._started = True
            case PromptProgress(_, processed, total):
                self._progress = min(processed / total, 1.0) if total else None
            case UsageReport(_, usage):
                self._usage = usage
            case TimingsReport(_, timings):
                self._timings = timings
            case Finished(t_ns, reason):
                self._finished, self._finish_reason, self._t_end_ns = True, reason, t_ns

    def fail(self, error: ServerError | None, t_ns: int) -> None:
        """The answer ended early at `t_ns`: by an error, or, with None, because its reader stopped."""
        self.error = error
        self._t_end_ns = t_ns

    @property
    def finished(self) -> bool:
        """The end marker arrived: the answer is complete."""
        return self._finished

    def snapshot(self) -> AnswerSnapshot:
        """The answer so far."""
        return AnswerSnapshot(
            text=self._text.value(),
            reasoning=self._reasoning.value(),
            tool_calls=tuple(
                ToolCall(call.call_id, call.name, call.arguments.value())
                for _, call in sorted(self._calls.items())
            ),
            n_events=len(self._stamps),
            started=self._started,
            finished=self._finished,
            finish_reason=self._finish_reason,
            prompt_progress=self._progress,
            not_sent=self._not_sent,
        )

    def trace(self) -> RequestTrace | None:
        """What happened when; None when nothing was sent."""
        if self._t_send_ns is None:
            return None
        return RequestTrace(
            t_send_ns=self._t_send_ns,
            stamps=tuple(self._stamps),
            t_end_ns=self._t_end_ns,
            usage=self._usage,
            server_timings=self._timings,
        )

    def metrics(self) -> RequestMetrics:
        """The figures so far; all unknown when nothing was sent."""
        trace = self.trace()
        return NO_METRICS if trace is None else request_metrics(trace)

    def _move_text(self) -> None:
        """What counted as text so far was reasoning: its stamps say so too."""
        self._reasoning.append(self._text.value())
        self._text = _GrowingText()
        self._stamps = [
            TokenStamp(stamp.t_ns, TokenKind.REASONING, stamp.cumulative_tokens)
            if stamp.kind is TokenKind.TEXT
            else stamp
            for stamp in self._stamps
        ]

    def _add_call(self, event: ToolCallDelta) -> None:
        if event.index in self._calls or len(self._calls) < MAX_TOOL_CALLS:
            call = self._calls.setdefault(event.index, _GrowingCall())
            call.call_id = call.call_id or event.call_id
            call.name = (call.name + (event.name or ""))[:MAX_NAME_CHARS]
            call.arguments.append(event.arguments)
        self._stamps.append(TokenStamp(event.t_ns, TokenKind.TOOL_CALL, event.cumulative_tokens))


class _GrowingText:
    """Text in pieces, joined when asked for."""

    def __init__(self) -> None:
        self._joined = ""
        self._pieces: list[str] = []

    def append(self, piece: str) -> None:
        self._pieces.append(piece)

    def value(self) -> str:
        if self._pieces:
            self._joined += "".join(self._pieces)
            self._pieces.clear()
        return self._joined


@dataclass(slots=True)
class _GrowingCall:
    call_id: str | None = None
    name: str = ""
    arguments: _GrowingText = field(default_factory=_GrowingText)
