"""Reading snapshots at a fixed rate, and only while somebody looks."""

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QWidget

# 25 times a second: smooth to the eye, a tenth of what a fast model sends.
LIVE_MS: Final = 40


class Poller(QObject):
    """Calls `read` every `interval_ms` while `view` is visible, and once when it becomes visible."""

    def __init__(self, view: QWidget, read: Callable[[], None], *, interval_ms: int = LIVE_MS) -> None:
        super().__init__(view)
        self._view = view
        self._read = read
        self._paused = False
        self._timer = QTimer(self)
        self._timer.setInterval(interval_ms)
        self._timer.timeout.connect(read)
        view.installEventFilter(self)
        if view.isVisible():
            self._timer.start()

    def pause(self, paused: bool) -> None:
        """Do not read for a while, visible or not."""
        self._paused = paused
        if paused:
            self._timer.stop()
        elif self._view.isVisible():
            self._timer.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Start and stop with the view."""
        if event.type() == QEvent.Type.Show:
            if not self._paused:
                self._timer.start()
            # After the show itself: the first paint does not wait for the reading.
            QTimer.singleShot(0, self, self._read_if_active)
        elif event.type() == QEvent.Type.Hide:
            self._timer.stop()
        return False

    def _read_if_active(self) -> None:
        if self._timer.isActive():
            self._read()
