"""A dialog whose button does something that takes a while or fails: it stays open until that worked."""

from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QHBoxLayout, QVBoxLayout, QWidget
from shiboken6 import isValid

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.text import visible_controls
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.theme import SPACE_S
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.questions import without_icons

WIDTH: Final = 560
PROBLEM_LINES: Final = 3
PROBLEM_CHARS: Final = 1000


class WorkDialog(QDialog):
    """A problem, what is going on, and one button that does it. `done_with`: what came of it.

    Args:
        word: On the button.
        busy: What is said while it works.
    """

    done_with = Signal(str)

    def __init__(self, parent: QWidget, *, title: str, word: str, busy: str) -> None:
        super().__init__(parent)
        self._busy = busy
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self.setMinimumWidth(WIDTH)
        self._problem = PlainLabel(wrap=True, selectable=True)
        self._problem.setObjectName("errorText")
        self._problem.setAccessibleName(self.tr("Why it did not work"))
        self._problem.setAlignment(Qt.AlignmentFlag.AlignTop)
        # Room for it from the start: a dialog that grows moves the button from under the pointer.
        self._problem.setMinimumHeight(PROBLEM_LINES * self._problem.fontMetrics().lineSpacing())
        self._state = PlainLabel(muted=True)
        self._state.setAccessibleName(self.tr("What is going on"))
        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self._do = self._buttons.addButton(word, QDialogButtonBox.ButtonRole.AcceptRole)
        self._do.setProperty("primary", True)
        self._do.setAccessibleName(word)
        self._do.setDefault(True)
        self._buttons.accepted.connect(self._go)
        self._buttons.rejected.connect(self.reject)
        without_icons(self._buttons)

    def _column(self, *above: QWidget) -> None:
        """Lay it out: these, below them the problem, at the foot what is going on and the buttons."""
        column = QVBoxLayout(self)
        column.setSpacing(SPACE_S)
        for widget in (*above, self._problem):
            column.addWidget(widget)
        column.addStretch(1)
        foot = QHBoxLayout()
        foot.addWidget(self._state, 1)
        foot.addWidget(self._buttons)
        column.addLayout(foot)

    @async_slot_once
    async def _go(self) -> None:
        self._clear_problem()
        self._set_busy(True)
        try:
            done = await self._work()
        except LlamaRunnerError as error:
            self._show_problem(f"{error.message} {error.hint}".strip())
            return
        finally:
            # A dialog that was closed meanwhile takes this task along, and its widgets before it.
            if isValid(self):
                self._set_busy(False)
        if done is not None:
            self.done_with.emit(done)
            self.accept()

    async def _work(self) -> str | None:
        """Do it. Returns what came of it, None when the person went back. Raises LlamaRunnerError."""
        raise NotImplementedError

    def _set_busy(self, busy: bool) -> None:
        self._do.setEnabled(not busy)
        self._state.setText(self._busy if busy else "")

    def _show_problem(self, text: str) -> None:
        self._problem.setText(visible_controls(text, PROBLEM_CHARS))

    def _clear_problem(self) -> None:
        self._problem.clear()
