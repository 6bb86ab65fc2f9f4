"""What was just done and can be taken back: a strip with one button, for a while."""

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton

from llama_runner.ui.theme import SPACE_M, SPACE_S, SPACE_XS
from llama_runner.ui.widgets.label import NameLabel

# Long enough to notice a slip and reach for it, also by keyboard.
SHOWN_MS: Final = 20_000


class UndoStrip(QFrame):
    """Offers to take back the newest action; an older one stays done.

    Attributes:
        button: For the order in which the keyboard goes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._undo: Callable[[], object] | None = None
        self._text = NameLabel()
        self._text.setAccessibleName(self.tr("What was done"))
        self.button = QPushButton(self.tr("Undo"))
        self.button.setAccessibleName(self.tr("Undo"))
        self.button.setObjectName("undo")
        self.button.clicked.connect(self.take_back)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.forget)
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE_M, SPACE_XS, SPACE_S, SPACE_XS)
        row.setSpacing(SPACE_S)
        row.addWidget(self._text, 1)
        row.addWidget(self.button)
        self.hide()

    def offer(self, text: str, undo: Callable[[], object]) -> None:
        """Say what was done, and how it is taken back."""
        self._undo = undo
        self._text.set_name(text)
        self._timer.start(SHOWN_MS)
        self.show()

    def take_back(self) -> None:
        """Undo it, if there is something to undo."""
        undo, self._undo = self._undo, None
        self.forget()
        if undo is not None:
            undo()

    def forget(self) -> None:
        """Nothing can be taken back any more."""
        self._undo = None
        self._timer.stop()
        self.hide()
