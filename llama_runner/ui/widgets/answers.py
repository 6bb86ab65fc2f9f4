"""Growing and ended answers in a transcript: appends what is new, renders what has ended, once, in a thread.

Reads values only; knows neither managers nor who asks.
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QCoreApplication, QObject

from llama_runner.arena.manager import EntryView
from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import calls_in_words
from llama_runner.chat.conversation import TurnView
from llama_runner.core import format
from llama_runner.core.trace import NO_METRICS
from llama_runner.ui.async_slots import is_running, start_task
from llama_runner.ui.widgets.figures import LENGTH_REASON, figures_line, not_sent_line
from llama_runner.ui.widgets.safe_html import Rendered, render_markdown, render_plain
from llama_runner.ui.widgets.transcript import TranscriptView

log = logging.getLogger(__name__)

RENDER_TASK: Final = "render answers"
# Going back and forth between two conversations renders nothing anew; a rendered answer is some kilobytes.
MAX_CACHED: Final = 200


# One answer at one moment, as it is published.
Answer = TurnView | EntryView


@dataclass(slots=True)
class _Shown:
    """How much of an answer is on the screen.

    Attributes:
        latest: The answer as it was last published, once it has ended.
        hidden_chars: How many characters of it are not shown; None until it stands in its final form.
    """

    text_chars: int = 0
    reasoning_chars: int = 0
    latest: Answer | None = None
    hidden_chars: int | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    key: str
    shown: _Shown
    answer: Answer
    cache_key: tuple[str, int]


class AnswerPainter(QObject):
    """Keeps answers of a transcript in step with what was published of them.

    Args:
        notes: Whether the line with the figures goes below each answer.
    """

    def __init__(self, transcript: TranscriptView, *, notes: bool = True) -> None:
        super().__init__(transcript)
        self._transcript = transcript
        self._notes = notes
        self._shown: dict[str, _Shown] = {}
        self._waiting: list[_Job] = []
        self._cache: OrderedDict[tuple[str, int], Rendered] = OrderedDict()

    @property
    def rendering(self) -> bool:
        """Whether an ended answer still waits for its final form."""
        return bool(self._waiting) or is_running(self, RENDER_TASK) or self._transcript.busy

    def show(self, key: str, answer: Answer, *, name: str) -> bool:
        """Bring message `key`, which the transcript has, up to `answer`. True once it has ended.

        Args:
            name: Tells answers of all times apart, for what is kept of them rendered.
        """
        shown = self._shown.setdefault(key, _Shown())
        if shown.latest is not None:
            self._show_figures_again(key, shown, answer)
            return True
        if len(answer.reasoning) > shown.reasoning_chars:
            self._transcript.grow_thinking(key, answer.reasoning[shown.reasoning_chars :])
            shown.reasoning_chars = len(answer.reasoning)
        if answer.state is AnswerState.STREAMING:
            if len(answer.text) < shown.text_chars:
                # What came so far turned out to be reasoning.
                self._transcript.restart(key)
                shown.text_chars = 0
            if len(answer.text) > shown.text_chars:
                self._transcript.grow(key, answer.text[shown.text_chars :])
                shown.text_chars = len(answer.text)
            return False
        shown.latest = answer
        self._render(_Job(key, shown, answer, (name, answer.revision)))
        return True

    def _show_figures_again(self, key: str, shown: _Shown, answer: Answer) -> None:
        """Tokens may be counted a moment after the end: then the figures change once more."""
        if shown.latest is None or answer.revision == shown.latest.revision:
            return
        shown.latest = answer
        if shown.hidden_chars is not None:
            self._show_note(key, shown)

    def forget(self, key: str) -> None:
        """The message is taken away; another one may come under its key."""
        self._shown.pop(key, None)

    def clear(self) -> None:
        """All messages are taken away."""
        self._shown.clear()
        self._waiting.clear()

    def drop(self, prefix: str) -> None:
        """Keep nothing rendered of answers whose name begins with `prefix`."""
        for cache_key in [one for one in self._cache if one[0].startswith(prefix)]:
            del self._cache[cache_key]

    def _render(self, job: _Job) -> None:
        if (cached := self._cache.get(job.cache_key)) is not None:
            self._finish(job, cached)
            return
        self._waiting.append(job)
        if not is_running(self, RENDER_TASK):
            start_task(self, self._render_waiting(), name=RENDER_TASK)

    async def _render_waiting(self) -> None:
        while self._waiting:
            # The newest first: it is the one in sight.
            job = self._waiting.pop()
            rendered = await asyncio.to_thread(_rendered, job.answer.text)
            self._cache[job.cache_key] = rendered
            while len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
            if self._shown.get(job.key) is job.shown:
                self._finish(job, rendered)

    def _finish(self, job: _Job, rendered: Rendered) -> None:
        self._transcript.finish(job.key, rendered.pieces)
        job.shown.hidden_chars = len(rendered.rest)
        self._show_note(job.key, job.shown)

    def _show_note(self, key: str, shown: _Shown) -> None:
        if shown.latest is None:
            return
        note = note_of(shown.latest, hidden_chars=shown.hidden_chars or 0, figures=self._notes)
        if note:
            self._transcript.set_note(key, note)


def _rendered(text: str) -> Rendered:
    try:
        return render_markdown(text)
    except Exception:
        # An answer that breaks the renderer is still an answer: shown as it came.
        log.exception("answer could not be rendered chars=%d", len(text))
        return render_plain(text)


def _tr(text: str) -> str:
    return QCoreApplication.translate("answers", text)


def note_of(answer: Answer, *, hidden_chars: int = 0, figures: bool = True) -> str:
    """The line under an answer that has ended: how it ended if not well, then its figures."""
    parts: list[str] = []
    match answer.state:
        case AnswerState.STOPPED:
            parts.append(_tr("Stopped."))
        case AnswerState.ERROR | AnswerState.TRUNCATED:
            word = _tr("Error:") if answer.state is AnswerState.ERROR else _tr("Incomplete:")
            parts.append(
                f"{word} {answer.error.message} {answer.error.hint}".rstrip() if answer.error else word
            )
        case _ if answer.finish_reason == LENGTH_REASON:
            parts.append(_tr("The answer reached its longest allowed length."))
    if hidden_chars:
        more = _tr("Too long to show whole: {count} more characters; copying takes all of them.")
        parts.append(more.format(count=format.count(hidden_chars)))
    if called := calls_in_words(answer.tool_calls):
        parts.append(called)
    if figures and answer.not_sent:
        parts.append(not_sent_line(answer.not_sent))
    failed = answer.state is AnswerState.ERROR and answer.metrics.output_tokens is None
    # An answer of another program, or of another day, may have none.
    if figures and not failed and answer.metrics != NO_METRICS:
        parts.append(figures_line(answer.metrics))
    return " ".join(parts)


def stage_of(answer: Answer) -> str:
    """What a streaming answer is doing, in a few words; empty once it has ended."""
    if answer.state is not AnswerState.STREAMING:
        return ""
    if answer.text:
        return _tr("Answering")
    if answer.reasoning:
        return _tr("Thinking")
    return _tr("Waiting for the first token") if answer.prompt_progress is None else _tr("Reading the prompt")


def prefill_of(answer: Answer) -> float | None:
    """How much of the prompt is read, 0 to 1, while that is what the answer waits for; else None."""
    waits = answer.state is AnswerState.STREAMING and not answer.text and not answer.reasoning
    return answer.prompt_progress if waits else None
