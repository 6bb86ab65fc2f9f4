"""The texts that a filter looks through: one per row, made once, ahead of the first key if that is wanted.

2,000 of them take 6 ms or more: too long for the key that needs them.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from PySide6.QtCore import QObject, QTimer

R = TypeVar("R")
# About a millisecond of one turn of the loop.
ROWS_A_TURN: Final = 200


class SearchTexts(Generic[R]):
    """Casefolded texts of rows by their keys.

    Args:
        search: The text of a row.
        parent: Ends the timer with itself.
    """

    def __init__(self, key: Callable[[R], str], search: Callable[[R], str], parent: QObject) -> None:
        self._key, self._search = key, search
        # Of the row as it was when its text was made.
        self._texts: dict[str, tuple[R, str]] = {}
        self._ahead = False
        self._rows: Sequence[R] = ()
        self._left: Iterator[R] = iter(())
        self._timer = QTimer(parent)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._make_some)

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._texts)

    def set_rows(self, rows: Sequence[R]) -> None:
        """There are these rows now."""
        self._rows = rows
        # Most are of rows that are gone.
        if len(self._texts) > 2 * len(rows):
            self._texts.clear()
        if self._ahead:
            self.make_ahead()

    def make_ahead(self) -> None:
        """From now on make them before they are asked for, some at a time."""
        self._ahead = True
        self._left = iter(self._rows)
        self._timer.start()

    def of(self, row: R) -> str:
        """The text of a row."""
        key = self._key(row)
        known = self._texts.get(key)
        if known is not None and known[0] == row:
            return known[1]
        text = self._search(row).casefold()
        self._texts[key] = (row, text)
        return text

    def _make_some(self) -> None:
        some = list(islice(self._left, ROWS_A_TURN))
        for row in some:
            self.of(row)
        if not some:
            self._timer.stop()
