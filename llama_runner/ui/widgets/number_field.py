"""A number to type: checked as it is typed, with the message beside it (U17)."""

import re
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtWidgets import QGridLayout, QLineEdit, QWidget

from llama_runner.core import format
from llama_runner.ui.theme import SPACE_S, SPACE_XS, mono_font, tooltip
from llama_runner.ui.widgets.label import PlainLabel

# No number of ours is longer; what is longer was pasted by mistake.
MAX_CHARS: Final = 24
FIELD_CHARS: Final = 10

_WHOLE: Final = re.compile(r"\d+")
_DECIMAL: Final = re.compile(r"\d+([.,]\d*)?|[.,]\d+")


@dataclass(frozen=True, slots=True)
class NumberRule:
    """What may be typed, from `lowest` to `highest`.

    Attributes:
        whole: No decimals.
        optional: Empty is allowed and means None.
    """

    lowest: int
    highest: int
    whole: bool = True
    optional: bool = False


def parse_number(text: str, rule: NumberRule) -> tuple[float | None, str]:
    """The number and "", or None and what is wrong with it, in one short sentence."""
    text = text.strip()
    if not text:
        return None, "" if rule.optional else _tr("A number is needed.")
    pattern = _WHOLE if rule.whole else _DECIMAL
    if len(text) > MAX_CHARS or not text.isascii() or not pattern.fullmatch(text):
        return None, _tr("Digits only.") if rule.whole else _tr("A number such as 0.7.")
    value = float(text.replace(",", "."))
    if not rule.lowest <= value <= rule.highest:
        low, high = (format.count(int(end)) for end in (rule.lowest, rule.highest))
        return None, _tr("Between {low} and {high}.").format(low=low, high=high)
    return value, ""


def _tr(text: str) -> str:
    return QCoreApplication.translate("NumberField", text)


class NumberField(QWidget):
    """A label, a box for a number, and below it what is wrong, if anything."""

    edited = Signal()

    def __init__(
        self, title: str, rule: NumberRule, *, hint: str = "", empty: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._rule = rule
        self._edit = QLineEdit()
        self._edit.setAccessibleName(title)
        self._edit.setAccessibleDescription(hint)
        self._edit.setPlaceholderText(empty)
        self._edit.setFont(mono_font())
        self._edit.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._edit.setFixedWidth(self._edit.fontMetrics().averageCharWidth() * FIELD_CHARS + 3 * SPACE_S)
        self._edit.setToolTip(tooltip(hint))
        self._edit.textChanged.connect(self._check)
        label = PlainLabel(title)
        label.setToolTip(tooltip(hint))
        label.setBuddy(self._edit)
        self._problem = PlainLabel(scale=0.9)
        self._problem.setProperty("problem", True)
        self._problem.setAccessibleName(title)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(SPACE_S)
        grid.setVerticalSpacing(SPACE_XS)
        grid.addWidget(label, 0, 0)
        grid.addWidget(self._edit, 0, 1)
        grid.addWidget(self._problem, 1, 0, 1, 2, Qt.AlignmentFlag.AlignRight)
        grid.setColumnStretch(0, 1)
        self._check()

    @property
    def box(self) -> QLineEdit:
        """Where it is typed."""
        return self._edit

    @property
    def value(self) -> float | None:
        """The number; None when empty or wrong."""
        return parse_number(self._edit.text(), self._rule)[0]

    @property
    def whole(self) -> int | None:
        """The number as a whole one; None when empty or wrong."""
        value = self.value
        return None if value is None else int(value)

    @property
    def valid(self) -> bool:
        """Whether what is typed may be used."""
        return not parse_number(self._edit.text(), self._rule)[1]

    def set_value(self, value: float | None) -> None:
        """Show a number; None empties the box."""
        if value is None:
            self._edit.clear()
        else:
            self._edit.setText(f"{value:.0f}" if self._rule.whole else f"{value:g}")

    def _check(self) -> None:
        problem = parse_number(self._edit.text(), self._rule)[1]
        self._problem.setText(problem)
        self._problem.setVisible(bool(problem))
        if self._edit.property("invalid") != bool(problem):
            self._edit.setProperty("invalid", bool(problem))
            self._edit.style().unpolish(self._edit)
            self._edit.style().polish(self._edit)
        self.edited.emit()
