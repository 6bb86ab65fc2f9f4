"""The answers side by side: one column per entry, at most three in a row."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QProgressBar,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from llama_runner.arena.manager import EntryView
from llama_runner.backends.live import AnswerState
from llama_runner.ui.theme import SPACE_S, SPACE_XS, Theme
from llama_runner.ui.widgets.answers import AnswerPainter, note_of, prefill_of, stage_of
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.transcript import TranscriptView

COLUMNS_PER_ROW: Final = 3
MIN_WIDTH: Final = 190
MIN_HEIGHT: Final = 190
SCALE: Final = 0.9
_STEPS: Final = 1000
_ANSWER: Final = "answer"


def letter_of(index: int) -> str:
    """The entry's letter: what tells entries apart besides their colour."""
    return ascii_uppercase[index]


class EntryColumn(QFrame):
    """One entry: its name in its colour, its answer while it grows, its figures or what went wrong."""

    def __init__(self, theme: Theme, index: int, name: str) -> None:
        super().__init__()
        self.setObjectName("card")
        self._theme = theme
        self._index = index
        self._revision = -1
        letter = letter_of(index)
        self._letter = PlainLabel(letter, bold=True, scale=1.1)
        self._name = NameLabel(name)
        self._name.setAccessibleName(self.tr("Entry {letter}").format(letter=letter))
        self._stage = PlainLabel(muted=True, scale=SCALE)
        self._stage.setAccessibleName(self.tr("State of entry {letter}").format(letter=letter))
        self._progress = QProgressBar()
        self._progress.setRange(0, _STEPS)
        self._progress.setTextVisible(False)
        self._progress.setAccessibleName(self.tr("Prompt read by entry {letter}").format(letter=letter))
        self._progress.hide()
        self._transcript = TranscriptView(theme)
        self._transcript.setObjectName(f"arena-answer-{letter.lower()}")
        # The card has a border already; the one of the focus stays.
        self._transcript.setStyleSheet("QTextBrowser:!focus { border: 1px solid transparent; }")
        self._transcript.setAccessibleName(self.tr("Answer of entry {letter}").format(letter=letter))
        self._transcript.add(_ANSWER, self.tr("Answer"), series=index)
        self._painter = AnswerPainter(self._transcript, notes=False)
        self._figures = PlainLabel(wrap=True, mono=True, scale=SCALE, muted=True, selectable=True)
        self._figures.setObjectName(f"arena-figures-{letter.lower()}")
        self._figures.setAccessibleName(self.tr("Figures of entry {letter}").format(letter=letter))
        self._lay_out()
        theme.changed.connect(self._paint_name)
        self._paint_name()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(SPACE_S)
        head.addWidget(self._letter)
        head.addWidget(self._name, 1)
        head.addWidget(self._stage)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_S, SPACE_XS, SPACE_S, SPACE_XS)
        column.setSpacing(SPACE_XS)
        column.addLayout(head)
        column.addWidget(self._progress)
        column.addWidget(self._transcript, 1)
        column.addWidget(self._figures)
        self.setMinimumSize(MIN_WIDTH, MIN_HEIGHT)

    @property
    def rendering(self) -> bool:
        """Whether its answer still waits for its final form."""
        return self._painter.rendering

    def show_entry(self, entry: EntryView) -> None:
        """Bring it up to date."""
        if entry.revision == self._revision:
            return
        self._revision = entry.revision
        self._painter.show(_ANSWER, entry, name=_ANSWER)
        read = prefill_of(entry)
        self._progress.setVisible(read is not None)
        self._progress.setValue(round((read or 0.0) * _STEPS))
        self._stage.setText(stage_of(entry) or self._end_word(entry.state))
        streaming = entry.state is AnswerState.STREAMING
        self._figures.setText("" if streaming else note_of(entry))
        self._figures.setVisible(not streaming)
        self._figures.set_status("bad" if entry.error is not None else "")

    def _end_word(self, state: AnswerState) -> str:
        return {
            AnswerState.DONE: self.tr("Done"),
            AnswerState.STOPPED: self.tr("Stopped"),
            AnswerState.ERROR: self.tr("Failed"),
            AnswerState.TRUNCATED: self.tr("Incomplete"),
        }.get(state, "")

    def _paint_name(self) -> None:
        colour = QColor(self._theme.series_colour(self._index))
        for label in (self._letter, self._name):
            palette = QPalette(label.palette())
            palette.setColor(QPalette.ColorRole.WindowText, colour)
            label.setPalette(palette)


class EntryColumns(QScrollArea):
    """All columns of one comparison."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._columns: list[EntryColumn] = []
        self.setObjectName("arena-columns")
        self.setAccessibleName(self.tr("Answers"))
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    @property
    def rendering(self) -> bool:
        """Whether an ended answer still waits for its final form."""
        return any(column.rendering for column in self._columns)

    def begin(self, names: Sequence[str]) -> None:
        """Columns for a new comparison."""
        self._columns = [EntryColumn(self._theme, index, name) for index, name in enumerate(names)]
        page = QWidget()
        grid = QGridLayout(page)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(SPACE_S)
        per_row = _per_row(len(self._columns))
        for number, column in enumerate(self._columns):
            grid.addWidget(column, number // per_row, number % per_row)
        for number in range(per_row):
            grid.setColumnStretch(number, 1)
        # Takes the page of the last comparison away, with the tasks that still render for it.
        self.setWidget(page)

    def show_entries(self, entries: Sequence[EntryView]) -> None:
        """Bring every column up to date."""
        for column, entry in zip(self._columns, entries, strict=True):
            column.show_entry(entry)


def _per_row(count: int) -> int:
    """At most three, and four as two by two rather than three and one."""
    rows = -(-count // COLUMNS_PER_ROW)
    return -(-count // rows)
