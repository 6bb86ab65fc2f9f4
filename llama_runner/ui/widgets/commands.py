"""What can be done to what is chosen: one action behind a button, a key and a line of the context menu."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QPushButton, QWidget

from llama_runner.ui.theme import tooltip


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether something can be done now.

    Attributes:
        offered: It makes sense here at all; otherwise it is not shown.
        why_not: Why it cannot be done now, one sentence; empty when it can.
    """

    offered: bool = True
    why_not: str = ""


AVAILABLE = Availability()
NOT_OFFERED = Availability(offered=False)


@dataclass(frozen=True, slots=True)
class Command:
    """One thing to do.

    Attributes:
        name: Object name of its button and action.
        hint: What it does, for the tooltip.
        keys: Its shortcut in words ("F5"), empty for none.
        checked: For what is on or off: whether it is on.
    """

    name: str
    text: str
    hint: str
    act: Callable[[], object]
    available: Callable[[], Availability]
    keys: str = ""
    primary: bool = False
    checked: Callable[[], bool] | None = None


class CommandAction(QAction):
    """The action of a command. `refresh` asks anew whether it can be done."""

    def __init__(self, command: Command, parent: QWidget) -> None:
        super().__init__(command.text, parent)
        self.command = command
        self.setObjectName(command.name)
        self.setCheckable(command.checked is not None)
        # A menu takes & for the mark of a letter.
        self.setText(command.text.replace("&", "&&"))
        if command.keys:
            self.setShortcut(QKeySequence(command.keys))
            self.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        self.triggered.connect(lambda _=False: command.act())

    def refresh(self) -> None:
        """Offer it or not."""
        now = self.command.available()
        self.setVisible(now.offered)
        self.setEnabled(now.offered and not now.why_not)
        if self.command.checked is not None:
            self.setChecked(self.command.checked())
        words = now.why_not or self.command.hint
        if self.command.keys:
            keys = self.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            words = f"{words} ({keys})"
        self.setToolTip(tooltip(words))


class CommandButton(QPushButton):
    """A button that follows an action."""

    def __init__(self, action: CommandAction, parent: QWidget) -> None:
        super().__init__(action.command.text, parent)
        self._action = action
        self.setObjectName(f"{action.command.name}-button")
        self.setAccessibleName(action.command.text)
        self.setProperty("primary", action.command.primary)
        self.setCheckable(action.isCheckable())
        self.clicked.connect(action.trigger)
        action.changed.connect(self._follow)
        self._follow()

    def _follow(self) -> None:
        self.setVisible(self._action.isVisible())
        self.setEnabled(self._action.isEnabled())
        self.setChecked(self._action.isChecked())
        self.setToolTip(self._action.toolTip())
        self.setAccessibleDescription(self._action.command.available().why_not or self._action.command.hint)


def actions_of(commands: Iterable[Command], parent: QWidget) -> dict[str, CommandAction]:
    """Their actions by name."""
    return {command.name: CommandAction(command, parent) for command in commands}
