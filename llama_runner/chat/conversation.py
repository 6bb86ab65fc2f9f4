"""One conversation: its turns and the request that follows from them. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from llama_runner.backends.base import Target
from llama_runner.backends.live import AnswerState, AnswerView
from llama_runner.backends.request import (
    ChatRequest,
    Image,
    JsonOutput,
    Message,
    Role,
    SamplingOptions,
    ToolCall,
)
from llama_runner.core.errors import LlamaRunnerError, UsageError
from llama_runner.core.trace import NO_METRICS, RequestMetrics


@dataclass(frozen=True, slots=True)
class TurnView:
    """One turn as a view shows it.

    Attributes:
        state: A user's turn is always done.
        metrics: All None while streaming and for a user's turn.
        error: Why the answer ended early; `message` and `hint` are for people.
        label: Who speaks: the target's label, empty for the user.
        model_id: The model asked, empty for the user.
        prompt_progress: Prefill done, 0 to 1; None when the server does not say.
        revision: Grows with every change of this turn.
        not_sent: What was asked for and could not be sent in this server's dialect.
        tool_calls: What the model called, though a chat offers no tools; nothing is ever run.
    """

    role: Role
    text: str
    reasoning: str = ""
    state: AnswerState = AnswerState.DONE
    metrics: RequestMetrics = NO_METRICS
    error: LlamaRunnerError | None = None
    finish_reason: str | None = None
    label: str = ""
    model_id: str = ""
    prompt_progress: float | None = None
    revision: int = 0
    not_sent: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ConversationSnapshot:
    """One conversation at one moment.

    Attributes:
        messages: The user's and the models' turns in order; the system prompt is not one of them.
        busy: An answer is streaming.
        private: It is not kept.
        title: What a person called it, or what it was kept under; empty for its first question.
        earlier: How many turns before the first one are kept and were not read.
        revision: Grows with every change: equal revisions mean equal snapshots.
    """

    id: str
    system_prompt: str
    messages: tuple[TurnView, ...]
    busy: bool
    revision: int
    private: bool = False
    title: str = ""
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What the user said, showed and wants back.

    Attributes:
        output: The form of the answer, None for free text.
        lost_images: How many it once had: images are not kept.
    """

    text: str
    images: tuple[Image, ...] = ()
    output: JsonOutput | None = None
    lost_images: int = 0

    @property
    def asked(self) -> bool:
        """Whether there is anything in it: some imported conversations begin with an answer."""
        return bool(self.text or self.images or self.lost_images)

    def message(self) -> Message:
        """As the model gets it."""
        return Message(Role.USER, self.text, self.images)


class Answer(Protocol):
    """A growing answer, or one of another day."""

    @property
    def state(self) -> AnswerState:
        """Where it stands now."""
        ...

    @property
    def revision(self) -> int:
        """Grows with every change."""
        ...

    def view(self) -> AnswerView:
        """All of it that there is."""
        ...


@dataclass(slots=True)
class Exchange:
    """A question, and the answer to it with what it was asked with.

    Attributes:
        target: None for one of another day: its server may be anywhere by now.
        label: Who answered.
        at: When it was asked; None where nobody knows.
        position: The number of its first turn in the conversation, as it is kept.
        turns: How many it is kept as: 2, or 1 where the question or the answer is missing.
    """

    question: Question
    target: Target | None
    options: SamplingOptions
    answer: Answer
    label: str
    model_id: str
    at: datetime | None
    position: int
    turns: int = 2
    _views: tuple[TurnView, ...] = field(default=(), init=False)
    _revision: int = field(default=-1, init=False)

    def views(self) -> tuple[TurnView, ...]:
        """The question's and the answer's turn; the same objects while nothing changed."""
        if self._revision != self.answer.revision:
            self._revision = self.answer.revision
            asked = (TurnView(Role.USER, self.question.text),) if self.question.asked else ()
            self._views = (*asked, answer_turn(self.label, self.model_id, self.answer.view()))
        return self._views


class Conversation:
    """The exchanges of one conversation, oldest first."""

    def __init__(
        self,
        conversation_id: str,
        system_prompt: str,
        *,
        private: bool = False,
        title: str = "",
        past: Sequence[Exchange] = (),
        earlier: int = 0,
    ) -> None:
        self.id = conversation_id
        self.system_prompt = system_prompt
        self.private = private
        self.title = title
        self.earlier = earlier
        self.exchanges: list[Exchange] = list(past)
        self._edits = 0
        self._snapshot: ConversationSnapshot | None = None

    @property
    def busy(self) -> bool:
        """Whether the last answer still streams."""
        return bool(self.exchanges) and self.exchanges[-1].answer.state is AnswerState.STREAMING

    @property
    def next_position(self) -> int:
        """The number that the next exchange's first turn is kept under."""
        last = self.exchanges[-1] if self.exchanges else None
        return self.earlier if last is None else last.position + last.turns

    def edited(self) -> None:
        """Something other than a growing answer changed."""
        self._edits += 1

    def request(self, target: Target, options: SamplingOptions, question: Question) -> ChatRequest:
        """What is sent for `question`, after all exchanges so far.

        Reasoning is never sent back, and an exchange without an answer not at all: chat templates want
        user and assistant to alternate.
        """
        messages = [Message(Role.SYSTEM, self.system_prompt)] if self.system_prompt else []
        for exchange in self.exchanges:
            if text := exchange.answer.view().text:
                messages += [exchange.question.message()] if exchange.question.asked else []
                messages.append(Message(Role.ASSISTANT, text))
        messages.append(question.message())
        return ChatRequest(target.model_id, tuple(messages), options, output=question.output)

    def last(self) -> Exchange:
        """The last exchange. Raises UsageError when there is none that was asked for."""
        if not self.exchanges or not self.exchanges[-1].question.asked:
            raise UsageError("There is no answer to ask for again.", "Send a message first.")
        return self.exchanges[-1]

    def drop_last(self) -> None:
        """Remove the last exchange."""
        dropped = self.exchanges.pop()
        # The dropped answer's own changes stay counted, or a new answer could repeat an old revision.
        self._edits += dropped.answer.revision + 1

    def snapshot(self) -> ConversationSnapshot:
        """The conversation now; the same object while nothing changed."""
        revision = self._edits + sum(exchange.answer.revision for exchange in self.exchanges)
        if self._snapshot is None or self._snapshot.revision != revision:
            turns = tuple(turn for exchange in self.exchanges for turn in exchange.views())
            self._snapshot = ConversationSnapshot(
                self.id,
                self.system_prompt,
                turns,
                self.busy,
                revision,
                self.private,
                self.title,
                self.earlier,
            )
        return self._snapshot


def answer_turn(label: str, model_id: str, answer: AnswerView) -> TurnView:
    """The turn that shows `answer` of the model called `label`."""
    return TurnView(
        role=Role.ASSISTANT,
        text=answer.text,
        reasoning=answer.reasoning,
        state=answer.state,
        metrics=answer.metrics,
        error=answer.error,
        finish_reason=answer.finish_reason,
        label=label,
        model_id=model_id,
        prompt_progress=answer.prompt_progress,
        revision=answer.revision,
        not_sent=answer.not_sent,
        tool_calls=answer.tool_calls,
    )
