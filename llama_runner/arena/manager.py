"""Comparing: one prompt to 2 to 6 targets at once. An entry that fails leaves the others alone."""

import asyncio
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from llama_runner.backends.base import Backend, Endpoint, Target
from llama_runner.backends.live import AnswerLimits, AnswerState, LiveAnswer
from llama_runner.backends.request import ChatRequest, Message, Role, SamplingOptions, ToolCall
from llama_runner.core.clock import Clock
from llama_runner.core.errors import LlamaRunnerError, UsageError
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.topic import Topic
from llama_runner.core.trace import RequestMetrics

log = logging.getLogger(__name__)

MIN_ENTRIES: Final = 2
# More columns than this cannot be read side by side.
MAX_ENTRIES: Final = 6


@dataclass(frozen=True, slots=True)
class EntryView:
    """One contestant's answer.

    Attributes:
        index: Its place in the order given.
        metrics: All None while streaming.
        error: Why it ended early; `message` and `hint` are for people.
        revision: Grows with every change of this entry.
        not_sent: What was asked for and could not be sent in this server's dialect.
        tool_calls: What the model called, though an arena offers no tools; nothing is ever run.
    """

    index: int
    target: Target
    state: AnswerState
    text: str
    reasoning: str
    metrics: RequestMetrics
    error: LlamaRunnerError | None
    finish_reason: str | None
    prompt_progress: float | None
    revision: int
    not_sent: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def label(self) -> str:
        """How the target is called."""
        return self.target.label


@dataclass(frozen=True, slots=True)
class ArenaSnapshot:
    """One comparison at one moment.

    Attributes:
        revision: Grows with every change: equal revisions of one id mean equal snapshots.
    """

    id: str
    prompt: str
    entries: tuple[EntryView, ...]
    running: bool
    revision: int


class _Comparison:
    """The answers of one comparison, while they grow and after."""

    def __init__(self, prompt: str, targets: tuple[Target, ...], answers: tuple[LiveAnswer, ...]) -> None:
        self.id = uuid.uuid4().hex
        self.prompt = prompt
        self.targets = targets
        self.answers = answers
        self._snapshot: ArenaSnapshot | None = None

    def snapshot(self) -> ArenaSnapshot:
        """The same object while nothing changed."""
        revision = sum(answer.revision for answer in self.answers)
        if self._snapshot is None or self._snapshot.revision != revision:
            running = any(answer.state is AnswerState.STREAMING for answer in self.answers)
            entries = tuple(map(_entry, range(len(self.targets)), self.targets, self.answers))
            self._snapshot = ArenaSnapshot(self.id, self.prompt, entries, running, revision)
        return self._snapshot


class ArenaManager:
    """One comparison at a time; the last one stays readable.

    Args:
        connect: Gives the backend that speaks to an endpoint.
        limits: Asked at every comparison.
        max_entries: Asked at every comparison; never more than `MAX_ENTRIES`.

    Attributes:
        changed: The id of the comparison that changed.
    """

    def __init__(
        self,
        *,
        connect: Callable[[Endpoint], Backend],
        clock: Clock,
        limits: Callable[[], AnswerLimits] = AnswerLimits,
        max_entries: Callable[[], int] = lambda: MAX_ENTRIES,
    ) -> None:
        self.changed: Topic[str] = Topic()
        self._connect = connect
        self._clock = clock
        self._limits = limits
        self._max_entries = max_entries
        self._tasks = TaskOwner()
        self._running: frozenset[asyncio.Task[None]] = frozenset()
        self._last: _Comparison | None = None

    @property
    def running(self) -> bool:
        """Whether any entry still streams."""
        return bool(self._running)

    def snapshot(self) -> ArenaSnapshot | None:
        """The present or the last comparison, None before the first. Cheap while nothing changed."""
        return None if self._last is None else self._last.snapshot()

    async def compare(
        self,
        prompt: str,
        targets: tuple[Target, ...],
        options: SamplingOptions | None = None,
        *,
        system_prompt: str = "",
    ) -> ArenaSnapshot:
        """Ask all targets at once and wait until every answer has ended; they grow in the snapshots.

        Returns:
            The ended comparison. A server's error is in its entry, not raised.

        Raises:
            UsageError: Nothing to send, too few or too many targets, the same one twice, or one is running.

        Cancelling the call stops every answer.
        """
        self._check(prompt, targets)
        comparison = _Comparison(prompt, targets, tuple(self._answer() for _ in targets))
        self._last = comparison
        messages = [Message(Role.SYSTEM, system_prompt)] if system_prompt else []
        messages.append(Message(Role.USER, prompt))
        tasks = set()
        for target, answer in zip(targets, comparison.answers, strict=True):
            request = ChatRequest(target.model_id, tuple(messages), options or SamplingOptions())
            task = self._tasks.start(self._ask(target, answer, request), name=f"arena {target.label}")
            task.add_done_callback(partial(_settle, answer))
            tasks.add(task)
        self._running = frozenset(tasks)
        self.changed.publish(comparison.id)
        try:
            await asyncio.wait(tasks)
        finally:
            await self.stop()
            self._running = frozenset()
            self.changed.publish(comparison.id)
        return comparison.snapshot()

    async def stop(self) -> None:
        """Stop every streaming answer and keep what came. Returns once their connections are closed."""
        running = {task for task in self._running if not task.done()}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def close(self) -> None:
        """Stop everything. Idempotent."""
        await self._tasks.close()

    def _check(self, prompt: str, targets: tuple[Target, ...]) -> None:
        if self._running:
            raise UsageError("A comparison is running.", "Wait for it, or stop it.")
        if not prompt.strip():
            raise UsageError("There is nothing to send.", "Write a prompt first.")
        most = min(self._max_entries(), MAX_ENTRIES)
        if not MIN_ENTRIES <= len(targets) <= most:
            raise UsageError(
                f"A comparison takes {MIN_ENTRIES} to {most} models, not {len(targets)}.",
                "Choose models on one or more servers.",
            )
        if len({(target.endpoint.base_url, target.model_id) for target in targets}) < len(targets):
            raise UsageError("The same model was chosen twice.", "Choose each model once.")

    def _answer(self) -> LiveAnswer:
        return LiveAnswer(clock=self._clock, limits=self._limits(), on_change=self._publish)

    def _publish(self) -> None:
        if self._last is not None:
            self.changed.publish(self._last.id)

    async def _ask(self, target: Target, answer: LiveAnswer, request: ChatRequest) -> None:
        try:
            backend = self._connect(target.endpoint)
        except LlamaRunnerError as error:
            answer.fail(error)
            return
        await answer.run(backend, request)


def _settle(answer: LiveAnswer, task: asyncio.Task[None]) -> None:
    """A task cancelled before its first step never reaches its own clean-up."""
    answer.abandon()


def _entry(index: int, target: Target, answer: LiveAnswer) -> EntryView:
    view = answer.view()
    return EntryView(
        index=index,
        target=target,
        state=view.state,
        text=view.text,
        reasoning=view.reasoning,
        metrics=view.metrics,
        error=view.error,
        finish_reason=view.finish_reason,
        prompt_progress=view.prompt_progress,
        revision=view.revision,
        not_sent=view.not_sent,
        tool_calls=view.tool_calls,
    )
