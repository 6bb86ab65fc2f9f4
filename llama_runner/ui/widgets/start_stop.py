"""One place for one long action: the button that starts it, and while it runs the one that stops it."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QSizePolicy, QStackedWidget, QWidget

from llama_runner.ui.theme import Theme, tooltip


class StartStop(QStackedWidget):
    """Start in front, or Stop. The keyboard's focus follows."""

    started = Signal()
    stopped = Signal()

    def __init__(
        self,
        theme: Theme,
        *,
        start: str,
        stop: str,
        start_icon: str,
        names: tuple[str, str],
        hints: tuple[str, str] = ("", ""),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.start_button = QPushButton(start)
        self.start_button.setProperty("primary", True)
        self.stop_button = QPushButton(stop)
        self._hint = hints[0]
        theme.give_icon(self.start_button, start_icon)
        theme.give_icon(self.stop_button, "mdi6.stop")
        for button, name, word, hint in zip(
            (self.start_button, self.stop_button), names, (start, stop), hints, strict=True
        ):
            button.setObjectName(name)
            button.setAccessibleName(word)
            button.setToolTip(tooltip(hint))
            self.addWidget(button)
        self.start_button.clicked.connect(lambda: self.started.emit())
        self.stop_button.clicked.connect(self._ask_to_stop)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Maximum)

    @property
    def running(self) -> bool:
        """Whether Stop is in front."""
        return self.currentWidget() is self.stop_button

    def set_running(self, running: bool) -> None:
        """Bring the right button to the front."""
        if running == self.running:
            return
        pair = (self.start_button, self.stop_button)
        old, new = pair if running else pair[::-1]
        had_focus = old.hasFocus()
        self.stop_button.setEnabled(True)
        self.setCurrentWidget(new)
        if had_focus:
            new.setFocus()

    def set_ready(self, ready: bool, why_not: str = "") -> None:
        """Whether it can be started; `why_not` is told on hover."""
        self.start_button.setEnabled(ready)
        self.start_button.setToolTip(tooltip(self._hint if ready else why_not or self._hint))

    def _ask_to_stop(self) -> None:
        # Enabled again when something runs the next time: one wish is enough.
        self.stop_button.setEnabled(False)
        self.stopped.emit()
