"""Titles and values below each other, to be read and copied."""

from collections.abc import Sequence
from typing import Final, Protocol

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from llama_runner.ui.theme import SPACE_M, SPACE_XS, tooltip
from llama_runner.ui.widgets.label import NameLabel, PlainLabel

# A label breaks lines at spaces only: a value with a longer word than this is cut in its middle instead.
LONGEST_WORD: Final = 26
TITLE_CHARS: Final = 19


class TitledText(Protocol):
    """One line: what it is, what it says, and what is said on hover."""

    @property
    def title(self) -> str:
        """What it is."""
        ...

    @property
    def text(self) -> str:
        """What it says."""
        ...

    @property
    def hint(self) -> str:
        """Says more; empty for nothing."""
        ...


class _Line:
    """The widgets of one line: of the two values one is shown."""

    def __init__(self, parent: QWidget) -> None:
        self.title = PlainLabel(parent=parent, muted=True)
        self.sentence = PlainLabel(parent=parent, wrap=True)
        # By mouse only: with the keyboard a dozen stops between two buttons would be in the way.
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.name = NameLabel(parent=parent)
        self.fact: TitledText | None = None

    def show_fact(self, fact: TitledText | None) -> None:
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

    def show_facts(self, facts: Sequence[TitledText]) -> None:
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
