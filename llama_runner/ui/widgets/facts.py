"""Titles and values below each other, to be read and copied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from llama_runner.ui.theme import SPACE_M, SPACE_S, SPACE_XS, tooltip
from llama_runner.ui.widgets.label import NameLabel, PlainLabel

# A label breaks lines at spaces only: a value with a longer word than this is cut in its middle instead.
LONGEST_WORD: Final = 26
TITLE_CHARS: Final = 19


@dataclass(frozen=True, slots=True)
class Fact:
    """One line: what it is, and what it says.

    Attributes:
        hint: Says more, or why it is unknown.
    """

    title: str
    text: str
    hint: str = ""


class _Line:
    """The widgets of one line: of the two values one is shown."""

    def __init__(self, parent: QWidget) -> None:
        self.title = PlainLabel(parent=parent, muted=True)
        self.sentence = PlainLabel(parent=parent, wrap=True)
        # By mouse only: with the keyboard a dozen stops between two buttons would be in the way.
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.name = NameLabel(parent=parent)
        self.fact: Fact | None = None

    def show_fact(self, fact: Fact | None) -> None:
        """Show it, or nothing."""
        # A text that somebody is marking right now stays untouched as long as it says the same.
        if fact == self.fact:
            return
        self.fact = fact
        long = fact is not None and max(map(len, fact.text.split()), default=0) > LONGEST_WORD
        self.title.setVisible(fact is not None)
        self.sentence.setVisible(fact is not None and not long)
        self.name.setVisible(long)
        if fact is None:
            return
        self.title.setText(fact.title)
        self.sentence.setText("" if long else fact.text)
        self.name.set_name(fact.text if long else "")
        for label in (self.title, self.sentence):
            label.setToolTip(tooltip(fact.hint))
        if long:
            self.name.setToolTip(tooltip(f"{fact.text}\n{fact.hint}".strip()))
        for label in (self.sentence, self.name):
            label.setAccessibleName(f"{fact.title}: {fact.text}")


class FactList(QWidget):
    """Shows lines; the widgets are kept and only their words change."""

    def __init__(self, *, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(name)
        self._lines: list[_Line] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(SPACE_M)
        self._grid.setVerticalSpacing(SPACE_XS)
        self._grid.setColumnStretch(1, 1)
        # Lists below each other stand in line.
        self._grid.setColumnMinimumWidth(0, self.fontMetrics().averageCharWidth() * TITLE_CHARS)

    def show_facts(self, facts: Sequence[Fact]) -> None:
        """Show these."""
        while len(self._lines) < len(facts):
            self._add_line()
        for number, line in enumerate(self._lines):
            line.show_fact(facts[number] if number < len(facts) else None)

    def as_text(self) -> str:
        """All lines that are shown, tab-separated."""
        facts = (line.fact for line in self._lines if line.fact is not None)
        return "\n".join(f"{fact.title}\t{fact.text}" for fact in facts)

    def _add_line(self) -> None:
        line, row = _Line(self), len(self._lines)
        self._grid.addWidget(line.title, row, 0, Qt.AlignmentFlag.AlignTop)
        self._grid.addWidget(line.sentence, row, 1)
        self._grid.addWidget(line.name, row, 1)
        self._lines.append(line)


def details_area(name: str, *widgets: QWidget) -> QScrollArea:
    """Widgets below each other that are scrolled where they are more than fits.

    Args:
        name: For screen readers.
    """
    page = QWidget()
    column = QVBoxLayout(page)
    column.setContentsMargins(0, SPACE_S, SPACE_S, 0)
    column.setSpacing(SPACE_S)
    for widget in widgets:
        column.addWidget(widget)
    column.addStretch(1)
    area = QScrollArea()
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setAccessibleName(name)
    area.setWidget(page)
    return area
