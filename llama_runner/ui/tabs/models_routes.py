"""Other names that programs may ask for, and where each leads: shown here, changed by commands."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QVBoxLayout, QWidget

from llama_runner.control.routes import RouteList, RouteStep
from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.theme import SPACE_XS, Theme
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.tables import Column, DataTable

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of a route, and its place among them from 1 on."""

    name: str
    place: int
    step: RouteStep


def lines_of(found: RouteList) -> tuple[StepLine, ...]:
    """Every step of every route, in order."""
    return tuple(
        StepLine(route.name, place, step)
        for route in found.routes
        for place, step in enumerate(route.steps, 1)
    )


def state_text(line: StepLine) -> str:
    """Whether it could answer, as a mark and a word."""
    if line.step.problem is not None:
        return _tr("✕ cannot answer")
    return _tr("◌ passed over") if line.step.passed_over else _tr("● ready to be asked")


def _hint(line: StepLine) -> str:
    if line.step.problem is not None:
        return line.step.problem
    if line.step.passed_over:
        return _tr("Its server failed again and again; it is tried every few seconds.")
    return state_text(line)


def _colour(line: StepLine, theme: Theme) -> str:
    colours = theme.colours
    if line.step.problem is not None:
        return colours.bad
    return colours.warning if line.step.passed_over else colours.good


def columns(theme: Theme) -> tuple[Column[StepLine], ...]:
    """The columns of the table."""
    return (
        Column(_tr("Name"), lambda line: line.name, hint=_tr("What a program asks for.")),
        Column(
            _tr("Step"),
            lambda line: format.count(line.place),
            lambda line: line.place,
            number=True,
            hint=_tr("The next one is asked when this one fails before its answer begins."),
        ),
        Column(_tr("Leads to"), lambda line: line.step.target, stretch=True),
        Column(
            _tr("Where"),
            lambda line: _tr("this computer") if line.step.where == "local" else line.step.where,
        ),
        Column(_tr("State"), state_text, cell_hint=_hint, colour=lambda line: _colour(line, theme)),
    )


class RoutesView(QWidget):
    """A table, or how to make the first route."""

    def __init__(self, workspace: "Workspace", theme: Theme) -> None:
        super().__init__()
        self._workspace = workspace
        title = PlainLabel(self.tr("Other names, and where they lead"), bold=True)
        self._about = PlainLabel(muted=True, wrap=True, selectable=True)
        self._about.setAccessibleName(self.tr("About other names"))
        self._table: DataTable[StepLine] = DataTable(
            columns(theme), lambda line: f"{line.place} {line.name}", name=self.tr("Other names of models")
        )
        title.setBuddy(self._table)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_XS)
        column.addWidget(title)
        column.addWidget(self._about)
        column.addWidget(self._table, 1)
        column.addStretch(0)
        self._show(RouteList(()))

    @async_slot_once
    async def ask(self) -> None:
        """Bring it up to date."""
        try:
            self._show(await (await self._workspace.service.ensure()).routes())
        except LlamaRunnerError:
            # The service went away; the link notices and says so.
            return

    def _show(self, found: RouteList) -> None:
        lines = lines_of(found)
        self._table.set_rows(lines)
        self._table.setVisible(bool(lines))
        self._about.setText(_about(found))
        self._about.setVisible(bool(self._about.text()))


def _about(found: RouteList) -> str:
    if found.servers:
        return _tr("Models of these servers are offered too, as model@server: {servers}.").format(
            servers=", ".join(found.servers)
        )
    if found.routes:
        return ""
    return _tr(
        "None yet. `llama-runner routes add NAME MODEL…` gives a model another name, or a list of models "
        "and servers that are asked one after the other."
    )
