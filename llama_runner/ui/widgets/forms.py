"""Fields below each other, each with its label beside it."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QListWidget, QWidget

from llama_runner.ui.theme import SPACE_M, SPACE_S
from llama_runner.ui.widgets.label import PlainLabel


def labelled(rows: Sequence[tuple[str, QWidget]]) -> QGridLayout:
    """A grid of labels and fields; an empty label leaves its place free."""
    grid = QGridLayout()
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(SPACE_M)
    grid.setVerticalSpacing(SPACE_S)
    grid.setColumnStretch(1, 1)
    for number, (title, field) in enumerate(rows):
        label = PlainLabel(title)
        label.setBuddy(field)
        tall = isinstance(field, QListWidget)
        grid.addWidget(label, number, 0, Qt.AlignmentFlag.AlignTop if tall else Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(field, number, 1)
    return grid
