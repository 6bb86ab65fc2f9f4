"""Conversations of the chat to and from the file: keeps what is new, brings back what was kept.

Private conversations never reach it. What could not be kept stays in the chat and is tried again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from llama_runner.backends.live import AnswerState, AnswerView
from llama_runner.backends.request import Role, SamplingOptions
from llama_runner.chat.conversation import Conversation, Exchange, Question
from llama_runner.chat.history import History
from llama_runner.chat.history_values import KeptConversation, KeptTurn, title_of_text
from llama_runner.chat.manager import ChatManager
from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import LlamaRunnerError, NotFoundError, StorageError
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.topic import Topic

log = logging.getLogger(__name__)

# A growing answer is written this often: a crash loses no more of it (safety 3.4).
JOURNAL_S: Final = 1.0
# How long until what could not be kept is tried again (safety 3.4).
RETRY_S: Final = 10.0
_RETRY: Final = "keep conversations again"
# More than any model reads at once; earlier turns stay in the file.
TURNS_READ: Final = 1_000


@dataclass(frozen=True, slots=True)
class PastAnswer:
    """An answer of another day: it never changes again."""

    kept: AnswerView

    @property
    def state(self) -> AnswerState:
        """How it ended."""
        return self.kept.state

    @property
    def revision(self) -> int:
        """Always the same."""
        return self.kept.revision

    def view(self) -> AnswerView:
        """The answer."""
        return self.kept


@dataclass(slots=True)
class _Saved:
    """What of a conversation is on the disk: so many exchanges, as of a revision."""

    exchanges: int
    revision: int
    at_ns: int


class Keeper:
    """Joins one chat and one history.

    Args:
        wanted: Whether conversations are to be kept, by the settings.

    Attributes:
        problems: Why something could not be kept; the same reason once in a row.
        kept: Ids of conversations of which something was just written, renamed or deleted.
    """

    def __init__(
        self, *, chat: ChatManager, history: History, clock: Clock, wanted: Callable[[], bool]
    ) -> None:
        self.problems: Topic[StorageError] = Topic()
        self.kept: Topic[str] = Topic()
        self._chat = chat
        self._history = history
        self._clock = clock
        self._wanted = wanted
        self._saved: dict[str, _Saved] = {}
        # The revision that each conversation of another day was read with.
        self._opened: dict[str, int] = {}
        self._failed: set[str] = set()
        self._deleting: set[str] = set()
        self._last_problem = ""
        self._tasks = TaskOwner()
        self._started = False

    def start(self) -> None:
        """Keep from now on what changes in the chat. Idempotent."""
        if not self._started:
            self._started = True
            self._tasks.start(self._follow(), name="keep conversations")

    async def close(self) -> None:
        """Keep what is left; the chat is closed by now. Idempotent."""
        await self._tasks.close()
        if self._started:
            self._started = False
            for conversation_id in self._chat.conversations:
                await self._try(conversation_id)

    async def keep(self, conversation_id: str) -> None:
        """Write what is new of a conversation. Raises StorageError."""
        snapshot = self._chat.snapshot(conversation_id)
        exchanges = self._chat.exchanges(conversation_id)
        saved = self._saved.get(conversation_id)
        if snapshot.private or not exchanges or (saved and saved.revision == snapshot.revision):
            return
        if conversation_id in self._deleting:
            return
        # The last one that was written may have grown, or its question was asked again.
        first = max(0, min(saved.exchanges, len(exchanges)) - 1) if saved else 0
        new = exchanges[first:]
        turns = [turn for exchange in new for turn in turns_of(exchange)]
        try:
            await self._history.save(conversation_id, snapshot.system_prompt, new[0].position, turns)
        except NotFoundError:
            # Deleted by another program, and gone on with here.
            await self._history.put(self._all_of(conversation_id))
        self._saved[conversation_id] = _Saved(len(exchanges), snapshot.revision, self._clock.now_ns())
        # A journal of what still grows is no news to a list.
        if saved is None or not snapshot.busy:
            self.kept.publish(conversation_id)

    async def whole(self, conversation_id: str) -> KeptConversation:
        """All of a conversation, from the file or, where it is not kept, from the chat.

        Raises NotFoundError, StorageError.
        """
        if conversation_id in self._saved or conversation_id not in self._chat.conversations:
            await self._try(conversation_id)
            return await self._history.load(conversation_id)
        return self._all_of(conversation_id)

    def _all_of(self, conversation_id: str) -> KeptConversation:
        """What the chat has of a conversation."""
        snapshot = self._chat.snapshot(conversation_id)
        turns = [turn for one in self._chat.exchanges(conversation_id) for turn in turns_of(one)]
        dates = [turn.at for turn in turns if turn.at is not None] or [self._clock.utc()]
        return KeptConversation(
            conversation_id,
            snapshot.title or next((name for turn in turns if (name := title_of_text(turn.text))), ""),
            dates[0],
            dates[-1],
            tuple(turns),
            snapshot.system_prompt,
        )

    async def open(self, conversation_id: str) -> None:
        """Bring a kept conversation into the chat, unless it is there. Raises NotFoundError, StorageError."""
        if conversation_id in self._chat.conversations:
            return
        kept = await self._history.load(conversation_id, TURNS_READ)
        self._chat.add(conversation_of(kept))
        snapshot = self._chat.snapshot(conversation_id)
        exchanges = self._chat.exchanges(conversation_id)
        self._saved[conversation_id] = _Saved(len(exchanges), snapshot.revision, self._clock.now_ns())
        self._opened[conversation_id] = snapshot.revision

    async def leave(self, conversation_id: str) -> None:
        """Nobody looks at it any more: one that was only read leaves the chat."""
        if conversation_id not in self._chat.conversations:
            return
        snapshot = self._chat.snapshot(conversation_id)
        if not snapshot.messages or self._opened.get(conversation_id) == snapshot.revision:
            self._opened.pop(conversation_id, None)
            self._saved.pop(conversation_id, None)
            await self._chat.delete(conversation_id)

    async def rename(self, conversation_id: str, title: str) -> None:
        """Give a kept conversation another title. Raises UsageError, NotFoundError, StorageError."""
        await self._history.rename(conversation_id, title)
        if conversation_id in self._chat.conversations:
            named = await self._history.load(conversation_id, 0)
            self._call(conversation_id, named.title)
        self.kept.publish(conversation_id)

    def _call(self, conversation_id: str, title: str) -> None:
        if conversation_id not in self._chat.conversations:
            return
        before = self._chat.snapshot(conversation_id).revision
        self._chat.set_title(conversation_id, title)
        saved = self._saved.get(conversation_id)
        if saved is not None and saved.revision == before:
            # Another title is nothing new that was said.
            saved.revision = self._chat.snapshot(conversation_id).revision

    async def delete(self, conversation_id: str) -> KeptConversation:
        """Forget a kept conversation, here and in the file.

        Returns:
            All of it, for `put_back`.

        Raises:
            NotFoundError: It is not kept.
            StorageError: It is still there.
        """
        if conversation_id in self._chat.conversations:
            await self._chat.stop(conversation_id)
        await self._try(conversation_id)
        # Nothing that still happens in the chat may bring it back.
        self._deleting.add(conversation_id)
        try:
            kept = await self._history.load(conversation_id)
            await self._history.delete(conversation_id)
            self._saved.pop(conversation_id, None)
            if conversation_id in self._chat.conversations:
                await self._chat.delete(conversation_id)
        finally:
            self._deleting.discard(conversation_id)
        self.kept.publish(conversation_id)
        return kept

    async def put_back(self, kept: KeptConversation) -> None:
        """Undo a deletion. Raises StorageError."""
        await self._history.put(kept)
        self.kept.publish(kept.id)

    def is_kept(self, conversation_id: str) -> bool:
        """Whether anything of a conversation of the chat is on the disk."""
        return conversation_id in self._saved

    # --- following -----------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        changes = self._chat.changed.subscribe()
        try:
            async for conversation_id in changes:
                for one in {conversation_id, *changes.drain(), *self._failed}:
                    if self._is_due(one):
                        await self._try(one)
        finally:
            changes.close()

    def _is_due(self, conversation_id: str) -> bool:
        if conversation_id not in self._chat.conversations:
            self._saved.pop(conversation_id, None)
            self._failed.discard(conversation_id)
            return False
        saved = self._saved.get(conversation_id)
        if saved is None or not self._chat.snapshot(conversation_id).busy:
            return True
        return seconds(self._clock.now_ns(), saved.at_ns) >= JOURNAL_S

    async def _try(self, conversation_id: str) -> None:
        if not self._wanted() or conversation_id not in self._chat.conversations:
            self._failed.discard(conversation_id)
            return
        try:
            await self.keep(conversation_id)
        except StorageError as error:
            self._failed.add(conversation_id)
            log.warning("conversation not kept error=%s", error)
            if str(error) != self._last_problem:
                self._last_problem = str(error)
                self.problems.publish(error)
            if self._started and _RETRY not in self._tasks.running:
                self._tasks.start(self._retry(), name=_RETRY)
        else:
            self._failed.discard(conversation_id)
            self._last_problem = ""

    async def _retry(self) -> None:
        """A full disk gets room again, another program ends: nobody has to write a word for that."""
        while self._failed:
            await asyncio.sleep(RETRY_S)
            for conversation_id in tuple(self._failed):
                await self._try(conversation_id)


def turns_of(exchange: Exchange) -> tuple[KeptTurn, ...]:
    """An exchange as it is kept."""
    question, answer = exchange.question, exchange.answer.view()
    asked = KeptTurn(
        Role.USER, question.text, exchange.at, images=len(question.images) + question.lost_images
    )
    answered = KeptTurn(
        Role.ASSISTANT,
        answer.text,
        exchange.at,
        answer.reasoning,
        answer.state,
        error="" if answer.error is None else answer.error.message,
        hint="" if answer.error is None else answer.error.hint,
        finish_reason=answer.finish_reason,
        label=exchange.label,
        model_id=exchange.model_id,
        metrics=answer.metrics,
    )
    if not question.asked:
        return (answered,)
    return (asked, answered) if exchange.turns == 2 else (asked,)


def conversation_of(kept: KeptConversation) -> Conversation:
    """A kept conversation to go on with."""
    return Conversation(
        kept.id,
        kept.system_prompt,
        title=kept.title,
        past=tuple(_exchanges(kept.turns, kept.earlier)),
        earlier=kept.earlier,
    )


def _exchanges(turns: Iterable[KeptTurn], position: int) -> Iterable[Exchange]:
    """Question and answer together; an answer or a question may stand alone."""
    asked: KeptTurn | None = None
    for number, turn in enumerate(turns, position):
        if turn.role is Role.ASSISTANT:
            yield _exchange(asked, turn, number if asked is None else number - 1)
            asked = None
            continue
        if asked is not None:
            yield _exchange(asked, None, number - 1)
        asked = turn
    if asked is not None:
        yield _exchange(asked, None, number)


_UNANSWERED: Final = KeptTurn(Role.ASSISTANT, "", state=AnswerState.STOPPED)


def _exchange(asked: KeptTurn | None, answered: KeptTurn | None, position: int) -> Exchange:
    question = Question("") if asked is None else Question(asked.text, lost_images=asked.images)
    answer = answered or _UNANSWERED
    return Exchange(
        question,
        None,
        SamplingOptions(),
        PastAnswer(_view(answer)),
        label=answer.label or answer.model_id,
        model_id=answer.model_id,
        at=(asked or answer).at,
        position=position,
        turns=(asked is not None) + (answered is not None),
    )


def _view(turn: KeptTurn) -> AnswerView:
    return AnswerView(
        state=turn.state,
        text=turn.text,
        reasoning=turn.reasoning,
        tool_calls=(),
        metrics=turn.metrics,
        error=LlamaRunnerError(turn.error, turn.hint) if turn.error else None,
        finish_reason=turn.finish_reason,
        prompt_progress=None,
        revision=0,
    )
