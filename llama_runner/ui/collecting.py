"""Python's garbage collection, in the GUI thread only.

Automatic collection runs in whatever thread allocates next. A view in a reference cycle, dropped long ago,
would be destroyed by the telemetry or a worker thread, which Qt answers with a crash. So it is switched off
while the window lives, and a timer collects instead, a generation when it is due, as the interpreter would.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PySide6.QtCore import QObject, QTimer

# Often enough that little piles up, rarely enough to cost nothing.
LOOK_MS: Final = 500
# By then the modules of the first view are there. They stay for good: looking through them again and again
# would make each full collection several times as long.
SETTLED_MS: Final = 5000


class GuiCollector(QObject):
    """Collects what is due, by the interpreter's own thresholds."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thresholds = gc.get_threshold()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.collect_due)
        self._timer.start(LOOK_MS)
        QTimer.singleShot(SETTLED_MS, self, gc.freeze)

    def collect_due(self) -> None:
        """The oldest generation whose threshold is passed; younger ones come with it."""
        for generation in (2, 1, 0):
            if gc.get_count()[generation] > self._thresholds[generation]:
                gc.collect(generation)
                return


@contextmanager
def collecting_in_gui_thread() -> Iterator[None]:
    """Automatic collection off, the timer on; the other way round afterwards, nothing left to collect."""
    was_enabled = gc.isenabled()
    gc.disable()
    collector = GuiCollector()
    try:
        yield
    finally:
        collector.deleteLater()
        gc.unfreeze()
        gc.collect()
        if was_enabled:
            gc.enable()
