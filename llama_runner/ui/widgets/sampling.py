"""The form of sampling options: what is left empty is left to the server."""

from typing import Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QBoxLayout, QWidget

from llama_runner.backends.request import SamplingOptions
from llama_runner.ui.theme import SPACE_L, SPACE_S
from llama_runner.ui.widgets.number_field import NumberField, NumberRule

# Sampling seeds are 32 bits wide in llama.cpp.
MAX_SEED: Final = 2**32 - 1


class SamplingForm(QWidget):
    """Temperature, top-p, longest answer, seed.

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
        empty = self.tr("default")
        left_to_server = self.tr("Empty leaves it to the server.")
        self._temperature = NumberField(
            self.tr("Temperature"),
            NumberRule(0, 5, whole=False, optional=True),
            hint=self.tr("How freely the model chooses; 0 is the least.") + " " + left_to_server,
            empty=empty,
        )
        self._top_p = NumberField(
            self.tr("Top-p"),
            NumberRule(0, 1, whole=False, optional=True),
            hint=self.tr("Chooses among the likeliest tokens that together have this probability.")
            + " "
            + left_to_server,
            empty=empty,
        )
        self._max_tokens = NumberField(
            self.tr("Longest answer (tokens)"),
            NumberRule(1, 1_000_000, optional=True),
            hint=self.tr("The answer ends there at the latest.") + " " + left_to_server,
            empty=empty,
        )
        self._seed = NumberField(
            self.tr("Seed"),
            NumberRule(0, MAX_SEED, optional=True),
            hint=self.tr("The same seed makes the same choices.") + " " + left_to_server,
            empty=empty,
        )
        self._lay_out(wide)
        self._temperature.set_value(temperature)
        self._max_tokens.set_value(max_tokens)
        for field in self._fields:
            field.edited.connect(self.edited)

    @property
    def _fields(self) -> tuple[NumberField, ...]:
        return self._temperature, self._top_p, self._max_tokens, self._seed

    def _lay_out(self, wide: bool) -> None:
        outer = QBoxLayout(
            QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom, self
        )
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(SPACE_L if wide else SPACE_S)
        for pair in (self._fields[:2], self._fields[2:]):
            column = QBoxLayout(QBoxLayout.Direction.TopToBottom)
            column.setSpacing(SPACE_S)
            for field in pair:
                column.addWidget(field)
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
            max_tokens=self._max_tokens.whole,
            seed=self._seed.whole,
        )
