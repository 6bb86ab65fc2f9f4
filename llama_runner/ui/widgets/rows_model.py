"""A table's rows: filtered, sorted, and replaced without losing what is marked or where it is scrolled to.

Filter and sort are done here and not in a proxy: one key per row and one sort take under 8 ms for 2,000
rows, a `QSortFilterProxyModel` that asks Python for every comparison and every cell takes 100 to 200.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QBrush, QColor, QFont

from llama_runner.core.text import visible_controls
from llama_runner.ui.theme import mono_font, tooltip
from llama_runner.ui.widgets.search_texts import SearchTexts

R = TypeVar("R")
Index = QModelIndex | QPersistentModelIndex
NO_INDEX: Final = QModelIndex()
RIGHT: Final = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
LEFT: Final = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
# More separate changes than this cost a view more than showing everything anew.
MAX_RUNS: Final = 64

SortValue = float | int | str | None


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """One column.

    Attributes:
        title: Translated, with the unit where all cells share one.
        text: What a cell shows. Names from outside need no care: controls are made visible here.
        sort: What it sorts by, None for unknown (always last); the text when not given.
        number: Right-aligned, tabular figures.
        hint: Tooltip of the header.
        cell_hint: Tooltip of a cell; the text when not given.
        cell_name: What a screen reader says of a cell; the text when not given.
        colour: Colour of a cell's text, None for the usual one.
        stretch: Takes what room is left.
        narrow: Holds nothing but a mark, and is as wide.
        width_px: A fixed width, for what is painted and not written, or the least of a stretching column;
            None to fit the texts.
    """

    title: str
    text: Callable[[R], str]
    sort: Callable[[R], SortValue] | None = None
    number: bool = False
    hint: str = ""
    cell_hint: Callable[[R], str] | None = None
    cell_name: Callable[[R], str] | None = None
    colour: Callable[[R], str | None] | None = None
    stretch: bool = False
    narrow: bool = False
    width_px: int | None = None

    def sort_value(self, row: R) -> SortValue:
        """What it sorts by."""
        return self.sort(row) if self.sort is not None else self.text(row).casefold()


class RowsModel(QAbstractTableModel, Generic[R]):
    """Rows by their keys. What stays keeps its place in selections; only what changed is told to views.

    Args:
        search: The text that a filter looks through; all cells when not given.

    Attributes:
        search_texts: What the filter looks through, for those who want it made ahead.
    """

    def __init__(
        self,
        columns: Sequence[Column[R]],
        key: Callable[[R], str],
        parent: QObject | None = None,
        *,
        search: Callable[[R], str] | None = None,
    ) -> None:
        super().__init__(parent)
        self._columns = tuple(columns)
        self._key = key
        self._rows: tuple[R, ...] = ()
        self.search_texts: SearchTexts[R] = SearchTexts(key, search or self._all_cells, self)
        self._words: tuple[str, ...] = ()
        self._sorting: tuple[int, bool] | None = None
        self._shown: list[R] = []
        self._keys: list[str] = []
        self._mono: QFont | None = None

    @property
    def rows(self) -> tuple[R, ...]:
        """All of them, as they were given."""
        return self._rows

    @property
    def shown(self) -> Sequence[R]:
        """Those that pass the filter, in the order in which they stand."""
        return self._shown

    @property
    def columns(self) -> tuple[Column[R], ...]:
        """How they are shown."""
        return self._columns

    def set_rows(self, rows: Sequence[R]) -> None:
        """Show these rows instead."""
        new = tuple(rows)
        if new != self._rows:
            self._rows = new
            self.search_texts.set_rows(new)
            self._arrange()

    def set_filter(self, text: str) -> None:
        """Only rows that hold every word of `text`, whatever its case."""
        words = tuple(text.casefold().split())
        if words != self._words:
            self._words = words
            self._arrange()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """By the column's sort value, unknown last whichever way; -1 is the order they were given in."""
        self._sorting = (column, order is Qt.SortOrder.DescendingOrder) if column >= 0 else None
        self._arrange()

    def row_of(self, key: str) -> int | None:
        """Where a row stands, None when it is not shown."""
        return self._keys.index(key) if key in self._keys else None

    def key_at(self, row: int) -> str:
        """Key of the row that stands there."""
        return self._keys[row]

    # --- arranging -----------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        wanted = self._sorted(self._filtered())
        keys = [self._key(row) for row in wanted]
        old = set(self._keys)
        gone = old.difference(keys)
        runs_gone = list(_runs([key in gone for key in self._keys]))
        runs_new = list(_runs([key not in old for key in keys]))
        if len(set(keys)) < len(keys) or len(runs_gone) + len(runs_new) > MAX_RUNS:
            self.beginResetModel()
            self._shown, self._keys = wanted, keys
            self.endResetModel()
            return
        self._remove(runs_gone)
        self._reorder([key for key in keys if key in old])
        self._insert(runs_new, wanted, keys)
        self._update(wanted)

    def _filtered(self) -> Sequence[R]:
        if not self._words:
            return self._rows
        words, text_of = self._words, self.search_texts.of
        return [row for row in self._rows if _has_all(words, text_of(row))]

    def _all_cells(self, row: R) -> str:
        return "\n".join(visible_controls(column.text(row)) for column in self._columns)

    def _sorted(self, rows: Sequence[R]) -> list[R]:
        if self._sorting is None:
            return list(rows)
        number, descending = self._sorting
        valued = [(self._columns[number].sort_value(row), row) for row in rows]
        known: list[tuple[Any, R]] = [pair for pair in valued if pair[0] is not None]
        known.sort(key=lambda pair: pair[0], reverse=descending)
        return [row for _, row in known] + [row for value, row in valued if value is None]

    def _remove(self, runs: list[tuple[int, int]]) -> None:
        for first, last in reversed(runs):
            self.beginRemoveRows(NO_INDEX, first, last)
            del self._shown[first : last + 1]
            del self._keys[first : last + 1]
            self.endRemoveRows()

    def _reorder(self, keys: list[str]) -> None:
        if keys == self._keys:
            return
        self.layoutAboutToBeChanged.emit()
        by_key = dict(zip(self._keys, self._shown, strict=True))
        place = {key: number for number, key in enumerate(keys)}
        before = self.persistentIndexList()
        after = [self.index(place[self._keys[index.row()]], index.column()) for index in before]
        self._shown, self._keys = [by_key[key] for key in keys], keys
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _insert(self, runs: list[tuple[int, int]], wanted: list[R], keys: list[str]) -> None:
        for first, last in runs:
            self.beginInsertRows(NO_INDEX, first, last)
            self._shown[first:first] = wanted[first : last + 1]
            self._keys[first:first] = keys[first : last + 1]
            self.endInsertRows()

    def _update(self, wanted: list[R]) -> None:
        changed = [old != new for old, new in zip(self._shown, wanted, strict=True)]
        self._shown = wanted
        for first, last in _runs(changed):
            self.dataChanged.emit(self.index(first, 0), self.index(last, len(self._columns) - 1))

    # --- what views ask ------------------------------------------------------------------------------------

    def rowCount(self, parent: Index = NO_INDEX) -> int:
        """How many rows are shown."""
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: Index = NO_INDEX) -> int:
        """How many columns."""
        return 0 if parent.isValid() else len(self._columns)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One cell."""
        if not index.isValid():
            return None
        column, row = self._columns[index.column()], self._shown[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return visible_controls(column.text(row))
            case Qt.ItemDataRole.AccessibleTextRole:
                return visible_controls((column.cell_name or column.text)(row))
            case Qt.ItemDataRole.ToolTipRole:
                return tooltip(visible_controls((column.cell_hint or column.text)(row), 2000))
            case Qt.ItemDataRole.TextAlignmentRole:
                return RIGHT if column.number else LEFT
            case Qt.ItemDataRole.FontRole if column.number:
                self._mono = self._mono or mono_font()
                return self._mono
            case Qt.ItemDataRole.ForegroundRole if column.colour is not None:
                colour = column.colour(row)
                return None if colour is None else QBrush(QColor(colour))
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """The heading of a column."""
        if orientation is not Qt.Orientation.Horizontal or section >= len(self._columns):
            return None
        column = self._columns[section]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return column.title
            case Qt.ItemDataRole.ToolTipRole:
                return tooltip(column.hint or column.title)
            case Qt.ItemDataRole.TextAlignmentRole:
                return RIGHT if column.number else LEFT
        return None


def _has_all(words: Sequence[str], text: str) -> bool:
    # A loop: one generator per row costs as much as all the rest of filtering.
    for word in words:  # noqa: SIM110
        if word not in text:
            return False
    return True


def _runs(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """First and last place of every unbroken run of True."""
    start: int | None = None
    for place, flag in enumerate(flags):
        if flag and start is None:
            start = place
        elif not flag and start is not None:
            yield start, place - 1
            start = None
    if start is not None:
        yield start, len(flags) - 1
