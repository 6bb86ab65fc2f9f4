"""Keeping the list of servers: asking, keys, trust, favourites, notes, waking, removing and undoing that."""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QWidget

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.discovery.registry import Removed, ServerSource, ServerStatus
from llama_runner.ui.async_slots import async_slot, async_slot_once, is_running
from llama_runner.ui.dialogs.server import KeyDialog
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.discovery_choice import Choice
from llama_runner.ui.widgets.commands import AVAILABLE, NOT_OFFERED, Availability, Command
from llama_runner.ui.widgets.undo import UndoStrip

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace


class CareActions(QWidget):
    """Never shown itself: its tasks end with the tab. `changed`: look at the commands anew."""

    changed = Signal()
    select_wanted = Signal(str)

    def __init__(self, workspace: "Workspace", shell: Shell, choice: Choice, *, parent: QWidget) -> None:
        super().__init__(parent)
        self.hide()
        self._workspace, self._shell, self._choice = workspace, shell, choice
        self._parent = parent
        self.undo = UndoStrip()

    def commands(self) -> tuple[Command, ...]:
        """In the order of the context menu."""
        tr, choice = self.tr, self._choice
        return (
            Command("server-check", tr("Check"), "mdi6.refresh",
                    tr("Ask the chosen servers, or all of them when none is chosen, how they are."),
                    self._check, self._why_not_check, "F5"),
            Command("server-key", tr("API key…"), "mdi6.key-outline",
                    tr("Give this server a key, or have its key forgotten."),
                    self._open_key, choice.one_other_server, "Ctrl+Shift+K"),
            Command("server-trust", tr("Trust it"), "mdi6.shield-check-outline",
                    tr("It is the right server: use it as before."),
                    self._trust, self._why_not_trust),
            Command("server-wake", tr("Wake"), "mdi6.power",
                    tr("Send the sleeping computer a wake-up packet."),
                    self._wake, self._why_not_wake),
            Command("server-favourite", tr("Favourite"), "mdi6.star-outline",
                    tr("Favourite servers stand on top; press again to take the star away."),
                    self._favourite, choice.some, "Ctrl+D"),
            Command("server-copy", tr("Copy address"), "mdi6.content-copy",
                    tr("Put the server's address on the clipboard."),
                    self._copy_address, choice.one_server),
            Command("server-remove", tr("Remove"), "mdi6.trash-can-outline",
                    tr("Take the server off the list; it can be undone."),
                    self._remove, choice.removable, "Del"),
        )  # fmt: skip

    # --- when ----------------------------------------------------------------------------------------------

    def _why_not_check(self) -> Availability:
        if is_running(self, "CareActions._check"):
            return Availability(why_not=self.tr("They are being asked."))
        if self._workspace.registry.records:
            return AVAILABLE
        return Availability(why_not=self.tr("There is no server to ask."))

    def _why_not_trust(self) -> Availability:
        record = self._choice.record
        return AVAILABLE if record is not None and record.changed else NOT_OFFERED

    def _why_not_wake(self) -> Availability:
        record = self._choice.record
        if record is None or record.is_this_machine or record.mac is None:
            return NOT_OFFERED
        return AVAILABLE if record.status is ServerStatus.OFFLINE else NOT_OFFERED

    # --- asking --------------------------------------------------------------------------------------------

    @async_slot_once
    async def _check(self) -> None:
        self.changed.emit()
        discovery = self._workspace.discovery
        records = self._choice.records
        try:
            if records:
                async with asyncio.TaskGroup() as group:
                    for record in records:
                        group.create_task(discovery.check(record.id), name=f"check {record.id}")
            else:
                await discovery.check_all()
        finally:
            asyncio.get_running_loop().call_soon(self.changed.emit)
        if len(records) == 1:
            self._shell.say(self.tr("Asked {address}").format(address=records[0].address))
        else:
            self._shell.say(self.tr("Servers checked"))

    # --- keys and trust ------------------------------------------------------------------------------------

    def _open_key(self) -> None:
        record = self._choice.record
        if record is not None and record.source is not ServerSource.SERVICE:
            dialog = KeyDialog(self._workspace, record, self._parent)
            dialog.done_with.connect(lambda _: self._shell.say(self.tr("Key of {address} changed").format(
                address=record.address)))  # fmt: skip
            dialog.open()

    @async_slot_once
    async def _trust(self) -> None:
        record = self._choice.record
        if record is None or not record.changed:
            return
        await self._workspace.discovery.trust(record.id)
        self._shell.say(self.tr("{address} is trusted again").format(address=record.address))
        await self._workspace.discovery.check(record.id)

    # --- keeping -------------------------------------------------------------------------------------------

    @async_slot_once
    async def _favourite(self) -> None:
        records = self._choice.records
        wanted = not all(record.favourite for record in records)
        for record in records:
            await self._tried(
                self._workspace.discovery.set_favourite(record.id, wanted), self.tr("keeping the favourite")
            )

    @async_slot
    async def keep_note(self, server_id: str, text: str) -> None:
        """Keep a note about a server."""
        if self._workspace.registry.get(server_id) is not None:
            await self._tried(
                self._workspace.discovery.set_note(server_id, text), self.tr("keeping the note")
            )

    @async_slot_once
    async def _wake(self) -> None:
        record = self._choice.record
        if record is None:
            return
        if await self._tried(self._workspace.discovery.wake(record.id), self.tr("waking a computer")):
            self._shell.say(
                self.tr("Wake-up packet sent to {address}; check it in a minute").format(
                    address=record.address
                )
            )

    @async_slot_once
    async def _remove(self) -> None:
        record = self._choice.record
        if record is None or record.source is ServerSource.SERVICE:
            return
        removed: Removed | None = None
        try:
            removed = await self._workspace.discovery.remove(record.id)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("removing a server"))
        if removed is None:
            return
        words = self.tr("Removed {address}").format(address=record.address)
        self._shell.say(words)
        self.undo.offer(words, partial(self._restore, removed))

    @async_slot
    async def _restore(self, removed: Removed) -> None:
        record = removed.record
        if await self._tried(self._workspace.discovery.restore(removed), self.tr("bringing a server back")):
            self._shell.say(self.tr("{address} is back").format(address=record.address))
            self.select_wanted.emit(record.id)

    async def _tried(self, work: Awaitable[object], doing: str) -> bool:
        """Whether it worked; what went wrong is told."""
        try:
            await work
        except LlamaRunnerError as error:
            self._shell.report(error, doing=doing)
            return False
        return True

    def _copy_address(self) -> None:
        record = self._choice.record
        if record is not None:
            QGuiApplication.clipboard().setText(record.base_url)
            self._shell.say(self.tr("{address} copied").format(address=record.address))
