"""One streamed answer while it grows: its state, its text so far, its figures at the end.

Shared by everything that shows answers (chat, arena, commands). Never retries, never drops text that came.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from llama_runner.backends.base import Backend, Endpoint
from llama_runner.backends.events import PromptProgress, ReasoningDelta, TextDelta, ToolCallDelta
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.request import ChatRequest, ToolCall
from llama_runner.backends.suggestions import with_suggestions
from llama_runner.core.clock import Clock
from llama_runner.core.errors import (
    LlamaRunnerError,
    NotFoundError,
    ServerError,
    TruncatedError,
    UnreachableError,
)
from llama_runner.core.trace import NO_METRICS, RequestMetrics, TokensSource, request_metrics

log = logging.getLogger(__name__)

# An answer is not held up for long by a question beside it: what the tokens are, which models there are.
ASIDE_TIMEOUT_S: Final = 5.0


class AnswerState(StrEnum):
    """Where an answer stands. Only `STREAMING` may still change."""

    STREAMING = "streaming"
    DONE = "done"
    STOPPED = "stopped"
    ERROR = "error"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """How long a silent server is waited for (safety R4).

    Attributes:
        first_token_s: Until the first token; prefill that reports progress counts as life.
        idle_s: Between two tokens. Keep-alive bytes are not tokens.
    """

    first_token_s: float = 600.0
    idle_s: float = 120.0


@dataclass(frozen=True, slots=True)
class AnswerView:
    """What a view needs of one answer at one moment.

    Attributes:
        metrics: All None while streaming; computed from the trace when it ended. Where the server counted no
            tokens, they may change once more, when its tokenizer has counted the text.
        error: Why it ended in `ERROR` or `TRUNCATED`; its message and hint are for people.
        prompt_progress: Prefill done, 0 to 1; None when the server does not say.
        not_sent: What was asked for and could not be sent in this server's dialect.
        revision: Grows with every change: equal revisions mean equal views.
    """

    state: AnswerState
    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    metrics: RequestMetrics
    error: LlamaRunnerError | None
    finish_reason: str | None
    prompt_progress: float | None
    revision: int
    not_sent: tuple[str, ...] = ()


class LiveAnswer:
    """Runs one request and keeps what came. `view()` may be asked at any time.

    Args:
        on_change: Called at most once per turn of the event loop, after something changed.
    """

    def __init__(self, *, clock: Clock, limits: AnswerLimits, on_change: Callable[[], None]) -> None:
        self._clock = clock
        self._limits = limits
        self._on_change = on_change
        self._fold = AnswerFold()
        self._state = AnswerState.STREAMING
        self._error: LlamaRunnerError | None = None
        self._processed = -1
        self._metrics = NO_METRICS
        self._revision = 0
        self._notice_due = False
        self._view: AnswerView | None = None

    @property
    def state(self) -> AnswerState:
        """Where it stands now."""
        return self._state

    @property
    def revision(self) -> int:
        """Grows with every change."""
        return self._revision

    def view(self) -> AnswerView:
        """The answer so far. The text is joined here, once per revision, not per token."""
        if self._view is None or self._view.revision != self._revision:
            folded = self._fold.snapshot()
            self._view = AnswerView(
                state=self._state,
                text=folded.text,
                reasoning=folded.reasoning,
                tool_calls=folded.tool_calls,
                metrics=self._metrics,
                error=self._error,
                finish_reason=folded.finish_reason,
                prompt_progress=folded.prompt_progress,
                revision=self._revision,
                not_sent=folded.not_sent,
            )
        return self._view

    def fail(self, error: LlamaRunnerError) -> None:
        """End it before it was sent: the server could not even be asked."""
        self._end(AnswerState.ERROR, error)

    def abandon(self) -> None:
        """It was stopped; without effect once it has ended. For a task cancelled before it first ran."""
        if self._state is AnswerState.STREAMING:
            self._end(AnswerState.STOPPED, None)

    async def run(self, backend: Backend, request: ChatRequest) -> None:
        """Ask, and keep what comes until the answer ended one way or another.

        Server errors end in the state, not in an exception. Cancelling closes the connection, which makes the
        server stop generating, keeps the text as `STOPPED`, and is re-raised. Returns a little after the end
        where the tokens are still to be counted.
        """
        await self._answer(backend, request)
        if self._state is AnswerState.DONE and self._metrics.tokens_source is TokensSource.CHUNKS:
            await self._tokenize(backend, request)

    async def _answer(self, backend: Backend, request: ChatRequest) -> None:
        try:
            await self._consume(backend, request)
        except asyncio.CancelledError:
            self.abandon()
            raise
        except TruncatedError as error:
            self._end(AnswerState.TRUNCATED, error)
        except NotFoundError as error:
            self._end(AnswerState.ERROR, await self._explained(error, backend, request))
        except LlamaRunnerError as error:
            self._end(AnswerState.ERROR, error)
        except Exception:
            # The task's top edge: a fault of ours must not leave an answer that streams for ever.
            log.exception("answer failed model=%s", request.model_id)
            self._end(
                AnswerState.ERROR,
                LlamaRunnerError(
                    "The answer ended with an unexpected error.", "See the log for its traceback."
                ),
            )
        else:
            self._end(AnswerState.DONE, None)

    async def _consume(self, backend: Backend, request: ChatRequest) -> None:
        loop = asyncio.get_running_loop()
        answering = False
        try:
            async with (
                asyncio.timeout(self._limits.first_token_s) as deadline,
                aclosing(backend.stream(request)) as events,
            ):
                async for event in events:
                    self._fold.add(event)
                    if isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta):
                        answering = True
                        deadline.reschedule(loop.time() + self._limits.idle_s)
                        self._changed()
                    elif isinstance(event, PromptProgress) and event.processed > self._processed:
                        self._processed = event.processed
                        deadline.reschedule(loop.time() + self._limits.first_token_s)
                        self._changed()
        except TimeoutError as error:
            raise self._silence(backend.endpoint, answering) from error

    async def _explained(self, error: NotFoundError, backend: Backend, request: ChatRequest) -> NotFoundError:
        """With what comes close to the model asked, where the server does not have it."""
        try:
            async with asyncio.timeout(ASIDE_TIMEOUT_S):
                known = tuple(model.id for model in await backend.list_models())
        except (ServerError, TimeoutError):
            return error
        except asyncio.CancelledError:
            self.abandon()
            raise
        return with_suggestions(error, backend.endpoint.base_url, request.model_id, known)

    async def _tokenize(self, backend: Backend, request: ChatRequest) -> None:
        """Have the server's tokenizer count what it did not count itself (measurement A4)."""
        trace, answer = self._fold.trace(), self._fold.snapshot()
        calls = "".join(call.name + call.arguments for call in answer.tool_calls)
        try:
            async with asyncio.timeout(ASIDE_TIMEOUT_S):
                count = await backend.count_tokens(request.model_id, answer.reasoning + answer.text + calls)
        except (ServerError, TimeoutError) as error:
            log.info("tokens not counted model=%s error=%s", request.model_id, error)
            return
        if count is not None and trace is not None:
            self._metrics = request_metrics(replace(trace, tokenized=count.tokens))
            self._changed()

    def _silence(self, endpoint: Endpoint, answering: bool) -> LlamaRunnerError:
        if answering:
            return TruncatedError(
                f"{endpoint.base_url} sent nothing more for {self._limits.idle_s:g} s.",
                "Ask again, or raise chat.idle_timeout_s if the model is that slow.",
            )
        return UnreachableError(
            f"{endpoint.base_url} did not begin to answer within {self._limits.first_token_s:g} s.",
            "Check what the server is doing, or raise chat.first_token_timeout_s.",
        )

    def _end(self, state: AnswerState, error: LlamaRunnerError | None) -> None:
        if not self._fold.finished:
            self._fold.fail(error if isinstance(error, ServerError) else None, self._clock.now_ns())
        self._state = state
        self._error = error
        self._metrics = self._fold.metrics()
        self._changed()

    def _changed(self) -> None:
        self._revision += 1
        if not self._notice_due:
            # One network read often carries many events: one notice for all of them.
            self._notice_due = True
            asyncio.get_running_loop().call_soon(self._notify)

    def _notify(self) -> None:
        self._notice_due = False
        self._on_change()
