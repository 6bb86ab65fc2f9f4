"""The log view: the last records of this process, by level and text, to read and to copy."""

import logging
from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from llama_runner.core.logs import LogHandle, LogLine
from llama_runner.ui.theme import SPACE_M, SPACE_S, mono_font
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.polling import Poller
from llama_runner.ui.widgets.questions import without_icons

LOOK_MS: Final = 500
# As many as the tail keeps.
MAX_LINES: Final = 2000
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


class LogDialog(QDialog):
    """Follows the log while it is open."""

    def __init__(self, logs: LogHandle | None, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Log"))
        self.resize(1000, 600)
        self._logs = logs
        self._seen = 0
        self._level = QComboBox()
        self._level.addItems(LEVELS)
        self._level.setCurrentText("INFO")
        self._level.setAccessibleName(self.tr("Least level shown"))
        self._filter = QLineEdit()
        self._filter.setPlaceholderText(self.tr("Only lines with…"))
        self._filter.setAccessibleName(self.tr("Filter by text"))
        self._filter.setClearButtonEnabled(True)
        self._text = QPlainTextEdit()
        self._text.setReadOnly(True)
        self._text.setFont(mono_font(0.95))
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setMaximumBlockCount(MAX_LINES)
        self._text.setAccessibleName(self.tr("Log lines"))
        self._text.setTabChangesFocus(True)
        self._lay_out()
        self._level.currentTextChanged.connect(self._start_over)
        self._filter.textChanged.connect(self._start_over)
        self._poller = Poller(self, self._read, interval_ms=LOOK_MS)

    def _lay_out(self) -> None:
        file = PlainLabel(str(self._logs.file) if self._logs is not None else "", muted=True, selectable=True)
        file.setAccessibleName(self.tr("Log file"))
        level_label = PlainLabel(self.tr("Level"))
        level_label.setBuddy(self._level)
        top = QHBoxLayout()
        top.setSpacing(SPACE_S)
        top.addWidget(level_label)
        top.addWidget(self._level)
        top.addWidget(self._filter, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton(self.tr("Copy all"), QDialogButtonBox.ButtonRole.ActionRole)
        copy.clicked.connect(self._copy)
        buttons.rejected.connect(self.close)
        without_icons(buttons)
        bottom = QHBoxLayout()
        bottom.addWidget(file, 1)
        bottom.addWidget(buttons)
        column = QVBoxLayout(self)
        column.setSpacing(SPACE_M)
        column.addLayout(top)
        column.addWidget(self._text, 1)
        column.addLayout(bottom)

    def _start_over(self) -> None:
        self._seen = 0
        self._text.clear()
        self._read()

    def _read(self) -> None:
        if self._logs is None:
            return
        lines = self._logs.tail.records(after=self._seen)
        if not lines:
            return
        self._seen = lines[-1].seq
        wanted = [self._as_text(line) for line in lines if self._wants(line)]
        if wanted:
            self._text.appendPlainText("\n".join(wanted))

    def _wants(self, line: LogLine) -> bool:
        levels = logging.getLevelNamesMapping()
        if levels.get(line.level, 0) < levels[self._level.currentText()]:
            return False
        needle = self._filter.text().casefold()
        return not needle or needle in f"{line.logger} {line.text}".casefold()

    @staticmethod
    def _as_text(line: LogLine) -> str:
        return f"{line.time:%H:%M:%S.%f}"[:-3] + f"  {line.level:<7}  {line.logger}  {line.text}"

    def _copy(self) -> None:
        self._text.selectAll()
        self._text.copy()
