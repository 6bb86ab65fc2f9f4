"""What the engine of the chosen model writes: followed, filtered, copied."""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut, QTextCursor
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.text import visible_controls
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.tabs import Shell
from llama_runner.ui.theme import SPACE_S, SPACE_XS, mono_font, tooltip

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

# What a person scrolls through; the file in the folder of logs has more.
MOST_LINES: Final = 2000
LINE_CHARS: Final = 2000


def matching(lines: Sequence[str], words: str) -> list[str]:
    """The lines that hold every word, whatever its case."""
    wanted = words.casefold().split()
    return [line for line in lines if all(word in line.casefold() for word in wanted)]


class LogView(QWidget):
    """The output of one instance; asks for what is new each time it is told to."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._instance: str | None = None
        self._next = 0
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._build()
        self._lay_out()
        self._words.textChanged.connect(self._show_all)
        self._follow.toggled.connect(self._to_end)
        self._copy.clicked.connect(self.copy_lines)
        find = QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self, self._words.setFocus)
        find.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)

    def _build(self) -> None:
        self._words = QLineEdit()
        self._words.setPlaceholderText(self.tr("Only lines with…"))
        self._words.setAccessibleName(self.tr("Filter the output"))
        self._words.setClearButtonEnabled(True)
        self._follow = QCheckBox(self.tr("Follow"))
        self._follow.setChecked(True)
        self._follow.setToolTip(tooltip(self.tr("Keep the newest line in sight.")))
        self._follow.setAccessibleName(self.tr("Follow the output"))
        self._copy = QPushButton(self.tr("Copy"))
        self._copy.setToolTip(tooltip(self.tr("Put the lines that are shown on the clipboard.")))
        self._copy.setAccessibleName(self.tr("Copy the output"))
        self._text = QPlainTextEdit()
        self._text.setReadOnly(True)
        self._text.setFont(mono_font(0.9))
        self._text.setMaximumBlockCount(MOST_LINES)
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setTabChangesFocus(True)
        self._text.setAccessibleName(self.tr("Output of the engine"))
        self._text.setPlaceholderText(
            self.tr("What the engine writes while it runs this model appears here.")
        )

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(SPACE_S)
        row.addWidget(self._words, 1)
        row.addWidget(self._follow)
        row.addWidget(self._copy)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, SPACE_S, 0, 0)
        column.setSpacing(SPACE_XS)
        column.addLayout(row)
        column.addWidget(self._text, 1)

    def show_instance(self, instance_id: str | None) -> None:
        """Another one, or news of the same; None while nothing runs.

        What an engine wrote that has gone stays to be read until another one is shown.
        """
        if instance_id is not None and instance_id != self._instance:
            self.forget()
            self._instance = instance_id
        if instance_id is not None:
            self._read(instance_id)

    def forget(self) -> None:
        """Another model was chosen."""
        self._instance, self._next = None, 0
        self._lines.clear()
        self._text.clear()

    @async_slot_once
    async def _read(self, instance_id: str) -> None:
        try:
            chunk = await self._workspace.service.log(instance_id, after=self._next)
        except LlamaRunnerError:
            # It went away between the look and the question; the next look knows.
            return
        if instance_id == self._instance and chunk.lines:
            self._next = chunk.next
            new = [visible_controls(line, LINE_CHARS) for line in chunk.lines]
            self._lines.extend(new)
            self._append(matching(new, self._words.text()))

    def _append(self, lines: Sequence[str]) -> None:
        if lines:
            # Long lines would be scrolled to their ends.
            across = self._text.horizontalScrollBar()
            place = across.value()
            self._text.appendPlainText("\n".join(lines))
            self._to_end()
            across.setValue(place)

    def _show_all(self) -> None:
        self._text.setPlainText("\n".join(matching(self._lines, self._words.text())))
        self._to_end()

    def _to_end(self) -> None:
        if not self._follow.isChecked():
            return
        # The caret goes along, to a beginning: when the text is first shown, it is scrolled to the caret.
        caret = self._text.textCursor()
        if not caret.hasSelection():
            caret.movePosition(QTextCursor.MoveOperation.End)
            caret.movePosition(QTextCursor.MoveOperation.StartOfBlock)
            self._text.setTextCursor(caret)
        bar = self._text.verticalScrollBar()
        bar.setValue(bar.maximum())

    def copy_lines(self) -> None:
        """Put what is shown on the clipboard."""
        text = self._text.toPlainText()
        QGuiApplication.clipboard().setText(text)
        self._shell.say(
            self.tr("{n} lines copied").format(n=format.count(text.count("\n") + 1 if text else 0))
        )
