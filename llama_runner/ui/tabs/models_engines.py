"""The llama-servers to choose from: added, checked, chosen, changed and removed, with a way back.

Which programs run is said by the person at this machine: it is written to the settings, never asked of the
control API.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from llama_runner.control.values import EngineInfo
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.serving_edits import using_engine, with_named_engine, without_engine
from llama_runner.core.settings import AppConfig
from llama_runner.core.text import visible_controls
from llama_runner.runtime.engine import EngineProbes
from llama_runner.runtime.engines import DEFAULT, report, usable
from llama_runner.ui.async_slots import async_slot, async_slot_once
from llama_runner.ui.dialogs.engine import EngineDialog
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.models_engine_lines import columns, engine_facts, problem_of
from llama_runner.ui.theme import SPACE_M, SPACE_S
from llama_runner.ui.widgets.commands import AVAILABLE, Availability, Command, CommandButton, actions_of
from llama_runner.ui.widgets.facts import FactList
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.tables import DataTable
from llama_runner.ui.widgets.undo import UndoStrip

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

NAME_CHARS: Final = 64
TEXT_CHARS: Final = 1000
Edit = Callable[[AppConfig], AppConfig]


class EnginesView(QWidget):
    """A table of the engines and all about the chosen one. `arrived`: they are known anew."""

    arrived = Signal(tuple)

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._checking: str | None = None
        self._table: DataTable[EngineInfo] = DataTable(
            columns(shell.theme), lambda one: one.name, name=self.tr("Engines")
        )
        self._facts = FactList(name=self.tr("About the chosen engine"))
        self._problem = PlainLabel(wrap=True, selectable=True)
        self._problem.setObjectName("errorText")
        self._problem.setAccessibleName(self.tr("Why the chosen engine cannot be used"))
        self._trouble = PlainLabel(wrap=True, selectable=True)
        self._trouble.setObjectName("errorText")
        self._trouble.setAccessibleName(self.tr("Why the engines are not known"))
        self._trouble.hide()
        self._undo = UndoStrip()
        self._actions = actions_of(self._commands(), self._table)
        self._table.insertActions(self._table.actions()[0], list(self._actions.values()))
        self._lay_out()
        self._table.chosen.connect(self._show_choice)
        self._table.doubleClicked.connect(self._change)
        self._show_choice()

    def _lay_out(self) -> None:
        title = PlainLabel(self.tr("Programs that run models"), bold=True)
        title.setBuddy(self._table)
        head = QHBoxLayout()
        head.setSpacing(SPACE_S)
        head.addWidget(title)
        head.addStretch(1)
        for action in self._actions.values():
            head.addWidget(CommandButton(action, self))
        self._card = QFrame()
        self._card.setObjectName("card")
        about = QVBoxLayout(self._card)
        about.setContentsMargins(SPACE_M, SPACE_S, SPACE_M, SPACE_S)
        about.addWidget(self._problem)
        about.addWidget(self._facts)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, SPACE_S, 0, 0)
        column.setSpacing(SPACE_S)
        column.addLayout(head)
        column.addWidget(self._trouble)
        column.addWidget(self._undo)
        column.addWidget(self._table, 1)
        column.addWidget(self._card)

    def _commands(self) -> tuple[Command, ...]:
        return (
            Command(
                "engine-add",
                self.tr("Add…"),
                self.tr("Give a llama-server of yours a name, after a look at what it can do."),
                self._add,
                lambda: AVAILABLE,
                keys="Ins",
            ),
            Command(
                "engine-use",
                self.tr("Use"),
                self.tr("Run models with the chosen engine that name no other, from the next load on."),
                self._use,
                self._can_use,
                keys="Ctrl+Return",
            ),
            Command(
                "engine-check",
                self.tr("Check"),
                self.tr("Start the chosen engine once to see whether it works and what it can do."),
                self._check,
                self._can_check,
                keys="F5",
            ),
            Command(
                "engine-change",
                self.tr("Change…"),
                self.tr("Choose another program for this engine; that of default is in the settings."),
                self._change,
                self._needs_choice,
                keys="F2",
            ),
            Command(
                "engine-remove",
                self.tr("Remove"),
                self.tr("Forget the chosen engine; its program is not touched."),
                self._remove,
                self._can_remove,
                keys="Del",
            ),
        )

    # --- when ----------------------------------------------------------------------------------------------

    def _needs_choice(self) -> Availability:
        chosen = self._table.current is not None
        return AVAILABLE if chosen else Availability(why_not=self.tr("Choose an engine first."))

    def _can_use(self) -> Availability:
        one = self._table.current
        if one is None or self._checking is not None:
            return self._can_check()
        if self._workspace.demo:
            return Availability(why_not=self.tr("Started with --demo, so the demo engine runs models."))
        return Availability(why_not=self.tr("It is in use.")) if one.used else AVAILABLE

    def _can_check(self) -> Availability:
        if self._checking is not None:
            return Availability(why_not=self.tr("An engine is being checked."))
        return self._needs_choice()

    def _can_remove(self) -> Availability:
        one = self._table.current
        if one is not None and one.name == DEFAULT:
            return Availability(
                why_not=self.tr("This one is what the settings, PATH and the demo package decide.")
            )
        return self._needs_choice()

    # --- showing -------------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        """Look again: commands change engines too."""
        super().showEvent(event)
        self._look("")

    @async_slot
    async def _look(self, name: str) -> None:
        """Ask which there are, and mark one."""
        try:
            engines = await self._workspace.service.engines()
        except LlamaRunnerError as error:
            self._trouble.setText(visible_controls(f"{error.message} {error.hint}", TEXT_CHARS))
            self._trouble.show()
            return
        self._trouble.hide()
        self.show_engines(engines)
        if any(one.name == name for one in engines):
            self._table.select_keys({name})
        self.arrived.emit(engines)

    def show_engines(self, engines: Sequence[EngineInfo]) -> None:
        """These there are."""
        self._table.set_rows(engines)
        if self._table.current is None:
            self._table.select_keys({one.name for one in engines if one.used})
        self._show_choice()

    def _show_choice(self) -> None:
        one = self._table.current
        self._card.setVisible(one is not None)
        if one is not None:
            self._facts.show_facts(engine_facts(one))
            self._problem.setText(visible_controls(problem_of(one), TEXT_CHARS))
            self._problem.setVisible(one.problem is not None)
        for action in self._actions.values():
            action.refresh()

    # --- what ----------------------------------------------------------------------------------------------

    @async_slot_once
    async def _add(self) -> None:
        before = await self._workspace.read_settings()
        dialog = EngineDialog(self._workspace, self.window())
        dialog.done_with.connect(lambda name: self._told(self.tr("Added {name}"), name, before))
        dialog.open()

    @async_slot_once
    async def _change(self) -> None:
        if (one := self._table.current) is None:
            return
        before = await self._workspace.read_settings()
        entry = before.runtime.engines.get(one.name)
        if entry is None:
            self._shell.open_settings()
            return
        dialog = EngineDialog(self._workspace, self.window(), one.name, entry)
        dialog.done_with.connect(lambda name: self._told(self.tr("Changed {name}"), name, before))
        dialog.open()

    @async_slot_once
    async def _use(self) -> None:
        if (one := self._table.current) is None or one.used:
            return
        name = one.name
        self._set_checking(name)
        try:
            wanted = using_engine(await self._workspace.read_settings(), name)
            await usable(wanted.runtime, name, EngineProbes())
            before = await self._workspace.edit_settings(lambda config: using_engine(config, name))
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("choosing an engine"))
            return
        finally:
            self._set_checking(None)
        self._told(self.tr("{name} runs models from the next load on"), name, before)

    @async_slot_once
    async def _check(self) -> None:
        if (one := self._table.current) is None:
            return
        self._set_checking(one.name)
        try:
            runtime = (await self._workspace.read_settings()).runtime
            found = await report(runtime, one.name, EngineProbes(), demo=self._workspace.demo)
        finally:
            self._set_checking(None)
        checked = EngineInfo(**asdict(found))
        self.show_engines([checked if row.name == one.name else row for row in self._table.rows_model.rows])
        words = self.tr("{name} cannot be used") if found.problem else self.tr("{name} works")
        self._shell.say(words.format(name=visible_controls(one.name, NAME_CHARS)))

    def _set_checking(self, name: str | None) -> None:
        self._checking = name
        self._show_choice()

    @async_slot_once
    async def _remove(self) -> None:
        if (one := self._table.current) is None or one.name == DEFAULT:
            return
        name = one.name
        try:
            before = await self._workspace.edit_settings(lambda config: without_engine(config, name))
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("removing an engine"))
            return
        self._told(self.tr("Removed {name}"), name, before)

    # --- the way back --------------------------------------------------------------------------------------

    def _told(self, words: str, name: str, before: AppConfig) -> None:
        """Say what was done, show it, offer the way back."""
        told = words.format(name=visible_controls(name, NAME_CHARS))
        self._shell.say(told)
        self._undo.offer(told, lambda: self._take_back(lambda now: _restored(now, before, name)))
        self._look(name)

    @async_slot_once
    async def _take_back(self, undo: Edit) -> None:
        try:
            await self._workspace.edit_settings(undo)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("taking back a change of the engines"))
        self._look("")


def _restored(now: AppConfig, before: AppConfig, name: str) -> AppConfig:
    """The settings in which this engine is as it was, or is not, and the same one is used."""
    if (entry := before.runtime.engines.get(name)) is not None:
        now = with_named_engine(now, name, entry)
    elif name in now.runtime.engines:
        now = without_engine(now, name)
    used = before.runtime.engine or DEFAULT
    return using_engine(now, used) if used == DEFAULT or used in now.runtime.engines else now
