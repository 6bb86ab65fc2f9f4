"""The list of conversations: titles from the first question, newest first."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QCoreApplication,
    QModelIndex,
    QPersistentModelIndex,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QListView, QWidget

from llama_runner.chat.conversation import ConversationSnapshot
from llama_runner.core.text import visible_controls
from llama_runner.ui.theme import ROW_HEIGHT, tooltip

# What fits into a line of a side panel twice: the rest is in the tooltip anyway.
TITLE_CHARS = 80

NO_INDEX = QModelIndex()
Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation in the list."""

    id: str
    title: str
    busy: bool


def title_of(snapshot: ConversationSnapshot) -> str:
    """The first line of the first question, in one line without control characters."""
    lines = snapshot.messages[0].text.strip().splitlines() if snapshot.messages else []
    return visible_controls(lines[0].strip(), TITLE_CHARS) if lines else _tr("New conversation")


def _tr(text: str) -> str:
    return QCoreApplication.translate("ConversationList", text)


def row_of(snapshot: ConversationSnapshot) -> Row:
    """The row that shows it."""
    return Row(snapshot.id, title_of(snapshot), snapshot.busy)


class ConversationsModel(QAbstractListModel):
    """Rows, replaced when conversations come and go, changed in place otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[Row, ...] = ()

    def set_rows(self, rows: Iterable[Row]) -> None:
        """Show these instead."""
        new = tuple(rows)
        if [row.id for row in new] == [row.id for row in self.rows]:
            for number, row in enumerate(new):
                self._change(number, row)
            return
        self.beginResetModel()
        self.rows = new
        self.endResetModel()

    def change(self, row: Row) -> None:
        """One of them may have changed."""
        for number, old in enumerate(self.rows):
            if old.id == row.id:
                self._change(number, row)

    def _change(self, number: int, row: Row) -> None:
        if self.rows[number] != row:
            self.rows = (*self.rows[:number], row, *self.rows[number + 1 :])
            self.dataChanged.emit(self.index(number), self.index(number))

    def rowCount(self, parent: Index = NO_INDEX) -> int:
        """How many."""
        return 0 if parent.isValid() else len(self.rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One row."""
        if not index.isValid():
            return None
        row = self.rows[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return f"… {row.title}" if row.busy else row.title
            case Qt.ItemDataRole.AccessibleTextRole:
                return _tr("{title}, being answered").format(title=row.title) if row.busy else row.title
            case Qt.ItemDataRole.ToolTipRole:
                return tooltip(row.title)
            case Qt.ItemDataRole.SizeHintRole:
                return QSize(0, ROW_HEIGHT)
        return None


class ConversationList(QListView):
    """Pick a conversation; Delete asks to delete it."""

    picked = Signal(str)
    delete_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows_model = ConversationsModel()
        self.setModel(self.rows_model)
        self.setAccessibleName(self.tr("Conversations"))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setUniformItemSizes(True)
        self.selectionModel().currentChanged.connect(self._on_current)

    def fill(self, snapshots: Iterable[ConversationSnapshot], current: str) -> None:
        """Show all conversations, newest first, with `current` marked."""
        selection = self.selectionModel()
        selection.blockSignals(True)
        self.rows_model.set_rows(map(row_of, snapshots))
        ids = [row.id for row in self.rows_model.rows]
        if current in ids:
            self.setCurrentIndex(self.rows_model.index(ids.index(current)))
        selection.blockSignals(False)
        self.viewport().update()

    def change(self, snapshot: ConversationSnapshot) -> None:
        """One of them may have changed."""
        self.rows_model.change(row_of(snapshot))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete deletes."""
        if event.key() == Qt.Key.Key_Delete:
            self.delete_wanted.emit()
            event.accept()
            return
        super().keyPressEvent(event)

    def _on_current(self, index: QModelIndex) -> None:
        if index.isValid():
            self.picked.emit(self.rows_model.rows[index.row()].id)
