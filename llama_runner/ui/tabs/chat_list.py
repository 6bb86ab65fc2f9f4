"""The list of conversations: a title each, newest first; more of them when the end comes into sight."""

import dataclasses
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
from PySide6.QtWidgets import QAbstractItemView, QListView, QWidget

from llama_runner.chat.conversation import ConversationSnapshot
from llama_runner.chat.history_values import TITLE_CHARS, Summary, title_of_text
from llama_runner.core import format
from llama_runner.core.text import visible_controls
from llama_runner.ui.theme import ROW_HEIGHT, tooltip

NO_INDEX = QModelIndex()
Index = QModelIndex | QPersistentModelIndex
EXCERPT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation in the list. What is shown of it is made when it comes into sight.

    Attributes:
        title: As it came; empty for one without a title.
        kept: What is known of a kept one.
    """

    id: str
    title: str
    busy: bool = False
    private: bool = False
    kept: Summary | None = None

    @property
    def name(self) -> str:
        """The title in one line without control characters."""
        title = visible_controls(self.title, TITLE_CHARS) if self.title else _tr("New conversation")
        return _tr("Private: {title}").format(title=title) if self.private else title

    @property
    def about(self) -> str:
        """What else is known of it, a line or two."""
        if self.kept is None:
            return ""
        known = (
            format.moment(self.kept.updated),
            _tr("{count} messages").format(count=format.count(self.kept.messages)),
            self.kept.model,
            self.kept.origin,
        )
        lines = [" · ".join(visible_controls(one) for one in known if one)]
        if self.kept.excerpt:
            lines.append(visible_controls(self.kept.excerpt, EXCERPT_CHARS))
        return "\n".join(lines)


def _tr(text: str) -> str:
    return QCoreApplication.translate("ConversationList", text)


def row_of(snapshot: ConversationSnapshot, kept: Summary | None = None) -> Row:
    """The row of a conversation of the chat: what it is called, else its first question."""
    title = snapshot.title or (title_of_text(snapshot.messages[0].text) if snapshot.messages else "")
    return Row(snapshot.id, title, snapshot.busy, snapshot.private, kept)


def title_of(snapshot: ConversationSnapshot) -> str:
    """What a conversation of the chat is called, in one line without control characters."""
    return dataclasses.replace(row_of(snapshot), private=False).name


class ConversationsModel(QAbstractListModel):
    """Rows, replaced when conversations come and go, added at the end and changed in place otherwise."""

    more_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[Row, ...] = ()
        self._more = False

    def set_rows(self, rows: Iterable[Row], *, more: bool = False) -> None:
        """Show these instead.

        Args:
            more: There are others, to be asked for when the end comes into sight.
        """
        new = tuple(rows)
        self._more = more
        there = len(self.rows)
        if [row.id for row in new[:there]] != [row.id for row in self.rows]:
            self.beginResetModel()
            self.rows = new
            self.endResetModel()
            return
        for number, row in enumerate(new[:there]):
            self._change(number, row)
        if len(new) > there:
            self.beginInsertRows(QModelIndex(), there, len(new) - 1)
            self.rows = new
            self.endInsertRows()

    def change(self, row: Row) -> None:
        """One of them may have changed; what else is known of it stays."""
        for number, old in enumerate(self.rows):
            if old.id == row.id:
                self._change(number, dataclasses.replace(row, kept=old.kept))

    def _change(self, number: int, row: Row) -> None:
        if self.rows[number] != row:
            self.rows = (*self.rows[:number], row, *self.rows[number + 1 :])
            self.dataChanged.emit(self.index(number), self.index(number))

    def rowCount(self, parent: Index = NO_INDEX) -> int:
        """How many."""
        return 0 if parent.isValid() else len(self.rows)

    def canFetchMore(self, parent: Index) -> bool:
        """Whether there are others."""
        return self._more and not parent.isValid()

    def fetchMore(self, parent: Index) -> None:
        """Ask for them, once."""
        self._more = False
        self.more_wanted.emit()

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One row."""
        if not index.isValid():
            return None
        row = self.rows[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return f"… {row.name}" if row.busy else row.name
            case Qt.ItemDataRole.AccessibleTextRole:
                spoken = ", ".join(filter(None, (row.name, row.about)))
                return _tr("{title}, being answered").format(title=spoken) if row.busy else spoken
            case Qt.ItemDataRole.ToolTipRole:
                return tooltip("\n".join(filter(None, (row.name, row.about))))
            case Qt.ItemDataRole.SizeHintRole:
                return QSize(0, ROW_HEIGHT)
        return None


class ConversationList(QListView):
    """Pick a conversation."""

    picked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows_model = ConversationsModel()
        self.setModel(self.rows_model)
        self.setAccessibleName(self.tr("Conversations"))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setUniformItemSizes(True)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self.selectionModel().currentChanged.connect(self._on_current)

    def fill(self, rows: Iterable[Row], current: str, *, more: bool = False) -> None:
        """Show these, with `current` marked, without moving what is in sight."""
        selection = self.selectionModel()
        selection.blockSignals(True)
        place = self.verticalScrollBar().value()
        self.rows_model.set_rows(rows, more=more)
        self.mark(current)
        self.verticalScrollBar().setValue(place)
        selection.blockSignals(False)
        self.viewport().update()

    def mark(self, current: str) -> None:
        """Mark one of them as the one that is shown, or none."""
        ids = [row.id for row in self.rows_model.rows]
        index = self.rows_model.index(ids.index(current)) if current in ids else QModelIndex()
        if index != self.currentIndex():
            self.setCurrentIndex(index)

    def change(self, snapshot: ConversationSnapshot) -> None:
        """One of them may have changed."""
        self.rows_model.change(row_of(snapshot))

    def _on_current(self, index: QModelIndex) -> None:
        if index.isValid():
            self.picked.emit(self.rows_model.rows[index.row()].id)
