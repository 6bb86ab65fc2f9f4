"""Searching kept conversations by their words: whatever is typed, within the time that a person waits."""

import dataclasses
import re
import sqlite3
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from llama_runner.chat.history_rows import SUMMARY, summary_of, text_of
from llama_runner.chat.history_values import MAX_TEXT_CHARS, Found, Summary
from llama_runner.core.jsonio import scrub_text

# B6: what a person searches for fits a line; the rest of a pasted page is not looked at.
MAX_QUERY_CHARS: Final = 512
MAX_QUERY_WORDS: Final = 32
# B6: a list that takes longer is not typed into any more.
SEARCH_BUDGET_S: Final = 0.15
_STEPS_PER_LOOK: Final = 2_000
EXCERPT_CHARS: Final = 120
_WORD: Final = re.compile(r"[^\W_]+")
# Written without spaces between words: the index would take whole sentences for one word.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
_TITLES: Final = (
    "SELECT key, NULL FROM conversations WHERE title LIKE ? ESCAPE '\\' ORDER BY updated_ms DESC, key DESC"
)
_TEXTS: Final = "SELECT conversation, key FROM messages WHERE text LIKE ? ESCAPE '\\' ORDER BY key DESC"
_WORDS: Final = (
    "SELECT m.conversation, m.key FROM words JOIN messages m ON m.key = words.rowid"
    " WHERE words MATCH ? ORDER BY words.rowid DESC"
)


class Search:
    """Over one open connection.

    Args:
        indexed: Whether there is an index of words; without one the texts are read.
        now: Monotonic seconds, for the time that a search may take.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, indexed: bool, now: Callable[[], float] = monotonic
    ) -> None:
        self._connection = connection
        self._now = now
        self._indexed = indexed

    def find(self, text: str, limit: int) -> Found:
        """Conversations whose title has `text`, or any message all its words. Raises sqlite3.Error.

        The last word may be the beginning of one.
        """
        text = unicodedata.normalize("NFC", scrub_text(text.strip()[:MAX_QUERY_CHARS]))
        hits, complete = self._hits(text, limit)
        told = (self._summary_at(key, message, text) for key, message in hits.items())
        found = [one for one in told if one is not None]
        found.sort(key=lambda one: (one.updated, one.id), reverse=True)
        return Found(tuple(found), complete)

    def _hits(self, text: str, limit: int) -> tuple[dict[int, int | None], bool]:
        """Keys of conversations with the newest message each that fits, None for the title alone."""
        hits: dict[int, int | None] = {}
        in_time = False
        with self._in_time():
            for statement, value in ((_TITLES, _pattern(text)), self._texts(text)):
                for key, message in self._connection.execute(statement, (value,)):
                    if key not in hits and len(hits) >= limit:
                        return hits, False
                    hits[key] = hits.get(key) or message
            in_time = True
        return hits, in_time

    def _texts(self, text: str) -> tuple[str, str]:
        words = _WORD.findall(text)[:MAX_QUERY_WORDS]
        if not words or not self._indexed or _UNSPACED.search(text):
            return _TEXTS, _pattern(text)
        # Each in quotes: nothing that is typed is taken for an operator (B6).
        return _WORDS, " ".join(f'"{word}"' for word in words) + "*"

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """What is asked ends when a person does not wait any longer; what was found until then stays."""
        until = self._now() + SEARCH_BUDGET_S
        self._connection.set_progress_handler(lambda: self._now() > until, _STEPS_PER_LOOK)
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
        finally:
            self._connection.set_progress_handler(None, 0)

    def _summary_at(self, key: int, message: int | None, text: str) -> Summary | None:
        """None for what another program has deleted since it was found."""
        row = self._connection.execute(f"{SUMMARY} WHERE c.key = ?", (key,)).fetchone()
        if row is None:
            return None
        summary = summary_of(row)
        if message is None:
            return summary
        said = self._connection.execute(
            "SELECT substr(text, 1, ?) FROM messages WHERE key = ?", (MAX_TEXT_CHARS, message)
        ).fetchone()
        return dataclasses.replace(summary, excerpt=excerpt(text_of(said[0]), text) if said else "")


def _pattern(text: str) -> str:
    """`text` for LIKE, every sign taken as it is (B6)."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"


def excerpt(text: str, wanted: str) -> str:
    """The part of `text` around the first word of `wanted`, on one line."""
    words = _WORD.findall(wanted)
    folded = text.casefold()
    places = [folded.find(one.casefold()) for one in (wanted, *words)]
    place = next((one for one in places if one >= 0), 0)
    begin = max(0, place - EXCERPT_CHARS // 3)
    line = " ".join(text[begin : begin + EXCERPT_CHARS].split())
    after = "…" if begin + EXCERPT_CHARS < len(text) else ""
    return f"{'…' if begin else ''}{line}{after}"
