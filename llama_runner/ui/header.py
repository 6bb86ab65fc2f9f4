"""The header, the same over every tab: the shared target, and the way to settings, log and notices."""

from typing import Final

from PySide6.QtCore import QCoreApplication, QEvent, Qt, Signal
from PySide6.QtGui import QAction, QPaintEvent
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QMenu,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolButton,
    QWidget,
)

from llama_runner.backends.base import Engine, Target
from llama_runner.core import format
from llama_runner.core.errors import NotFoundError
from llama_runner.core.text import visible_controls
from llama_runner.discovery.registry import ServerRecord, ServerRegistry, ServerSource, ServerStatus
from llama_runner.ui.theme import SPACE_M, SPACE_S, Theme, tooltip
from llama_runner.ui.widgets.label import PlainLabel

SERVER_CHARS: Final = 26
MODEL_CHARS: Final = 28
_EMPTY_MENU: Final[tuple[QAction, ...]] = ()


def server_title(record: ServerRecord) -> str:
    """A server in a picker: the model it serves if it is ours, else its address and product."""
    if record.source is ServerSource.SERVICE:
        names = ", ".join(visible_controls(model.id, 60) for model in record.models)
        here = QCoreApplication.translate("header", "Here")
        return f"{here}: {names or record.address}"
    return " · ".join(filter(None, (record.address, visible_controls(record.product, 40))))


class Picker(QComboBox):
    """A combo box whose width does not follow its longest entry."""

    def __init__(self, *, name: str, placeholder: str, chars: int) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setToolTip(tooltip(name))
        self.setPlaceholderText(placeholder)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(chars)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMaximumWidth(self.fontMetrics().averageCharWidth() * (chars + 12))

    def paintEvent(self, event: QPaintEvent) -> None:
        """The usual look, with a text that does not fit cut in its middle."""
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        style = self.style()
        room = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        text = self.currentText() or self.placeholderText()
        option.currentText = self.fontMetrics().elidedText(
            text, Qt.TextElideMode.ElideMiddle, room.width() - SPACE_S
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()

    def event(self, event: QEvent) -> bool:
        """The wheel changes nothing unless the picker has the focus: scrolling past must not pick."""
        if event.type() == QEvent.Type.Wheel and not self.hasFocus():
            event.ignore()
            return True
        return super().event(event)

    def fill(self, entries: list[tuple[str, str]], chosen: str | None) -> None:
        """Show these (key, title) pairs with `chosen` in front, without telling anybody."""
        current = [(self.itemData(n), self.itemText(n)) for n in range(self.count())]
        self.blockSignals(True)
        if current != entries:
            self.clear()
            for key, title in entries:
                self.addItem(title, key)
        self.setCurrentIndex(-1 if chosen is None else self.findData(chosen))
        self.blockSignals(False)
        self.setEnabled(bool(entries))
        self.setToolTip(tooltip(f"{self.accessibleName()}: {self.currentText()}"))


class TargetPicker(QWidget):
    """Server, model and how the server is. Holds the shared target; the registry holds everything else."""

    changed = Signal()

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._registry: ServerRegistry | None = None
        self._server_id: str | None = None
        self._model_id: str | None = None
        self._told: tuple[str | None, str | None, Engine | None] = (None, None, None)
        self._servers = Picker(
            name=self.tr("Server"), placeholder=self.tr("No server yet"), chars=SERVER_CHARS
        )
        self._models = Picker(name=self.tr("Model"), placeholder=self.tr("No model"), chars=MODEL_CHARS)
        self._state = PlainLabel(muted=True)
        self._state.setAccessibleName(self.tr("State of the chosen server"))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(SPACE_S)
        for widget in (self._servers, self._models, self._state):
            row.addWidget(widget)
        self._servers.activated.connect(self._server_picked)
        self._models.activated.connect(self._model_picked)
        self.refresh()

    def attach(self, registry: ServerRegistry | None) -> None:
        """Pick from this registry; None when the workspace is gone."""
        self._registry = registry
        self.refresh()

    @property
    def target(self) -> Target | None:
        """What is picked, as something to talk to."""
        if self._registry is None or self._server_id is None or self._model_id is None:
            return None
        try:
            return self._registry.target(self._server_id, self._model_id)
        except NotFoundError:
            return None

    @property
    def server_id(self) -> str | None:
        """The picked server."""
        return self._server_id

    def pick(self, server_id: str, model_id: str | None) -> None:
        """Pick a server, and one of its models (its first if None)."""
        self._server_id, self._model_id = server_id, model_id
        self.refresh()

    def refresh(self) -> None:
        """Read the registry again; keep what is picked as long as it exists, else pick the best there is."""
        records = self._registry.records if self._registry is not None else ()
        record = next((r for r in records if r.id == self._server_id), None) or _best(records)
        self._server_id = record.id if record is not None else None
        models = [model.id for model in record.models] if record is not None else []
        if self._model_id not in models:
            self._model_id = models[0] if models else None
        self._servers.fill([(r.id, server_title(r)) for r in records], self._server_id)
        self._models.fill([(model, visible_controls(model)) for model in models], self._model_id)
        self._show_state(record)
        told = (self._server_id, self._model_id, record.engine if record is not None else None)
        if told != self._told:
            self._told = told
            self.changed.emit()

    def _server_picked(self, index: int) -> None:
        self.pick(self._servers.itemData(index), None)

    def _model_picked(self, index: int) -> None:
        self._model_id = self._models.itemData(index)
        self.refresh()

    def _show_state(self, record: ServerRecord | None) -> None:
        if record is None:
            self._state.setText("")
            return
        mark, status, word = {
            ServerStatus.ONLINE: ("●", "good", self.tr("ready")),
            ServerStatus.OFFLINE: ("○", "bad", self.tr("offline")),
            ServerStatus.NEEDS_KEY: ("◐", "warning", self.tr("needs a key")),
            ServerStatus.ERROR: ("◑", "bad", self.tr("error")),
            ServerStatus.NOT_CHECKED: ("◌", "muted", self.tr("not checked")),
        }[record.status]
        online = record.status is ServerStatus.ONLINE and record.latency_s is not None
        latency = f" {format.seconds(record.latency_s)}" if online else ""
        self._state.setText(f"{mark} {word}{latency}")
        self._state.set_status(status)
        self._state.setToolTip(
            tooltip(record.problem or self.tr("Time of one small request at the last check."))
        )


def _best(records: tuple[ServerRecord, ...]) -> ServerRecord | None:
    """What to pick when nothing is: our own ready model, else a server that is online with models.

    Never one that nobody has confirmed: what is written would go to a stranger (R11).
    """

    def rank(record: ServerRecord) -> tuple[bool, bool, bool]:
        return (
            record.status is not ServerStatus.ONLINE,
            not record.models,
            record.source is not ServerSource.SERVICE,
        )

    known = (record for record in records if record.trusted and not record.changed)
    return min(known, key=rank, default=None)


class Header(QFrame):
    """The strip above the tabs."""

    theme_clicked = Signal()
    settings_clicked = Signal()

    def __init__(self, theme: Theme, menu_actions: tuple[QAction, ...] = _EMPTY_MENU) -> None:
        super().__init__()
        self.setObjectName("header")
        self.picker = TargetPicker(theme)
        label = PlainLabel(self.tr("Target"), muted=True)
        label.setToolTip(
            tooltip(self.tr("The model that chat talks to; arena and stress can hold their own."))
        )
        self._theme_button = self._button(
            theme, "mdi6.theme-light-dark", self.tr("Switch between light and dark")
        )
        settings = self._button(theme, "mdi6.cog-outline", self.tr("Settings (Ctrl+,)"))
        more = self._button(theme, "mdi6.dots-vertical", self.tr("More: log, notices, about"))
        menu = QMenu(more)
        menu.addActions(list(menu_actions))
        more.setMenu(menu)
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._theme_button.clicked.connect(self.theme_clicked)
        settings.clicked.connect(self.settings_clicked)
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE_M, SPACE_S, SPACE_S, SPACE_S)
        row.setSpacing(SPACE_S)
        row.addWidget(label)
        row.addWidget(self.picker, 4)
        row.addStretch(1)
        for button in (self._theme_button, settings, more):
            row.addWidget(button)

    @staticmethod
    def _button(theme: Theme, icon: str, name: str) -> QToolButton:
        button = QToolButton()
        button.setProperty("flat", True)
        button.setAccessibleName(name)
        button.setToolTip(tooltip(name))
        theme.give_icon(button, icon)
        return button
