"""A note about something that changes under the cursor: kept by itself shortly after the last key."""

from typing import Final

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QFocusEvent
from PySide6.QtWidgets import QWidget

from llama_runner.ui.widgets.prompt_edit import PromptEdit

# Long enough not to write while somebody types, short enough that nothing is lost.
KEEP_AFTER_MS: Final = 600


class NoteEdit(PromptEdit):
    """A text that belongs to what `show_note` named last; `written` says whose note is now which text."""

    written = Signal(str, str)

    def __init__(
        self, *, name: str, placeholder: str, most_chars: int, parent: QWidget | None = None
    ) -> None:
        self._owner = ""
        self._kept = ""
        self._most_chars = most_chars
        super().__init__(name=name, placeholder=placeholder, lines=(2, 6), sends=False, parent=parent)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(KEEP_AFTER_MS)
        self._timer.timeout.connect(self.keep)
        self.submitted.connect(self.keep)
        self.textChanged.connect(self._timer.start)

    def show_note(self, owner: str, text: str) -> None:
        """Show the note of something. What is being written for another one is kept first."""
        if owner != self._owner:
            self.keep()
        elif text == self._kept or self.toPlainText() != self._kept:
            # Ours comes back, or something is being written: that is newer.
            return
        self._owner, self._kept = owner, text
        self.blockSignals(True)
        self.setPlainText(text)
        self.blockSignals(False)
        self._timer.stop()
        self.setEnabled(bool(owner))

    def keep(self) -> None:
        """Tell of what was written, if anything was."""
        self._timer.stop()
        text = self.toPlainText().rstrip()[: self._most_chars]
        if self._owner and text != self._kept:
            self._kept = text
            self.written.emit(self._owner, text)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Whoever goes on to something else has finished."""
        super().focusOutEvent(event)
        self.keep()
