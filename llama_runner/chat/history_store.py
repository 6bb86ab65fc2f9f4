"""The statements on the file of kept conversations. Blocking, for one thread; a change is one transaction."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from llama_runner.chat.history_rows import (
    SUMMARY,
    TURN,
    moment_of,
    summary_of,
    text_of,
    told,
    turn_of,
    turn_values,
)
from llama_runner.chat.history_schema import has_index
from llama_runner.chat.history_search import Search
from llama_runner.chat.history_values import (
    MAX_TEXT_CHARS,
    MAX_TITLE_CHARS,
    MAX_TURNS,
    Added,
    Found,
    KeptConversation,
    KeptTurn,
    Summary,
    storable,
    title_of_text,
    to_ms,
)
from llama_runner.core.errors import NotFoundError, StorageError, UsageError
from llama_runner.core.text import cut

# As few characters of an id as tell it from others on most disks.
MIN_ID_CHARS: Final = 4
# The turns of a conversation from a number on.
_FROM: Final = "FROM messages WHERE conversation = ? AND position >= ?"
_ID: Final = re.compile(r"[0-9a-f]+")


class HistoryStore:
    """Over one open connection.

    Args:
        read_only: Why nothing can be written; empty when it can.
    """

    def __init__(self, connection: sqlite3.Connection, read_only: str = "") -> None:
        self.connection = connection
        self.read_only = read_only
        self._indexed = has_index(connection)
        self._search = Search(connection, indexed=self._indexed)

    # --- reading -------------------------------------------------------------------------------------------

    def page(self, limit: int, offset: int = 0) -> tuple[Summary, ...]:
        """Conversations, last changed first. Raises StorageError, DamagedError."""
        with told():
            rows = self.connection.execute(
                f"{SUMMARY} ORDER BY c.updated_ms DESC, c.key DESC LIMIT ? OFFSET ?", (limit, offset)
            )
            return tuple(summary_of(row) for row in rows)

    def count(self) -> int:
        """How many conversations there are. Raises StorageError, DamagedError."""
        with told():
            return int(self.connection.execute("SELECT count(*) FROM conversations").fetchone()[0])

    def search(self, text: str, limit: int) -> Found:
        """Conversations whose title or messages have `text`; all for an empty one.

        Raises StorageError, DamagedError.
        """
        if not text.strip():
            return Found(self.page(limit), self.count() <= limit)
        with told():
            return self._search.find(text, limit)

    def full_id(self, beginning: str) -> str:
        """The one id that begins so. Raises NotFoundError, UsageError, StorageError, DamagedError."""
        wanted = beginning.strip().lower()
        if not _ID.fullmatch(wanted) or len(wanted) < MIN_ID_CHARS:
            raise UsageError(
                "That is no id of a conversation.",
                f"Give at least {MIN_ID_CHARS} characters of what `history list` shows.",
            )
        with told():
            rows = self.connection.execute(
                "SELECT id FROM conversations WHERE id BETWEEN ? AND ? LIMIT 2", (wanted, f"{wanted}~")
            ).fetchall()
        if len(rows) > 1:
            raise UsageError("More than one conversation begins with that id.", "Give more of it.")
        if not rows:
            raise NotFoundError("There is no conversation with that id.", "See `history list`.")
        return str(rows[0][0])

    def load(self, conversation_id: str, turns: int = MAX_TURNS) -> KeptConversation:
        """A conversation with its newest `turns`. Raises NotFoundError, StorageError, DamagedError."""
        with told():
            row = self.connection.execute(
                "SELECT key, id, title, created_ms, updated_ms, system_prompt, origin, imported_ms"
                " FROM conversations WHERE id = ?",
                (conversation_id,),
            ).fetchone()
            if row is None:
                raise NotFoundError("That conversation is not kept any more.", "See `history list`.")
            rows = self.connection.execute(
                f"SELECT {TURN}, position FROM messages WHERE conversation = ?"
                " ORDER BY position DESC LIMIT ?",
                (MAX_TEXT_CHARS, MAX_TEXT_CHARS, row[0], turns),
            ).fetchall()
        return KeptConversation(
            id=text_of(row[1]),
            title=text_of(row[2]),
            created=moment_of(row[3]),
            updated=moment_of(row[4]),
            turns=tuple(turn_of(turn) for turn in reversed(rows)),
            system_prompt=text_of(row[5]),
            origin=text_of(row[6]),
            imported=None if row[7] is None else moment_of(row[7]),
            earlier=rows[-1][-1] if rows else 0,
        )

    def ids(self) -> tuple[str, ...]:
        """All, oldest first. Raises StorageError, DamagedError."""
        with told():
            rows = self.connection.execute("SELECT id FROM conversations ORDER BY updated_ms, key")
            return tuple(str(row[0]) for row in rows)

    # --- writing -------------------------------------------------------------------------------------------

    def save(
        self,
        conversation_id: str,
        system_prompt: str,
        first: int,
        turns: Sequence[KeptTurn],
        at: datetime,
    ) -> None:
        """Keep `turns` as those from number `first` on; what was kept from there on before is replaced.

        The first turns of a conversation make it and give it its title.

        Raises:
            NotFoundError: It is not kept any more, and these are not its first turns.
            StorageError: Nothing was changed.
        """
        with self._change():
            row = self.connection.execute(
                "SELECT key FROM conversations WHERE id = ?", (conversation_id,)
            ).fetchone()
            if row is None and first:
                raise NotFoundError("That conversation is not kept any more.", "See `history list`.")
            if row is None:
                title = next((name for turn in turns if (name := title_of_text(turn.text))), "")
                new = KeptConversation(conversation_id, title, at, at, (), system_prompt)
                key = self._insert(new)
            else:
                key = row[0]
                self.connection.execute(
                    "UPDATE conversations SET system_prompt = ?, updated_ms = ? WHERE key = ?",
                    (storable(system_prompt), to_ms(at), key),
                )
                self._remove_turns(key, first)
            self._insert_turns(key, first, turns)

    def put(self, kept: KeptConversation) -> None:
        """Keep a whole conversation, in the place of one with its id. Raises StorageError, DamagedError."""
        with self._change():
            self._put(kept)

    def put_new(self, conversations: Iterable[KeptConversation]) -> Added:
        """Keep imported conversations, each once.

        One that is here already is replaced when it has changed where it came from, and not here.

        Raises:
            StorageError: None of them was kept.
        """
        new = replaced = known = messages = 0
        with self._change():
            for kept in conversations:
                row = self.connection.execute(
                    "SELECT updated_ms, imported_ms FROM conversations WHERE id = ?", (kept.id,)
                ).fetchone()
                if row is not None and not (row[0] == row[1] and row[0] < to_ms(kept.updated)):
                    known += 1
                    continue
                new += row is None
                replaced += row is not None
                messages += len(kept.turns)
                self._put(kept)
        return Added(new, replaced, known, messages)

    def _put(self, kept: KeptConversation) -> None:
        self._remove(kept.id)
        self._insert_turns(self._insert(kept), 0, kept.turns[-MAX_TURNS:])

    def rename(self, conversation_id: str, title: str) -> None:
        """Give another title. Raises UsageError, NotFoundError, StorageError."""
        title = cut(storable(" ".join(title.split())), MAX_TITLE_CHARS)
        if not title:
            raise UsageError("A conversation needs a title.", "Write at least one letter.")
        with self._change():
            changed = self.connection.execute(
                "UPDATE conversations SET title = ? WHERE id = ?", (title, conversation_id)
            )
            if not changed.rowcount:
                raise NotFoundError("That conversation is not kept any more.", "See `history list`.")

    def delete(self, conversation_id: str) -> None:
        """Forget one, kept or not. Raises StorageError."""
        with self._change():
            self._remove(conversation_id)

    def _remove(self, conversation_id: str) -> None:
        row = self.connection.execute(
            "SELECT key FROM conversations WHERE id = ?", (conversation_id,)
        ).fetchone()
        if row is not None:
            self._remove_turns(row[0], 0)
            self.connection.execute("DELETE FROM conversations WHERE key = ?", (row[0],))

    def _remove_turns(self, key: int, first: int) -> None:
        if self._indexed:
            # The index is told what it has to forget.
            self.connection.execute(
                f"INSERT INTO words (words, rowid, text) SELECT 'delete', key, text {_FROM}", (key, first)
            )
        self.connection.execute(f"DELETE {_FROM}", (key, first))

    def _insert(self, kept: KeptConversation) -> int:
        added = self.connection.execute(
            "INSERT INTO conversations"
            " (id, title, system_prompt, created_ms, updated_ms, origin, imported_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                kept.id,
                cut(storable(kept.title), MAX_TITLE_CHARS),
                storable(kept.system_prompt),
                to_ms(kept.created),
                to_ms(kept.updated),
                storable(kept.origin),
                None if kept.imported is None else to_ms(kept.imported),
            ),
        )
        assert added.lastrowid is not None
        return added.lastrowid

    def _insert_turns(self, key: int, first: int, turns: Iterable[KeptTurn]) -> None:
        self.connection.executemany(
            "INSERT INTO messages (conversation, position, role, text, reasoning, at_ms, state, error, hint,"
            " finish_reason, label, model_id, images, metrics)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((key, position, *turn_values(turn)) for position, turn in enumerate(turns, first)),
        )
        if self._indexed:
            self.connection.execute(f"INSERT INTO words (rowid, text) SELECT key, text {_FROM}", (key, first))

    def rebuild_index(self) -> None:
        """Make the index of words anew from the texts. Raises StorageError, DamagedError."""
        with self._change():
            self.connection.execute("INSERT INTO words (words) VALUES ('rebuild')")

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction: all of it or nothing (B9)."""
        if self.read_only:
            raise StorageError(self.read_only, "Update this program to go on keeping conversations.")
        with told():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                # SQLite ends some failed transactions itself.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
