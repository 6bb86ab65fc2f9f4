"""A long action: its progress, how long it still takes, and a way to stop it."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from llama_runner.core import format
from llama_runner.ui.theme import SPACE_S, SPACE_XS
from llama_runner.ui.widgets.label import PlainLabel

_STEPS = 1000


class BusyBar(QWidget):
    """Hidden until `begin`; `stopped` is the person's wish, not the end of the action.

    Args:
        narrow: The words stand above the bar and go on in the next line, for side panels.
    """

    stopped = Signal()

    def __init__(self, *, name: str, narrow: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._stopping = False
        self._text = PlainLabel(muted=True, wrap=narrow)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName(name)
        self._stop = QPushButton(self.tr("Stop"))
        self._stop.setAccessibleName(self.tr("Stop: {action}").format(action=name))
        self._stop.clicked.connect(self._ask_to_stop)
        self.setFocusProxy(self._stop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_XS)
        row = QHBoxLayout()
        row.setSpacing(SPACE_S)
        row.addWidget(self._bar, 1)
        (column if narrow else row).addWidget(self._text)
        row.addWidget(self._stop)
        column.addLayout(row)
        self.hide()

    def begin(self, text: str) -> None:
        """Something started; how far it gets is not known yet."""
        self._text.setText(text)
        self._bar.setRange(0, 0)
        self._stopping = False
        self.show()

    def progress(self, share: float | None, text: str = "", *, remaining_s: float | None = None) -> None:
        """How far it is: 0 to 1, None when unknown."""
        if share is None:
            self._bar.setRange(0, 0)
        else:
            self._bar.setRange(0, _STEPS)
            self._bar.setValue(round(min(max(share, 0.0), 1.0) * _STEPS))
        if remaining_s is not None:
            left = self.tr("{time} left").format(time=format.seconds(remaining_s))
            text = f"{text} · {left}" if text else left
        if text and not self._stopping:
            self._text.setText(text)

    def end(self) -> None:
        """It is over, one way or another."""
        self.hide()

    def _ask_to_stop(self) -> None:
        # Not disabled: that would send the keyboard's focus elsewhere.
        if self._stopping:
            return
        self._stopping = True
        self._text.setText(self.tr("Stopping…"))
        self.stopped.emit()
