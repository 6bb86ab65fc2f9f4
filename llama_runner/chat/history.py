"""Kept conversations for one program: one thread of its own does all that touches the file, in order.

Opens nothing until it is first used. What was said to be kept is on the disk.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llama_runner.chat.history_opening import DamagedError, HistoryFile
from llama_runner.chat.history_rows import IndexDamagedError
from llama_runner.chat.history_store import HistoryStore
from llama_runner.chat.history_values import MAX_TURNS, Added, Found, KeptConversation, KeptTurn, Summary
from llama_runner.core.clock import Clock
from llama_runner.core.errors import StorageError
from llama_runner.core.paths import Home

log = logging.getLogger(__name__)

T = TypeVar("T")


def history_file(home: Home, clock: Clock) -> HistoryFile:
    """Where a home keeps its conversations."""
    return HistoryFile(home.data_dir / "history.db", home.run_dir / "history.lock", clock)


class History:
    """Every call may raise StorageError; nothing was changed then."""

    def __init__(self, file: HistoryFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._thread: ThreadPoolExecutor | None = None
        self._store: HistoryStore | None = None
        self._notes: list[str] = []
        self._closed = False

    def take_notes(self) -> tuple[str, ...]:
        """What a person has to be told of the file since the last call: what was put aside, and restored."""
        notes, self._notes = tuple(self._notes), []
        return notes

    async def page(self, limit: int, offset: int = 0) -> tuple[Summary, ...]:
        """Conversations, last changed first."""
        return await self._do(lambda store: store.page(limit, offset))

    async def count(self) -> int:
        """How many conversations there are."""
        return await self._do(lambda store: store.count())

    async def search(self, text: str, limit: int) -> Found:
        """Conversations whose title or messages have `text`; all for an empty one."""
        return await self._do(lambda store: store.search(text, limit))

    async def full_id(self, beginning: str) -> str:
        """The one id that begins so. Raises NotFoundError, UsageError."""
        return await self._do(lambda store: store.full_id(beginning))

    async def ids(self) -> tuple[str, ...]:
        """All, oldest first."""
        return await self._do(lambda store: store.ids())

    async def load(self, conversation_id: str, turns: int = MAX_TURNS) -> KeptConversation:
        """A conversation with its newest turns. Raises NotFoundError."""
        return await self._do(lambda store: store.load(conversation_id, turns))

    async def save(
        self, conversation_id: str, system_prompt: str, first: int, turns: Sequence[KeptTurn]
    ) -> None:
        """Keep `turns` as those from number `first` on, in the place of what was there.

        Raises:
            NotFoundError: It is not kept any more, and these are not its first turns.
        """
        at = self._clock.utc()
        await self._do(lambda store: store.save(conversation_id, system_prompt, first, turns, at))

    async def put(self, kept: KeptConversation) -> None:
        """Keep a whole conversation, in the place of one with its id."""
        await self._do(lambda store: store.put(kept))

    async def put_new(self, conversations: Iterable[KeptConversation]) -> Added:
        """Keep imported conversations, each once."""
        return await self._do(lambda store: store.put_new(conversations))

    async def rename(self, conversation_id: str, title: str) -> None:
        """Give another title. Raises UsageError, NotFoundError."""
        await self._do(lambda store: store.rename(conversation_id, title))

    async def delete(self, conversation_id: str) -> None:
        """Forget one, kept or not."""
        await self._do(lambda store: store.delete(conversation_id))

    async def close(self) -> None:
        """Finish what was asked and let go of the file. Idempotent."""
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._let_go)
        finally:
            thread.shutdown(wait=False)

    # --- on the thread -------------------------------------------------------------------------------------

    async def _do(self, work: Callable[[HistoryStore], T]) -> T:
        if self._closed:
            raise StorageError("The kept conversations are closed.", "Start the program again.")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="history")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)

    def _work(self, work: Callable[[HistoryStore], T]) -> T:
        if self._store is None:
            self._store = self._open()
        try:
            try:
                return work(self._store)
            except IndexDamagedError:
                log.warning("history index made anew")
                self._store.rebuild_index()
                return work(self._store)
        except DamagedError as damage:
            self._put_aside(damage)
            raise StorageError(
                f"The kept conversations could not be used, because {damage}.",
                "They were put aside; do it again to go on with the newest copy.",
            ) from damage

    def _open(self) -> HistoryStore:
        opened = self._file.open()
        self._notes.extend(opened.notes)
        if opened.read_only:
            self._notes.append(f"{opened.read_only} They can be read, and nothing is added to them.")
        return HistoryStore(opened.connection, opened.read_only)

    def _put_aside(self, damage: DamagedError) -> None:
        self._let_go()
        try:
            self._notes.append(self._file.put_aside(str(damage)))
        except (OSError, StorageError) as error:
            # Open elsewhere, perhaps: the next opening looks at it again.
            log.warning("history not put aside error=%s", error)

    def _let_go(self) -> None:
        store, self._store = self._store, None
        if store is None:
            return
        try:
            # The last one to close also brings the log of changes into the file.
            store.connection.close()
        except sqlite3.Error as error:
            log.warning("history not closed cleanly error=%s", error)
