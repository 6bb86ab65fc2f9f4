"""The access token that programs of other machines need: made here, shown once, forgotten here."""

import asyncio
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QShowEvent
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from llama_runner.control.access_token import forget_token, kept_token, make_token
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.tabs import Shell
from llama_runner.ui.theme import SPACE_S, mono_font, tooltip
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.questions import confirm, without_icons

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

# Longer than a token.
TOKEN_CHARS: Final = 52


class TokenRow(QWidget):
    """Whether there is one, and what can be done about it."""

    def __init__(self, workspace: "Workspace", shell: Shell, parent: QWidget) -> None:
        super().__init__(parent)
        self._workspace, self._shell = workspace, shell
        self._state = PlainLabel(parent=self, muted=True)
        self._state.setAccessibleName(self.tr("Access token"))
        hint = self.tr(
            "Programs of other machines send it as their API key. Those of this machine need none, unless "
            "the settings say so. Where the APIs listen is in the settings too."
        )
        self._state.setToolTip(tooltip(hint))
        self._new = QPushButton(self.tr("New token…"), self)
        self._new.setAccessibleName(self.tr("Make a new access token"))
        self._new.setToolTip(tooltip(hint))
        self._new.clicked.connect(self._make)
        self._forget = QPushButton(self.tr("Forget"), self)
        self._forget.setAccessibleName(self.tr("Forget the access token"))
        self._forget.clicked.connect(self._remove)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(SPACE_S)
        row.addWidget(self._state, 1)
        row.addWidget(self._new)
        row.addWidget(self._forget)

    def showEvent(self, event: QShowEvent) -> None:
        """Look again: commands make and forget tokens too."""
        super().showEvent(event)
        self._look()

    @async_slot_once
    async def _look(self) -> None:
        await self._show()

    async def _show(self) -> bool:
        """Say whether there is one; whether there is."""
        kept = await asyncio.to_thread(kept_token, self._workspace.home)
        self._state.setText(
            self.tr("Access token for other machines: none")
            if kept is None
            else self.tr("Access token for other machines: made {when}").format(when=kept.made_utc[:10])
        )
        self._forget.setEnabled(kept is not None)
        return kept is not None

    @async_slot_once
    async def _make(self) -> None:
        if await self._show() and not await confirm(
            self.window(),
            title=self.tr("New access token?"),
            text=self.tr("The one before lets nobody in any more."),
            action=self.tr("New token"),
        ):
            return
        try:
            token = await asyncio.to_thread(make_token, self._workspace.home, SystemClock().utc())
            await self._workspace.service.reload()
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("making an access token"))
            return
        await self._show()
        TokenDialog(token, self.window()).open()

    @async_slot_once
    async def _remove(self) -> None:
        if not await confirm(
            self.window(),
            title=self.tr("Forget the access token?"),
            text=self.tr("It lets nobody in any more, and what other machines reach is closed."),
            action=self.tr("Forget"),
        ):
            return
        try:
            await asyncio.to_thread(forget_token, self._workspace.home)
            await self._workspace.service.reload()
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("forgetting the access token"))
            return
        await self._show()
        self._shell.say(self.tr("Access token forgotten"))


class TokenDialog(QDialog):
    """Shows a token, this once."""

    def __init__(self, token: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Access token"))
        words = PlainLabel(
            self.tr("Keep it now, it cannot be shown again. Programs send it as their API key."), wrap=True
        )
        self._line = QLineEdit(token)
        self._line.setReadOnly(True)
        self._line.setFont(mono_font())
        self._line.setAccessibleName(self.tr("New access token"))
        self._line.setMinimumWidth(self._line.fontMetrics().averageCharWidth() * TOKEN_CHARS)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton(self.tr("Copy"), QDialogButtonBox.ButtonRole.ActionRole)
        copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(self._line.text()))
        buttons.rejected.connect(self.close)
        without_icons(buttons)
        column = QVBoxLayout(self)
        column.setSpacing(SPACE_S)
        for widget in (words, self._line, buttons):
            column.addWidget(widget)
