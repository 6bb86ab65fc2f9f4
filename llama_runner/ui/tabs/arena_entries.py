"""What can be compared: every model of every known server, to be ticked, filtered by typing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QSize,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from PySide6.QtWidgets import QAbstractItemView, QLineEdit, QListView, QVBoxLayout, QWidget

from llama_runner.backends.base import Target
from llama_runner.core.text import visible_controls
from llama_runner.discovery.registry import ServerRecord, ServerStatus, target_label
from llama_runner.ui.theme import ROW_HEIGHT, SPACE_S, tooltip

NO_INDEX: Final = QModelIndex()
Index = QModelIndex | QPersistentModelIndex
FEWEST_ROWS: Final = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model of one server.

    Attributes:
        url: With the model's id its identity: a server that comes back under another id is the same.
        problem: Why it will probably not answer; empty when nothing is known against it.
    """

    server_id: str
    url: str
    model_id: str
    label: str
    problem: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What tells two candidates apart."""
        return self.url, self.model_id


def candidates_of(records: Sequence[ServerRecord]) -> tuple[Candidate, ...]:
    """Every model of every server, each once, in the registry's order."""
    found: dict[tuple[str, str], Candidate] = {}
    for record in records:
        problem = "" if record.status is ServerStatus.ONLINE else record.status.value
        for model in record.models:
            one = Candidate(record.id, record.base_url, model.id, target_label(record, model.id), problem)
            found.setdefault(one.key, one)
    return tuple(found.values())


class CandidatesModel(QAbstractListModel):
    """Candidates with ticks. Ticks outlive a candidate that is away for a while."""

    ticked_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[Candidate, ...] = ()
        self._ticked: list[tuple[str, str]] = []

    @property
    def ticked(self) -> tuple[Candidate, ...]:
        """Those with a tick that are there, in the order they were ticked."""
        by_key = {row.key: row for row in self.rows}
        return tuple(by_key[key] for key in self._ticked if key in by_key)

    def set_rows(self, rows: Iterable[Candidate]) -> None:
        """Show these."""
        new = tuple(rows)
        if new == self.rows:
            return
        self.beginResetModel()
        self.rows = new
        self.endResetModel()
        self.ticked_changed.emit()

    def tick(self, key: tuple[str, str], ticked: bool) -> None:
        """Give or take a tick."""
        if ticked == (key in self._ticked):
            return
        if ticked:
            self._ticked.append(key)
        else:
            self._ticked.remove(key)
        self.dataChanged.emit(self.index(0), self.index(max(len(self.rows) - 1, 0)))
        self.ticked_changed.emit()

    def rowCount(self, parent: Index = NO_INDEX) -> int:
        """How many."""
        return 0 if parent.isValid() else len(self.rows)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Rows can be ticked."""
        return super().flags(index) | Qt.ItemFlag.ItemIsUserCheckable

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One row."""
        if not index.isValid():
            return None
        row = self.rows[index.row()]
        shown = f"{row.label} ({row.problem})" if row.problem else row.label
        match role:
            case Qt.ItemDataRole.DisplayRole | Qt.ItemDataRole.AccessibleTextRole:
                return shown
            case Qt.ItemDataRole.ToolTipRole:
                return tooltip(f"{visible_controls(row.model_id)} · {row.url}")
            case Qt.ItemDataRole.CheckStateRole:
                return Qt.CheckState.Checked if row.key in self._ticked else Qt.CheckState.Unchecked
            case Qt.ItemDataRole.SizeHintRole:
                return QSize(0, ROW_HEIGHT)
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Tick or untick a row."""
        if not index.isValid() or role != Qt.ItemDataRole.CheckStateRole:
            return False
        self.tick(self.rows[index.row()].key, Qt.CheckState(value) is Qt.CheckState.Checked)
        return True


class EntryPicker(QWidget):
    """The list of candidates below a filter. Space ticks the marked one."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.candidates = CandidatesModel()
        self.candidates.ticked_changed.connect(self.changed)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self.candidates)
        self._proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self._filter = QLineEdit()
        self._filter.setObjectName("arena-filter")
        self._filter.setAccessibleName(self.tr("Filter models"))
        self._filter.setPlaceholderText(self.tr("Filter models"))
        self._filter.setClearButtonEnabled(True)
        self._filter.textChanged.connect(self._proxy.setFilterFixedString)
        self.list = QListView()
        self.list.setObjectName("arena-entries")
        self.list.setModel(self._proxy)
        self.list.setAccessibleName(self.tr("Models to compare"))
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setMinimumHeight(FEWEST_ROWS * ROW_HEIGHT + SPACE_S)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_S)
        column.addWidget(self._filter)
        column.addWidget(self.list, 1)

    @property
    def ticked(self) -> tuple[Candidate, ...]:
        """What is to be compared."""
        return self.candidates.ticked

    def tick_target(self, target: Target) -> None:
        """Tick what the header points at."""
        self.candidates.tick((target.endpoint.base_url, target.model_id), True)
