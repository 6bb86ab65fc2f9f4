"""Where a person writes to a model: plain text only, Enter sends, as tall as what is written."""

from typing import Final

from PySide6.QtCore import QMimeData, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from llama_runner.core import format
from llama_runner.ui.async_slots import start_task
from llama_runner.ui.theme import SPACE_L
from llama_runner.ui.widgets.questions import confirm

# Longer than what anybody types: more comes from a slip of the clipboard as often as on purpose (U13).
ASK_ABOVE_CHARS: Final = 100_000
# The longest prompt a load test takes, and more than most contexts hold.
MAX_PASTE_CHARS: Final = 1_000_000

_ENTER: Final = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


class PromptEdit(QPlainTextEdit):
    """A text box that takes nothing but text.

    Args:
        lines: Fewest and most lines it is high.
        sends: Whether Enter sends and Shift+Enter begins a line; otherwise only Ctrl+Enter sends.
    """

    submitted = Signal()

    def __init__(
        self,
        *,
        name: str,
        placeholder: str = "",
        lines: tuple[int, int] = (2, 7),
        sends: bool = True,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._lines = lines
        self._sends = sends
        self.setAccessibleName(name)
        self.setPlaceholderText(placeholder)
        self.setTabChangesFocus(True)
        self.document().documentLayout().documentSizeChanged.connect(lambda _: self._fit())
        self._fit()

    @property
    def text(self) -> str:
        """What is written."""
        return self.toPlainText()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter sends."""
        if event.key() in _ENTER and self._means_send(event.modifiers()):
            self.submitted.emit()
            event.accept()
            return
        super().keyPressEvent(event)

    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        """Text only: no pictures, no files."""
        return source.hasText()

    def insertFromMimeData(self, source: QMimeData) -> None:
        """Paste and drop as plain text; ask before very much of it."""
        text = source.text().replace("\0", "")
        if len(text) <= ASK_ABOVE_CHARS:
            self.insertPlainText(text)
        else:
            start_task(self, self._insert_long(text), name="paste")

    async def _insert_long(self, text: str) -> None:
        taken = text[:MAX_PASTE_CHARS]
        question = self.tr("Insert {count} characters into {field}?").format(
            count=format.count(len(taken)), field=self.accessibleName()
        )
        cut = self.tr("The rest of {count} is left out.").format(count=format.count(len(text)))
        if await confirm(
            self,
            title=self.tr("Insert a long text"),
            text=question,
            action=self.tr("Insert"),
            details=cut if len(text) > len(taken) else "",
        ):
            self.insertPlainText(taken)

    def _means_send(self, modifiers: Qt.KeyboardModifier) -> bool:
        if modifiers & Qt.KeyboardModifier.ControlModifier:
            return True
        return self._sends and not modifiers & Qt.KeyboardModifier.ShiftModifier

    def _fit(self) -> None:
        # A plain text document's height is its number of lines.
        lines = min(max(round(self.document().size().height()), self._lines[0]), self._lines[1])
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + SPACE_L + 2 * self.frameWidth())
