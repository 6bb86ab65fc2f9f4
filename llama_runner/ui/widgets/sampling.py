"""The form of sampling options: what is left empty is left to the server."""

from typing import Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QBoxLayout, QComboBox, QHBoxLayout, QWidget

from llama_runner.backends.request import Effort, SamplingOptions
from llama_runner.ui.theme import SPACE_L, SPACE_S, tooltip
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.number_field import NumberField, NumberRule

# Sampling seeds are 32 bits wide in llama.cpp.
MAX_SEED: Final = 2**32 - 1
# More tokens than any vocabulary of today has.
MAX_TOP_K: Final = 1_000_000


class ThinkingChoice(QWidget):
    """Whether, and for how long, a model may reason before it answers.

    Args:
        width: Of its box, to stand in line with others.
    """

    edited = Signal()

    def __init__(self, width: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        hint = self.tr(
            "Whether the model may reason before it answers, and how long. Models and servers that cannot be "
            "told do as they always do."
        )
        self._box = QComboBox()
        self._box.setAccessibleName(self.tr("Thinking"))
        self._box.setAccessibleDescription(hint)
        self._box.setToolTip(tooltip(hint))
        choices: tuple[tuple[str, bool | None, Effort | None], ...] = (
            (self.tr("default"), None, None),
            (self.tr("off"), False, None),
            (self.tr("on"), True, None),
            (self.tr("short"), True, Effort.LOW),
            (self.tr("medium"), True, Effort.MEDIUM),
            (self.tr("long"), True, Effort.HIGH),
        )
        for word, thinking, effort in choices:
            self._box.addItem(word, (thinking, effort))
        self._box.setFixedWidth(max(width, self._box.sizeHint().width()))
        label = PlainLabel(self.tr("Thinking"))
        label.setToolTip(tooltip(hint))
        label.setBuddy(self._box)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(SPACE_S)
        row.addWidget(label, 1)
        row.addWidget(self._box)
        self._box.currentIndexChanged.connect(lambda _: self.edited.emit())

    @property
    def thinking(self) -> bool | None:
        """On, off, or left to the server."""
        thinking: bool | None = self._box.currentData()[0]
        return thinking

    @property
    def effort(self) -> Effort | None:
        """How long, where that was chosen."""
        effort = self._box.currentData()[1]
        return None if effort is None else Effort(effort)


class SamplingForm(QWidget):
    """Temperature, top-p, top-k, min-p, longest answer, seed, thinking.

    Args:
        wide: Side by side in two columns, otherwise one below the other.
    """

    edited = Signal()

    def __init__(
        self,
        *,
        temperature: float | None,
        max_tokens: int | None,
        wide: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._temperature = self._field(
            self.tr("Temperature"),
            NumberRule(0, 5, whole=False, optional=True),
            self.tr("How freely the model chooses; 0 is the least."),
        )
        self._top_p = self._field(
            self.tr("Top-p"),
            NumberRule(0, 1, whole=False, optional=True),
            self.tr("Chooses among the likeliest tokens that together have this probability."),
        )
        self._top_k = self._field(
            self.tr("Top-k"),
            NumberRule(0, MAX_TOP_K, optional=True),
            self.tr("Chooses among so many of the likeliest tokens; 0 is all."),
        )
        self._min_p = self._field(
            self.tr("Min-p"),
            NumberRule(0, 1, whole=False, optional=True),
            self.tr("Leaves out tokens that are less likely than this share of the likeliest."),
        )
        self._max_tokens = self._field(
            self.tr("Longest answer (tokens)"),
            NumberRule(1, 1_000_000, optional=True),
            self.tr("The answer ends there at the latest."),
        )
        self._seed = self._field(
            self.tr("Seed"),
            NumberRule(0, MAX_SEED, optional=True),
            self.tr("The same seed makes the same choices."),
        )
        self._thinking = ThinkingChoice(self._seed.box.minimumWidth())
        self._lay_out(wide)
        self._temperature.set_value(temperature)
        self._max_tokens.set_value(max_tokens)
        for field in self._fields:
            field.edited.connect(self.edited)
        self._thinking.edited.connect(self.edited)

    def _field(self, title: str, rule: NumberRule, hint: str) -> NumberField:
        hint = hint + " " + self.tr("Empty leaves it to the server.")
        return NumberField(title, rule, hint=hint, empty=self.tr("default"))

    @property
    def _fields(self) -> tuple[NumberField, ...]:
        return self._temperature, self._top_p, self._top_k, self._min_p, self._max_tokens, self._seed

    def _lay_out(self, wide: bool) -> None:
        outer = QBoxLayout(
            QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom, self
        )
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(SPACE_L if wide else SPACE_S)
        for group in (self._fields[:2], self._fields[2:4], (*self._fields[4:], self._thinking)):
            column = QBoxLayout(QBoxLayout.Direction.TopToBottom)
            column.setSpacing(SPACE_S)
            for widget in group:
                column.addWidget(widget)
            column.addStretch(1)
            outer.addLayout(column)

    @property
    def valid(self) -> bool:
        """Whether everything typed may be sent."""
        return all(field.valid for field in self._fields)

    @property
    def options(self) -> SamplingOptions:
        """What is asked for."""
        return SamplingOptions(
            temperature=self._temperature.value,
            top_p=self._top_p.value,
            top_k=self._top_k.whole,
            min_p=self._min_p.value,
            max_tokens=self._max_tokens.whole,
            seed=self._seed.whole,
            thinking=self._thinking.thinking,
            effort=self._thinking.effort,
        )
