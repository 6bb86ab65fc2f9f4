"""Tables over plain rows: a column says what it shows, how it sorts and what its tooltip explains."""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar, cast

from PySide6.QtCore import QItemSelection, QItemSelectionModel, Qt, QTimer, Signal
from PySide6.QtGui import QAction, QFontMetrics, QGuiApplication, QKeySequence, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from llama_runner.core.text import visible_controls
from llama_runner.ui.theme import ROW_HEIGHT, SPACE_S, mono_font
from llama_runner.ui.widgets.rows_model import Column, RowsModel, SortValue

__all__ = ["Column", "DataTable", "RowsModel", "SortValue"]

R = TypeVar("R")
# A name is not worth showing in less.
MIN_STRETCH_PX: Final = 160
# A mark with its padding.
MIN_COLUMN_PX: Final = 36
# Long lists are not measured to their ends.
MEASURED_ROWS: Final = 64
# The style sheet's padding of a cell, and what the style adds around its text.
CELL_PADDING: Final = 2 * SPACE_S + SPACE_S


class DataTable(QTableView, Generic[R]):
    """A sortable table of rows. Ctrl+C copies the marked rows as tab-separated text with their headings.

    Args:
        search: The text that a filter looks through; all cells when not given.
    """

    chosen = Signal()

    def __init__(
        self,
        columns: Sequence[Column[R]],
        key: Callable[[R], str],
        *,
        name: str,
        search: Callable[[R], str] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.rows_model: RowsModel[R] = RowsModel(columns, key, self, search=search)
        self._by_hand: set[int] = set()
        self._fitting = False
        # Many changes in one turn of the loop are fitted once.
        self._fit_timer = QTimer(self)
        self._fit_timer.setSingleShot(True)
        self._fit_timer.setInterval(0)
        self._fit_timer.timeout.connect(self._fit_columns)
        self.setModel(self.rows_model)
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
        self._fit_timer.start()

    def _set_up_header(self) -> None:
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(MIN_COLUMN_PX)
        for number, column in enumerate(self.rows_model.columns):
            # Not Qt's Stretch: that squeezes to nothing where it should scroll.
            if column.narrow:
                self.setColumnWidth(number, MIN_COLUMN_PX)
                header.setSectionResizeMode(number, QHeaderView.ResizeMode.Fixed)
        header.sectionResized.connect(self._section_resized)
        model = self.rows_model
        for told in (model.rowsInserted, model.rowsRemoved, model.dataChanged, model.modelReset):
            told.connect(self._fit_timer.start)

    def _section_resized(self, number: int) -> None:
        """A column that a person made wider or narrower stays so."""
        if not self._fitting:
            self._by_hand.add(number)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Give the stretching columns what is left."""
        super().resizeEvent(event)
        self._fit_columns(contents=False)

    def _fit_columns(self, *, contents: bool = True) -> None:
        # Not the header's own modes: they fit contents late and slowly, and stretching squeezes to nothing.
        self._fitting = True
        columns = self.rows_model.columns
        for number, column in enumerate(columns) if contents else ():
            if not (column.stretch or column.narrow or number in self._by_hand):
                self.setColumnWidth(number, self._content_width(number, column))
        self._fit_stretching()
        self._fitting = False

    def _content_width(self, number: int, column: Column[R]) -> int:
        """Wide enough for the heading and for what is in sight and a little below."""
        if column.width_px is not None:
            return max(column.width_px, self.horizontalHeader().sectionSizeHint(number))
        first = max(self.rowAt(0), 0)
        rows = self.rows_model.shown[first : first + MEASURED_ROWS]
        metrics = QFontMetrics(mono_font() if column.number else self.font())
        texts = {column.text(row) for row in rows}
        widest = max((metrics.horizontalAdvance(visible_controls(text)) for text in texts), default=0)
        return max(widest + CELL_PADDING, self.horizontalHeader().sectionSizeHint(number))

    def _fit_stretching(self) -> None:
        columns = self.rows_model.columns
        stretching = [n for n, column in enumerate(columns) if column.stretch and n not in self._by_hand]
        if not stretching:
            return
        taken = sum(self.columnWidth(n) for n in range(len(columns)) if n not in stretching)
        width = (self.viewport().width() - taken) // len(stretching)
        for number in stretching:
            self.setColumnWidth(number, max(width, columns[number].width_px or MIN_STRETCH_PX))

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
        self._mark_again(marked)

    def set_filter(self, text: str) -> None:
        """Only rows that hold every word of `text`."""
        marked = self._selected_keys()
        self.rows_model.set_filter(text)
        self._mark_again(marked)

    def _mark_again(self, marked: set[str]) -> None:
        if marked and not self.selectionModel().hasSelection():
            self.select_keys(marked)

    def select_keys(self, keys: set[str]) -> None:
        """Mark the rows with these keys and no others."""
        model = self.rows_model
        last = model.columnCount() - 1
        places = sorted(place for key in keys if (place := model.row_of(key)) is not None)
        wanted = QItemSelection()
        for place in places:
            wanted.select(model.index(place, 0), model.index(place, last))
        mode = QItemSelectionModel.SelectionFlag
        if places:
            self.selectionModel().setCurrentIndex(model.index(places[-1], 0), mode.NoUpdate)
        self.selectionModel().select(wanted, mode.ClearAndSelect)

    @property
    def selected(self) -> tuple[R, ...]:
        """The marked rows, top to bottom."""
        return tuple(self.rows_model.shown[number] for number in self._selected_rows())

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
        model = self.rows_model
        lines = ["\t".join(column.title for column in model.columns)]
        for number in self._selected_rows() or range(model.rowCount()):
            cells = (model.index(number, column).data() for column in range(model.columnCount()))
            lines.append("\t".join(cast(str, cell).replace("\t", " ") for cell in cells))
        return "\n".join(lines)

    def _selected_rows(self) -> list[int]:
        return sorted(index.row() for index in self.selectionModel().selectedRows())

    def _selected_keys(self) -> set[str]:
        return {self.rows_model.key_at(number) for number in self._selected_rows()}
