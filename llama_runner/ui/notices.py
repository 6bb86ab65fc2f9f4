"""Notices: what the program says without stopping anybody. Kept, counted, shown once without a dialog."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from llama_runner.core import format
from llama_runner.ui.tabs import Severity
from llama_runner.ui.theme import SPACE_L, SPACE_M, SPACE_S, Theme
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.tables import Column, DataTable

# Nobody reads further back; the log has the rest.
MAX_NOTICES: Final = 200
# An error stays until it is read; the rest leaves by itself.
INFO_SHOWN_MS: Final = 8000
TOAST_WIDTH: Final = 440


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing said.

    Attributes:
        count: How often it was said in a row.
    """

    number: int
    severity: Severity
    message: str
    details: str
    time_utc: datetime
    count: int = 1


class Notices(QObject):
    """The list of notices; equal neighbours are counted instead of repeated."""

    added = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._notices: list[Notice] = []
        self._said = 0

    @property
    def all(self) -> tuple[Notice, ...]:
        """Oldest first."""
        return tuple(self._notices)

    def add(self, message: str, *, severity: Severity, details: str = "") -> None:
        """Say something."""
        self._said += 1
        now = datetime.now(UTC)
        notice = Notice(self._said, severity, message, details, now)
        last = self._notices[-1] if self._notices else None
        if last is not None and (last.message, last.details) == (message, details):
            notice = replace(last, time_utc=now, count=last.count + 1)
            self._notices[-1] = notice
        else:
            self._notices = [*self._notices[1 - MAX_NOTICES :], notice]
        self.added.emit(notice)

    def clear(self) -> None:
        """Forget all."""
        self._notices = []
        self.added.emit(None)


class NoticeToast(QFrame):
    """The newest notice, over the lower right corner of its parent; takes no focus and stops nothing."""

    list_wanted = Signal()

    def __init__(self, notices: Notices, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("notice")
        self.setAccessibleName(self.tr("Notice"))
        self._text = PlainLabel(wrap=True, selectable=True)
        self._details = PlainLabel(muted=True, wrap=True, selectable=True)
        self._text.setAccessibleName(self.tr("Newest notice"))
        self._details.setAccessibleName(self.tr("What to do"))
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.hide)
        self._lay_out(theme)
        notices.added.connect(self._show_notice)
        parent.installEventFilter(self)
        self.hide()

    def _lay_out(self, theme: Theme) -> None:
        dismiss, every = QPushButton(self.tr("Dismiss")), QPushButton(self.tr("All notices"))
        for button, act in ((every, self._open_list), (dismiss, self.hide)):
            button.setProperty("flat", True)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.clicked.connect(act)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_L, SPACE_M, SPACE_S, SPACE_S)
        column.setSpacing(SPACE_S)
        column.addWidget(self._text)
        column.addWidget(self._details)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(every)
        row.addWidget(dismiss)
        column.addLayout(row)

    def _open_list(self) -> None:
        self.hide()
        self.list_wanted.emit()

    def _show_notice(self, notice: Notice | None) -> None:
        if notice is None:
            self.hide()
            return
        count = f" ({notice.count}×)" if notice.count > 1 else ""
        self._text.setText(notice.message[:600] + count)
        self._details.setText(notice.details.split("\n")[0][:600])
        self._details.setVisible(bool(notice.details))
        self.setProperty("severity", notice.severity.value)
        self.style().unpolish(self)
        self.style().polish(self)
        if notice.severity is Severity.INFO:
            self._timer.start(INFO_SHOWN_MS)
        else:
            self._timer.stop()
        self.show()
        self._place()
        self.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay in the corner."""
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self._place()
        return False

    def _place(self) -> None:
        parent = self.parentWidget()
        if parent is None:
            return
        width = min(TOAST_WIDTH, parent.width() - 2 * SPACE_L)
        self.setFixedWidth(width)
        height = self.heightForWidth(width) if self.hasHeightForWidth() else self.sizeHint().height()
        self.setFixedHeight(height)
        self.move(parent.width() - width - SPACE_L, parent.height() - height - SPACE_L)


class NoticesDialog(QDialog):
    """All notices, newest first."""

    def __init__(self, notices: Notices, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Notices"))
        self.resize(860, 480)
        self._notices = notices
        words = {
            Severity.INFO: self.tr("Info"),
            Severity.WARNING: self.tr("Warning"),
            Severity.ERROR: self.tr("Error"),
        }
        self._table: DataTable[Notice] = DataTable(
            (
                Column(self.tr("Time"), lambda n: format.moment(n.time_utc), number=True),
                Column(self.tr("Kind"), lambda n: words[n.severity]),
                Column(self.tr("Times"), lambda n: format.count(n.count), lambda n: n.count, number=True),
                Column(self.tr("Notice"), lambda n: n.message, stretch=True),
            ),
            lambda n: str(n.number),
            name=self.tr("Notices"),
        )
        self._text = PlainLabel(wrap=True, selectable=True)
        self._text.setAccessibleName(self.tr("Chosen notice in full"))
        self._text.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self._table.chosen.connect(self._show_chosen)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        clear = buttons.addButton(self.tr("Clear"), QDialogButtonBox.ButtonRole.ResetRole)
        clear.clicked.connect(notices.clear)
        buttons.rejected.connect(self.close)
        column = QVBoxLayout(self)
        column.addWidget(self._table, 1)
        column.addWidget(self._text)
        column.addWidget(buttons)
        notices.added.connect(self._refresh)
        self._refresh()

    def _refresh(self) -> None:
        self._table.set_rows(tuple(reversed(self._notices.all)))

    def _show_chosen(self) -> None:
        notice = self._table.current
        self._text.setText("" if notice is None else f"{notice.message}\n{notice.details}".strip())
