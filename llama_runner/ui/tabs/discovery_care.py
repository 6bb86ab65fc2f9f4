"""Keeping the list of servers: asking how they are, favourites, notes, waking, removing and undoing that."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError, NotFoundError
from llama_runner.discovery.registry import Removed, ServerSource, ServerStatus
from llama_runner.discovery.wake import parse_mac
from llama_runner.ui.async_slots import async_slot, async_slot_once
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.discovery_choice import Choice, tried
from llama_runner.ui.widgets.commands import AVAILABLE, NOT_OFFERED, Availability, Command
from llama_runner.ui.widgets.questions import ask_line
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
        self._asking = False
        self.undo = UndoStrip()

    def commands(self) -> tuple[Command, ...]:
        """In the order of the context menu."""
        tr, choice = self.tr, self._choice
        return (
            Command("server-check", tr("Check"),
                    tr("Ask the chosen servers, or all of them when none is chosen, how they are."),
                    self._check, self._why_not_check, "F5"),
            Command("server-wake", tr("Wake"),
                    tr("Send the sleeping computer a wake-up packet."),
                    self._wake, self._why_not_wake),
            Command("server-favourite", tr("Favourite"),
                    tr("Favourite servers stand on top; press again to take the star away."),
                    self._favourite, choice.some, "Ctrl+D", checked=self._are_favourites),
            Command("server-copy", tr("Copy address"),
                    tr("Put the server's address on the clipboard."),
                    self._copy_address, choice.one_server),
            Command("server-remove", tr("Remove"),
                    tr("Take the server off the list; it can be undone."),
                    self._remove, choice.removable, "Del"),
            Command("server-forget-found", tr("Remove all found servers"),
                    tr("Take off what scans found and nobody marked or noted; it can be undone."),
                    self._forget_found, self._why_not_forget),
        )  # fmt: skip

    # --- when ----------------------------------------------------------------------------------------------

    def _why_not_check(self) -> Availability:
        if self._asking:
            return Availability(why_not=self.tr("They are being asked."))
        if self._workspace.registry.records:
            return AVAILABLE
        return Availability(why_not=self.tr("There is no server to ask."))

    def _why_not_wake(self) -> Availability:
        record = self._choice.record
        if record is None or record.is_this_machine:
            return NOT_OFFERED
        return AVAILABLE if record.status is ServerStatus.OFFLINE else NOT_OFFERED

    async def _ask(self, server_id: str) -> None:
        # It may be removed while it is asked.
        with suppress(NotFoundError):
            await self._workspace.discovery.check(server_id)

    def _are_favourites(self) -> bool:
        records = self._choice.records
        return bool(records) and all(record.favourite for record in records)

    # --- asking --------------------------------------------------------------------------------------------

    @async_slot_once
    async def _check(self) -> None:
        discovery, records = self._workspace.discovery, self._choice.records
        self._asking = True
        self.changed.emit()
        try:
            if records:
                await asyncio.gather(*(self._ask(record.id) for record in records))
            else:
                await discovery.check_all()
        finally:
            self._asking = False
            if isValid(self):
                self.changed.emit()
        if len(records) == 1:
            self._shell.say(self.tr("Asked {address}").format(address=records[0].address))
        else:
            self._shell.say(self.tr("Servers checked"))

    # --- keeping -------------------------------------------------------------------------------------------

    @async_slot_once
    async def _favourite(self) -> None:
        records = self._choice.records
        wanted = not self._are_favourites()
        for record in records:
            await tried(
                self._shell,
                self._workspace.discovery.set_favourite(record.id, wanted),
                self.tr("keeping the favourite"),
            )

    @async_slot
    async def keep_note(self, server_id: str, text: str) -> None:
        """Keep a note about a server."""
        if self._workspace.registry.get(server_id) is not None:
            await tried(
                self._shell, self._workspace.discovery.set_note(server_id, text), self.tr("keeping the note")
            )

    @async_slot_once
    async def _wake(self) -> None:
        record = self._choice.record
        if record is None:
            return
        mac = record.mac or await self._ask_for_mac(record.address)
        if mac is None:
            return
        if await tried(
            self._shell, self._workspace.discovery.wake(record.id, mac), self.tr("waking a computer")
        ):
            self._shell.say(
                self.tr(
                    "Wake-up packet sent to {address}; it is asked again and again for five minutes"
                ).format(address=record.address)
            )

    async def _ask_for_mac(self, address: str) -> str | None:
        """The hardware address of a computer, typed; None when the person went back."""
        return await ask_line(
            self._parent,
            title=self.tr("Wake a computer"),
            text=self.tr("The hardware address (MAC) of {address}:").format(address=address),
            placeholder="00:11:22:aa:bb:cc",
            action=self.tr("Wake"),
            check=parse_mac,
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

    def _why_not_forget(self) -> Availability:
        found = (r.source is ServerSource.FOUND for r in self._workspace.registry.records)
        return AVAILABLE if any(found) else Availability(why_not=self.tr("No scan found any of them."))

    @async_slot_once
    async def _forget_found(self) -> None:
        try:
            removed = await self._workspace.discovery.forget_found()
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("removing servers"))
            return
        if removed:
            words = self.tr("Servers removed: {n}").format(n=format.count(len(removed)))
            self._shell.say(words)
            self.undo.offer(words, partial(self._restore_all, removed))

    @async_slot
    async def _restore_all(self, removed: Sequence[Removed]) -> None:
        # Backwards: each goes to the place it had when it was taken off.
        for one in reversed(removed):
            await tried(
                self._shell,
                self._workspace.discovery.restore(one),
                self.tr("bringing servers back"),
            )

    @async_slot
    async def _restore(self, removed: Removed) -> None:
        record = removed.record
        if await tried(
            self._shell, self._workspace.discovery.restore(removed), self.tr("bringing a server back")
        ):
            self._shell.say(self.tr("{address} is back").format(address=record.address))
            self.select_wanted.emit(record.id)

    def _copy_address(self) -> None:
        record = self._choice.record
        if record is not None:
            QGuiApplication.clipboard().setText(record.base_url)
            self._shell.say(self.tr("{address} copied").format(address=record.address))
