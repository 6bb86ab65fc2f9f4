"""Other names that programs may ask for: added, changed, tested and removed, with a way back."""

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from llama_runner.control.routes import Route, RouteList
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.text import visible_controls
from llama_runner.ui.async_slots import async_slot, async_slot_once
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.models_route_editor import RouteEditor
from llama_runner.ui.tabs.models_route_lines import StepLine, able, columns, hint, lines_of
from llama_runner.ui.theme import SPACE_S, SPACE_XS
from llama_runner.ui.widgets.commands import AVAILABLE, Availability, Command, CommandButton, actions_of
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.tables import DataTable

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

NAME_CHARS: Final = 64
TEXT_CHARS: Final = 1000


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


class RoutesView(QWidget):
    """What can be done, and a table of every step of every route."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._found = RouteList(())
        self._tested: dict[str, Route] = {}
        self._asking: str | None = None
        self._about = PlainLabel(muted=True, wrap=True, selectable=True)
        self._about.setAccessibleName(self.tr("About other names"))
        self._problem = PlainLabel(wrap=True, selectable=True)
        self._problem.setObjectName("errorText")
        self._problem.setAccessibleName(self.tr("Why the chosen step cannot answer"))
        self._table: DataTable[StepLine] = DataTable(
            columns(shell.theme),
            lambda line: f"{line.place} {line.name}",
            name=self.tr("Other names of models"),
        )
        self._editor = RouteEditor(workspace, shell, self)
        commands = self._commands()
        self._actions = actions_of(commands, self._table)
        self._table.insertActions(self._table.actions()[0], list(self._actions.values()))
        self._lay_out()
        self._table.chosen.connect(self._show_choice)
        self._table.doubleClicked.connect(self._change)
        self._editor.changed.connect(self._show_changed)
        self._show()

    def _lay_out(self) -> None:
        title = PlainLabel(self.tr("Other names, and where they lead"), bold=True)
        title.setBuddy(self._table)
        head = QHBoxLayout()
        head.setSpacing(SPACE_S)
        head.addWidget(title)
        head.addStretch(1)
        for action in self._actions.values():
            head.addWidget(CommandButton(action, self))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_XS)
        column.addLayout(head)
        for widget in (self._about, self._editor.undo):
            column.addWidget(widget)
        column.addWidget(self._table, 1)
        column.addWidget(self._problem)
        column.addStretch(0)

    def _commands(self) -> tuple[Command, ...]:
        return (
            Command(
                "route-add",
                self.tr("Add…"),
                self.tr("Give a model another name, or a name to several that are asked in order."),
                self._editor.add,
                lambda: AVAILABLE,
                keys="Ins",
            ),
            Command(
                "route-change",
                self.tr("Change…"),
                self.tr("Rename the chosen route, and change or reorder its steps."),
                self._change,
                self._needs_choice,
                keys="F2",
            ),
            Command(
                "route-test",
                self.tr("Test"),
                self.tr("Ask every step of the chosen route whether it could answer; nothing is generated."),
                self._test,
                self._can_test,
                keys="Ctrl+Return",
            ),
            Command(
                "route-remove",
                self.tr("Remove"),
                self.tr("Forget the chosen route with all of its steps."),
                self._remove,
                self._needs_choice,
                keys="Del",
            ),
            Command(
                "route-servers",
                self.tr("Offered servers…"),
                self.tr("Choose known servers whose models programs may ask for as model@server."),
                self._editor.choose_servers,
                lambda: AVAILABLE,
            ),
        )

    # --- showing -------------------------------------------------------------------------------------------

    @async_slot_once
    async def ask(self) -> None:
        """Bring it up to date."""
        await self._refresh()

    async def _refresh(self) -> None:
        try:
            self._found = await (await self._workspace.service.ensure()).routes()
        except LlamaRunnerError:
            # The service went away; the link notices and says so.
            return
        self._show()

    def _show(self) -> None:
        lines = lines_of(self._found, self._tested, self._asking)
        self._table.set_rows(lines)
        self._table.setVisible(bool(lines))
        self._about.setText(_about(self._found))
        self._about.setVisible(bool(self._about.text()))
        self._show_choice()

    def _show_choice(self) -> None:
        line = self._table.current
        problem = hint(line) if line is not None and line.step.problem is not None else ""
        self._problem.setText(visible_controls(problem, TEXT_CHARS))
        self._problem.setVisible(bool(problem))
        for action in self._actions.values():
            action.refresh()

    @property
    def _chosen(self) -> Route | None:
        line = self._table.current
        routes = self._found.routes
        return next((one for one in routes if line is not None and one.name == line.name), None)

    def _needs_choice(self) -> Availability:
        chosen = self._chosen is not None
        return AVAILABLE if chosen else Availability(why_not=self.tr("Choose a route first."))

    def _can_test(self) -> Availability:
        if self._asking is not None:
            return Availability(why_not=self.tr("A route is being tested."))
        return self._needs_choice()

    def _change(self) -> None:
        if (route := self._chosen) is not None:
            self._editor.change(route)

    def _remove(self) -> None:
        if (route := self._chosen) is not None:
            self._editor.remove(route)

    @async_slot
    async def _show_changed(self, name: str) -> None:
        await self._refresh()
        if name:
            self._table.select_keys({f"1 {name}"})

    # --- testing -------------------------------------------------------------------------------------------

    @async_slot_once
    async def _test(self) -> None:
        if (route := self._chosen) is None:
            return
        self._asking = route.name
        self._show()
        try:
            tested = await (await self._workspace.service.ensure()).test_route(route.name)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("testing a route"))
        else:
            self._tested[route.name] = tested
            words = self.tr("{name}: {able} of {all} steps could answer")
            self._shell.say(words.format(name=_shown(route.name), able=able(tested), all=len(tested.steps)))
        finally:
            self._asking = None
        self._show()


def _shown(name: str) -> str:
    return visible_controls(name, NAME_CHARS)


def _about(found: RouteList) -> str:
    if found.servers:
        return _tr("Models of these servers are offered too, as model@server: {servers}.").format(
            servers=", ".join(found.servers)
        )
    if found.routes:
        return ""
    return _tr(
        "None yet. A route gives a model another name, or leads to a list of models here and on known "
        "servers that are asked one after the other until one begins to answer."
    )
