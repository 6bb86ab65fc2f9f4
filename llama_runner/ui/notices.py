"""Notices: what the program says without stopping anybody. Kept, counted, shown once without a dialog."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from PySide6.QtCore import QObject, Qt, QTimer, Signal
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
from llama_runner.ui.theme import SPACE_M, SPACE_S, SPACE_XS, Theme
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.questions import without_icons
from llama_runner.ui.widgets.tables import Column, DataTable

# Nobody reads further back; the log has the rest.
MAX_NOTICES: Final = 200
# An error stays until it is read; the rest leaves by itself.
INFO_SHOWN_MS: Final = 8_000
WARNING_SHOWN_MS: Final = 30_000
# Two lines of a wide window; the list has the whole of it.
MAX_SHOWN_CHARS: Final = 400


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


class NoticeBar(QFrame):
    """The newest notice in a strip of its own: covers nothing, takes no focus, stops nothing.

    An error stays until it is read: what comes after it, unless an error too, is only counted.
    """

    list_wanted = Signal()

    def __init__(self, notices: Notices) -> None:
        super().__init__()
        self.setObjectName("notice")
        self.setAccessibleName(self.tr("Notice"))
        self._text = PlainLabel(wrap=True, selectable=True)
        self._details = PlainLabel(muted=True, wrap=True, selectable=True)
        self._text.setAccessibleName(self.tr("Newest notice"))
        self._details.setAccessibleName(self.tr("What to do"))
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.hide)
        self._every = QPushButton(self.tr("All notices"))
        self._every.setAccessibleName(self._every.text())
        self._unread = 0
        self._lay_out()
        notices.added.connect(self._show_notice)
        self.hide()

    def _lay_out(self) -> None:
        dismiss = QPushButton(self.tr("Dismiss"))
        dismiss.setAccessibleName(dismiss.text())
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(self._text)
        words.addWidget(self._details)
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE_M, SPACE_XS, SPACE_S, SPACE_XS)
        row.setSpacing(SPACE_S)
        row.addLayout(words, 1)
        for button, act in ((self._every, self._open_list), (dismiss, self.hide)):
            button.setProperty("flat", True)
            button.clicked.connect(act)
            row.addWidget(button, 0, Qt.AlignmentFlag.AlignVCenter)

    def _open_list(self) -> None:
        self.hide()
        self.list_wanted.emit()

    def _show_notice(self, notice: Notice | None) -> None:
        if notice is None:
            self.hide()
            return
        # Hidden counts as read, by whatever way it went.
        self._unread = 1 if self.isHidden() else self._unread + (notice.count == 1)
        self._every.setText(
            self.tr("All notices") if self._unread == 1 else self.tr("{n} new notices").format(n=self._unread)
        )
        holds_error = not self.isHidden() and self.property("severity") == Severity.ERROR.value
        if holds_error and notice.severity is not Severity.ERROR:
            return
        count = f" ({notice.count}×)" if notice.count > 1 else ""
        self._text.setText(notice.message[:MAX_SHOWN_CHARS] + count)
        self._details.setText(notice.details.split("\n")[0][:MAX_SHOWN_CHARS])
        self._details.setVisible(bool(notice.details))
        self.setProperty("severity", notice.severity.value)
        self.style().unpolish(self)
        self.style().polish(self)
        if notice.severity is Severity.ERROR:
            self._timer.stop()
        else:
            self._timer.start(INFO_SHOWN_MS if notice.severity is Severity.INFO else WARNING_SHOWN_MS)
        self.show()


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
        without_icons(buttons)
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
