"""Using a model that was found: talk to it, compare it, put it under load, have its server load it."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError, NotFoundError
from llama_runner.core.text import visible_controls
from llama_runner.discovery.registry import ServerRecord, ServerSource
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.discovery_choice import Choice, reachable, usable
from llama_runner.ui.tabs.discovery_rows import ModelRow, engine_name
from llama_runner.ui.widgets.busy import BusyBar
from llama_runner.ui.widgets.commands import AVAILABLE, NOT_OFFERED, Availability, Command
from llama_runner.ui.widgets.questions import confirm

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

# How much of a name a sentence bears.
NAME_CHARS: Final = 80


class UseActions(QWidget):
    """Never shown itself: its tasks end with the tab. `changed`: look at the commands anew.

    Args:
        busy: Shows a model being loaded, and stops that.
    """

    changed = Signal()

    def __init__(self, workspace: "Workspace", shell: Shell, choice: Choice, *, parent: QWidget) -> None:
        super().__init__(parent)
        self.hide()
        self._workspace, self._shell, self._choice = workspace, shell, choice
        self._parent = parent
        self._loading: asyncio.Task[None] | None = None
        self.busy = BusyBar(name=self.tr("Loading"))
        self.busy.stopped.connect(self._stop_loading)

    def commands(self) -> tuple[Command, ...]:
        """In the order of the context menu."""
        tr, choice = self.tr, self._choice
        return (
            Command("server-chat", tr("Chat"),
                    tr("Talk to this model: it becomes the target of every tab."),
                    partial(self._use, "chat"), choice.one_model, "Return", primary=True),
            Command("server-arena", tr("Add to arena"),
                    tr("Tick the chosen models in the arena, to be compared there."),
                    self._add_to_arena, choice.some_models, "Ctrl+Shift+A"),
            Command("server-stress", tr("Load test"),
                    tr("Plan a load test of this model."),
                    partial(self._use, "stress"), choice.one_model, "Ctrl+Shift+S"),
            Command("server-target", tr("Use as target"),
                    tr("Have every tab talk to this model, and stay here."),
                    partial(self._use, ""), choice.one_model, "Ctrl+T"),
            Command("server-load", tr("Load"),
                    tr("Have the server take this model into memory."),
                    partial(self._load, True), partial(self._why_not_load, True)),
            Command("server-unload", tr("Unload"),
                    tr("Have the server drop this model from memory."),
                    partial(self._load, False), partial(self._why_not_load, False)),
        )  # fmt: skip

    # --- using ---------------------------------------------------------------------------------------------

    @async_slot_once
    async def _use(self, tab: str) -> None:
        row = self._choice.row
        if row is None or row.info is None or not await self._agreed(row.record):
            return
        self._shell.set_target(row.record.id, row.info.id)
        self._shell.say(self.tr("Target: {model}").format(model=row.name))
        if tab:
            self._shell.open_tab(tab)

    @async_slot_once
    async def _add_to_arena(self) -> None:
        added: list[ModelRow] = []
        for row in self._choice.rows:
            if row.info is None or usable(row) != AVAILABLE:
                continue
            if not await self._agreed(row.record):
                continue
            self._shell.hand_over("arena", row.record.id, row.info.id)
            added.append(row)
        if len(added) == 1:
            self._shell.say(self.tr("{model} is ticked in the arena").format(model=added[0].name))
        elif added:
            count = format.count(len(added))
            self._shell.say(self.tr("{count} models are ticked in the arena").format(count=count))

    async def _agreed(self, record: ServerRecord) -> bool:
        """Whether a person said yes to this server, now or earlier (R11)."""
        record = self._workspace.registry.get(record.id) or record
        if record.trusted:
            return True
        unread = self.tr("What you write travels there unencrypted: anybody on the way can read it.")
        read = self.tr("What you write is read by whoever runs it.")
        yes = await confirm(
            self._parent,
            title=self.tr("Use another computer?"),
            text=self.tr("{address} ({engine}) is another computer.").format(
                address=record.address, engine=visible_controls(engine_name(record), NAME_CHARS)
            ),
            details=(read if record.base_url.startswith("https://") else f"{read} {unread}")
            + "\n\n"
            + self.tr("This is asked once for each server."),
            action=self.tr("Use it"),
        )
        if yes:
            await self._workspace.discovery.trust(record.id)
        return yes

    # --- loading -------------------------------------------------------------------------------------------

    def _why_not_load(self, load: bool) -> Availability:
        row = self._choice.row
        if row is None or row.info is None or row.record.source is ServerSource.SERVICE:
            return NOT_OFFERED
        if row.info.loaded is load or not (row.info.loadable or self._can_load(row.record)):
            return NOT_OFFERED
        if self._loading is not None:
            return Availability(why_not=self.tr("Another model is on its way."))
        return reachable(row)

    def _can_load(self, record: ServerRecord) -> bool:
        return self._workspace.connect(self._workspace.registry.endpoint(record)).can_load

    @async_slot_once
    async def _load(self, load: bool) -> None:
        row = self._choice.row
        if row is None or row.info is None or not await self._may_load(row, load=load):
            return
        name = visible_controls(row.info.id, NAME_CHARS)
        self._loading = asyncio.current_task()
        if load:
            self.busy.begin(self.tr("Loading {model}").format(model=visible_controls(row.info.id, 24)))
        self.changed.emit()
        backend = self._workspace.connect(self._workspace.registry.endpoint_of(row.record.id))
        try:
            await (backend.load(row.info.id) if load else backend.unload(row.info.instance_id or row.info.id))
        except LlamaRunnerError as error:
            doing = self.tr("loading {model}") if load else self.tr("unloading {model}")
            self._shell.report(error, doing=doing.format(model=name))
        else:
            words = self.tr("{model} is loaded") if load else self.tr("{model} is unloaded")
            self._shell.say(words.format(model=name))
        finally:
            self._loading = None
            if isValid(self):
                self.busy.end()
                self.changed.emit()
        # Removed meanwhile it is of no interest any more.
        with suppress(NotFoundError):
            await self._workspace.discovery.check(row.record.id)

    async def _may_load(self, row: ModelRow, *, load: bool) -> bool:
        if row.record.is_this_machine:
            return True
        if row.info is None or not await self._agreed(row.record):
            return False
        size = format.size(row.info.size_bytes) if row.info.size_bytes else self.tr("an unknown size")
        words = (
            self.tr("{model} ({size}) is loaded into the memory of {address}.")
            if load
            else self.tr("{model} ({size}) is dropped from the memory of {address}.")
        )
        return await confirm(
            self._parent,
            title=self.tr("Load on another computer?") if load else self.tr("Unload on another computer?"),
            text=words.format(
                model=visible_controls(row.info.id, NAME_CHARS), size=size, address=row.record.address
            ),
            details=self.tr("Others may be using it: another model may have to go.")
            if load
            else self.tr("Others may be using it: their answers end."),
            action=self.tr("Load") if load else self.tr("Unload"),
        )

    def _stop_loading(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
