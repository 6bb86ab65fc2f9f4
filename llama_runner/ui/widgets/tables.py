"""Tables over plain rows: a column says what it shows, how it sorts and what its tooltip explains."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from PySide6.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QAction, QBrush, QColor, QFont, QGuiApplication, QKeySequence, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from llama_runner.core.text import visible_controls
from llama_runner.ui.theme import ROW_HEIGHT, mono_font, tooltip

R = TypeVar("R")
Index = QModelIndex | QPersistentModelIndex
NO_INDEX: Final = QModelIndex()
# A name is not worth showing in less.
MIN_STRETCH_PX: Final = 120
SORT_ROLE: Final = Qt.ItemDataRole.UserRole
RIGHT: Final = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
LEFT: Final = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter

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
        colour: Colour of a cell's text, None for the usual one.
        stretch: Takes what room is left.
    """

    title: str
    text: Callable[[R], str]
    sort: Callable[[R], SortValue] | None = None
    number: bool = False
    hint: str = ""
    cell_hint: Callable[[R], str] | None = None
    colour: Callable[[R], str | None] | None = None
    stretch: bool = False


class RowsModel(QAbstractTableModel, Generic[R]):
    """Rows that are replaced as a whole; those with the same keys in the same order keep the selection."""

    def __init__(
        self, columns: Sequence[Column[R]], key: Callable[[R], str], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._columns = tuple(columns)
        self._key = key
        self._rows: tuple[R, ...] = ()
        self._mono: QFont | None = None

    @property
    def rows(self) -> tuple[R, ...]:
        """What is shown."""
        return self._rows

    @property
    def columns(self) -> tuple[Column[R], ...]:
        """How it is shown."""
        return self._columns

    def set_rows(self, rows: Sequence[R]) -> None:
        """Show these rows instead."""
        new = tuple(rows)
        if new == self._rows:
            return
        if [self._key(row) for row in new] == [self._key(row) for row in self._rows]:
            self._rows = new
            if new:
                self.dataChanged.emit(self.index(0, 0), self.index(len(new) - 1, len(self._columns) - 1))
            return
        self.beginResetModel()
        self._rows = new
        self.endResetModel()

    def key_at(self, row: int) -> str:
        """Key of a row."""
        return self._key(self._rows[row])

    def rowCount(self, parent: Index = NO_INDEX) -> int:
        """How many rows."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = NO_INDEX) -> int:
        """How many columns."""
        return 0 if parent.isValid() else len(self._columns)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One cell."""
        if not index.isValid():
            return None
        column, row = self._columns[index.column()], self._rows[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole | Qt.ItemDataRole.AccessibleTextRole:
                return visible_controls(column.text(row))
            case Qt.ItemDataRole.ToolTipRole:
                return tooltip(visible_controls((column.cell_hint or column.text)(row), 2000))
            case Qt.ItemDataRole.TextAlignmentRole:
                return RIGHT if column.number else LEFT
            case Qt.ItemDataRole.FontRole if column.number:
                self._mono = self._mono or mono_font()
                return self._mono
            case Qt.ItemDataRole.ForegroundRole if column.colour is not None:
                return _brush(column.colour(row))
            case _ if role == SORT_ROLE:
                return column.sort(row) if column.sort is not None else column.text(row).casefold()
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


def _brush(colour: str | None) -> Any:
    return None if colour is None else QBrush(QColor(colour))


class _Sorted(QSortFilterProxyModel):
    def lessThan(self, left: Index, right: Index) -> bool:
        """By the sort value; unknown comes last whichever way it is sorted."""
        a, b = left.data(SORT_ROLE), right.data(SORT_ROLE)
        if a is None or b is None:
            ascending = self.sortOrder() is Qt.SortOrder.AscendingOrder
            return (a is not None and b is None) if ascending else (a is None and b is not None)
        return bool(a < b)


class DataTable(QTableView, Generic[R]):
    """A sortable table of rows. Ctrl+C copies the marked rows as tab-separated text with their headings."""

    chosen = Signal()

    def __init__(
        self,
        columns: Sequence[Column[R]],
        key: Callable[[R], str],
        *,
        name: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.rows_model: RowsModel[R] = RowsModel(columns, key, self)
        self._proxy = _Sorted(self)
        self._proxy.setSourceModel(self.rows_model)
        self._proxy.setSortRole(SORT_ROLE)
        self._proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self._proxy.setFilterKeyColumn(-1)
        self.setModel(self._proxy)
        self.setAccessibleName(name)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self._set_up_header()
        self._add_copy_action()
        self.selectionModel().selectionChanged.connect(lambda *_: self.chosen.emit())
        self.rows_model.modelReset.connect(self.chosen)

    def _set_up_header(self) -> None:
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(48)
        for number, column in enumerate(self.rows_model.columns):
            # Not Qt's Stretch: that squeezes to nothing where it should scroll.
            mode = QHeaderView.ResizeMode.Fixed if column.stretch else QHeaderView.ResizeMode.ResizeToContents
            header.setSectionResizeMode(number, mode)
        # Long lists are not measured row by row.
        header.setResizeContentsPrecision(64)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Give the stretching columns what is left."""
        super().resizeEvent(event)
        self._fit_stretching()

    def _fit_stretching(self) -> None:
        columns = self.rows_model.columns
        stretching = [number for number, column in enumerate(columns) if column.stretch]
        if not stretching:
            return
        taken = sum(self.columnWidth(n) for n in range(len(columns)) if n not in stretching)
        width = max((self.viewport().width() - taken) // len(stretching), MIN_STRETCH_PX)
        for number in stretching:
            self.setColumnWidth(number, width)

    def _add_copy_action(self) -> None:
        action = QAction(self.tr("Copy rows"), self)
        action.setShortcut(QKeySequence.StandardKey.Copy)
        action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        action.triggered.connect(self.copy_rows)
        self.addAction(action)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)

    def set_rows(self, rows: Sequence[R]) -> None:
        """Show these rows; the marked ones stay marked."""
        marked = self._selected_keys()
        self.rows_model.set_rows(rows)
        # Once the other columns have taken their new widths.
        QTimer.singleShot(0, self, self._fit_stretching)
        if marked and not self.selectionModel().hasSelection():
            self.select_keys(marked)

    def select_keys(self, keys: set[str]) -> None:
        """Mark the rows with these keys and no others."""
        selection = self.selectionModel()
        selection.clearSelection()
        mode = QItemSelectionModel.SelectionFlag
        for source_row in range(self.rows_model.rowCount()):
            if self.rows_model.key_at(source_row) in keys:
                index = self._proxy.mapFromSource(self.rows_model.index(source_row, 0))
                selection.setCurrentIndex(index, mode.Select | mode.Rows)

    def set_filter(self, text: str) -> None:
        """Only rows with `text` in any cell."""
        self._proxy.setFilterFixedString(text)

    @property
    def selected(self) -> tuple[R, ...]:
        """The marked rows, top to bottom."""
        return tuple(self.rows_model.rows[number] for number in self._selected_source_rows())

    @property
    def current(self) -> R | None:
        """The marked row when it is exactly one."""
        rows = self.selected
        return rows[0] if len(rows) == 1 else None

    def copy_rows(self) -> None:
        """Put the marked rows on the clipboard."""
        QGuiApplication.clipboard().setText(self.as_text())

    def as_text(self) -> str:
        """The marked rows (all if none is) as tab-separated lines under their headings."""
        numbers = sorted({index.row() for index in self.selectedIndexes()}) or range(self._proxy.rowCount())
        lines = ["\t".join(column.title for column in self.rows_model.columns)]
        for number in numbers:
            cells = (self._proxy.index(number, column).data() for column in range(self._proxy.columnCount()))
            lines.append("\t".join(cast(str, cell).replace("\t", " ") for cell in cells))
        return "\n".join(lines)

    def _selected_source_rows(self) -> list[int]:
        marked = sorted({index.row() for index in self.selectedIndexes()})
        return [self._proxy.mapToSource(self._proxy.index(number, 0)).row() for number in marked]

    def _selected_keys(self) -> set[str]:
        return {self.rows_model.key_at(number) for number in self._selected_source_rows()}
