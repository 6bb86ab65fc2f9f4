"""One load option in a form: its title, a control for its kind, what is wrong with it, and the way back.

Made from the catalogue in `core.load_options`; nothing is known here about any one option.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QLineEdit, QMenu, QSizePolicy, QToolButton, QWidget

from llama_runner.core.errors import UsageError
from llama_runner.core.fields import Kind, SettingInfo, plain_number, setting_info
from llama_runner.core.load_options import FLAGS, LoadOptions, kinds_of, parse_options
from llama_runner.core.text import visible_controls
from llama_runner.ui.theme import SPACE_S, SPACE_XS, Theme, mono_font, tooltip
from llama_runner.ui.widgets.choice import CalmChoice
from llama_runner.ui.widgets.label import PlainLabel

# Holds the longest choice and the largest number.
FIELD_CHARS: Final = 17
# Names of files; still cut, but told apart.
TEXT_FIELD_CHARS: Final = 26
TITLE_CHARS: Final = 34
OFFER_CHARS: Final = 80
NUMBERS: Final = (Kind.INTEGER, Kind.NUMBER, Kind.NUMBERS)


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


def info_of(name: str) -> SettingInfo:
    """What the catalogue says of an option."""
    return setting_info(name, LoadOptions.model_fields[name])


def option_text(value: Any) -> str:
    """A value as it is typed; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        return plain_number(value)
    return ", ".join(map(option_text, value)) if isinstance(value, tuple) else str(value)


def read_option(name: str, text: str) -> tuple[Any, str]:
    """The value that was typed and "", or None and what is wrong with it. Nothing typed is None."""
    text = text.strip()
    if not text:
        return None, ""
    value: object = text
    if kinds_of(name) == (bool,):
        value = {"on": True, "off": False}.get(text, text)
    elif tuple in kinds_of(name):
        value = tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        return getattr(parse_options({name: value}), name), ""
    except UsageError:
        wanted = replace(info_of(name), optional=False).expectation
        return None, _tr("Must be {wanted}.").format(wanted=wanted)


def words_of(name: str) -> str:
    """What a search looks through."""
    info = info_of(name)
    return f"{name} {info.title} {info.help} {FLAGS[name].name} {FLAGS[name].group}".casefold()


@dataclass(frozen=True, slots=True)
class Offer:
    """A value that fits a model, by the name a person knows it by."""

    title: str
    text: str


class OptionRow(QWidget):
    """`edited` whenever what is entered changes; empty leaves the choice to the engine."""

    edited = Signal()

    def __init__(self, name: str, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = name
        self.info = info_of(name)
        self._words = words_of(name)
        self._control = self._make_control()
        hint = f"{self.info.help} {self._bounds()}".strip()
        self._control.setAccessibleName(self.info.title)
        self._control.setAccessibleDescription(hint)
        self._control.setToolTip(tooltip(f"{hint} ({FLAGS[name].name})"))
        self._control.setProperty("compact", True)
        short = self.info.kind in (*NUMBERS, Kind.BOOLEAN, Kind.CHOICE)
        chars = FIELD_CHARS if short else TEXT_FIELD_CHARS
        self._control.setFixedWidth(self.fontMetrics().averageCharWidth() * chars)
        self._problem = PlainLabel(parent=self, wrap=True, scale=0.9)
        self._problem.setObjectName("errorText")
        self._problem.setAccessibleName(self.tr("Problem with {title}").format(title=self.info.title))
        self._back = QToolButton(self)
        self._back.setProperty("flat", True)
        self._back.setProperty("compact", True)
        self._back.setAccessibleName(self.tr("Reset: {title}").format(title=self.info.title))
        self._back.setToolTip(tooltip(self.tr("Leave it to the engine again")))
        theme.give_icon(self._back, "mdi6.undo-variant")
        self._back.clicked.connect(self._go_back)
        self._pick = QToolButton(self)
        self._pick.setProperty("flat", True)
        self._pick.setProperty("compact", True)
        self._pick.setAccessibleName(self.tr("Choose: {title}").format(title=self.info.title))
        self._pick.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        theme.give_icon(self._pick, "mdi6.dots-horizontal")
        self._offers: tuple[Offer, ...] = ()
        self._lay_out(hint)
        self._show_state()

    def _bounds(self) -> str:
        if self.info.minimum is None or self.info.maximum is None:
            return ""
        return _tr("From {low} to {high}.").format(
            low=plain_number(self.info.minimum), high=plain_number(self.info.maximum)
        )

    def _make_control(self) -> QLineEdit | QComboBox:
        if self.info.kind in (Kind.BOOLEAN, Kind.CHOICE):
            box = CalmChoice(self)
            choices = ("on", "off") if self.info.kind is Kind.BOOLEAN else self.info.choices
            box.addItem(self.tr("default"), "")
            for choice in choices:
                box.addItem(choice, choice)
            box.currentIndexChanged.connect(lambda _: self._changed())
            return box
        line = QLineEdit(self)
        line.setPlaceholderText(self.tr("default"))
        if self.info.kind in NUMBERS:
            line.setFont(mono_font())
            line.setAlignment(Qt.AlignmentFlag.AlignRight)
        line.textChanged.connect(lambda _: self._changed())
        return line

    def _lay_out(self, hint: str) -> None:
        unit = f" ({self.info.unit})" if self.info.unit else ""
        title = PlainLabel(f"{self.info.title}{unit}", self, wrap=True)
        title.setBuddy(self._control)
        title.setToolTip(tooltip(hint))
        title.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        # In a wide window the field stays near what it is called.
        title.setMaximumWidth(self.fontMetrics().averageCharWidth() * TITLE_CHARS)
        self._pick.hide()
        keep = self._back.sizePolicy()
        # Rows do not jump when something is entered.
        keep.setRetainSizeWhenHidden(True)
        self._back.setSizePolicy(keep)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(SPACE_S)
        grid.setVerticalSpacing(SPACE_XS)
        grid.addWidget(title, 0, 0)
        grid.addWidget(self._control, 0, 1)
        grid.addWidget(self._pick, 0, 2)
        grid.addWidget(self._back, 0, 3)
        grid.addWidget(self._problem, 1, 0, 1, 5)
        grid.setColumnStretch(0, 1000)
        grid.setColumnStretch(4, 1)

    @property
    def control(self) -> QWidget:
        """Where it is entered."""
        return self._control

    @property
    def text(self) -> str:
        """What is entered; empty for nothing."""
        if isinstance(self._control, QComboBox):
            return str(self._control.currentData())
        return self._control.text().strip()

    @property
    def value(self) -> Any:
        """The option; None when nothing is entered, or nothing that can be used."""
        return read_option(self.name, self.text)[0]

    @property
    def problem(self) -> str:
        """What is wrong with what is entered; empty when nothing is."""
        return self._problem.text()

    def set_text(self, text: str) -> None:
        """Enter `text`."""
        if isinstance(self._control, QComboBox):
            self._control.setCurrentIndex(max(self._control.findData(text), 0))
        else:
            self._control.setText(text)

    def show_default(self, text: str) -> None:
        """What counts while nothing is entered."""
        if isinstance(self._control, QComboBox):
            self._control.setItemText(0, text)
        else:
            self._control.setPlaceholderText(text)

    def offer(self, offers: Sequence[Offer]) -> None:
        """Values to pick from a menu beside the field; where several fit, each is added to the others."""
        if tuple(offers) == self._offers:
            return
        self._offers = tuple(offers)
        menu = QMenu(self._pick)
        for offer in self._offers:
            # A menu takes & for the mark of a letter.
            action = menu.addAction(visible_controls(offer.title, OFFER_CHARS).replace("&", "&&"))
            action.triggered.connect(lambda _=False, text=offer.text: self._take(text))
        old = self._pick.menu()
        self._pick.setMenu(menu)
        if old is not None:
            old.deleteLater()
        self._pick.setVisible(bool(self._offers))

    def _take(self, text: str) -> None:
        several = tuple in kinds_of(self.name)
        entered = [part.strip() for part in self.text.split(",") if part.strip()] if several else []
        self.set_text(", ".join([*(part for part in entered if part != text), text]))

    def found_by(self, words: list[str]) -> bool:
        """Whether a search for these means it."""
        return all(word in self._words for word in words)

    def _go_back(self) -> None:
        # Hidden with the focus on it, it would send the focus elsewhere.
        self._control.setFocus()
        self.set_text("")

    def _changed(self) -> None:
        self._show_state()
        self.edited.emit()

    def _show_state(self) -> None:
        problem = read_option(self.name, self.text)[1]
        self._problem.setText(problem)
        self._problem.setVisible(bool(problem))
        self._back.setVisible(bool(self.text))
        if bool(self._control.property("invalid")) != bool(problem):
            self._control.setProperty("invalid", bool(problem))
            self._control.style().unpolish(self._control)
            self._control.style().polish(self._control)
