"""The rows of the table of routes: one step each, what a test said of it, and how that is put into words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from PySide6.QtCore import QCoreApplication

from llama_runner.control.routes import Route, RouteList, RouteStep
from llama_runner.core import format
from llama_runner.ui.theme import Theme
from llama_runner.ui.widgets.tables import Column


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of a route, and its place among them from 1 on.

    Attributes:
        asking: A test of it is on its way.
    """

    name: str
    place: int
    step: RouteStep
    asking: bool = False


def lines_of(
    found: RouteList, tested: Mapping[str, Route] | None = None, asking: str | None = None
) -> tuple[StepLine, ...]:
    """Every step of every route, in order, with what the last test said.

    Args:
        tested: By the route's name.
        asking: The name of the route that is being tested.
    """
    return tuple(
        StepLine(route.name, place, step, asking=route.name == asking)
        for route in found.routes
        for place, step in enumerate(_with_test(route, (tested or {}).get(route.name)), 1)
    )


def _with_test(route: Route, test: Route | None) -> Sequence[RouteStep]:
    """The steps as they are now; a test of other steps says nothing about them."""
    if test is None or targets(test) != targets(route):
        return route.steps
    return tuple(
        replace(now, answered_s=then.answered_s, problem=now.problem or then.problem)
        for now, then in zip(route.steps, test.steps, strict=True)
    )


def targets(route: Route) -> tuple[str, ...]:
    """Where its steps lead, as the settings name it."""
    return tuple(step.target for step in route.steps)


def able(route: Route) -> int:
    """How many of its steps could answer."""
    return sum(step.problem is None for step in route.steps)


def state_text(line: StepLine) -> str:
    """Whether it could answer, as a mark and a word."""
    if line.asking:
        return _tr("◌ asking")
    if line.step.problem is not None:
        return _tr("✕ cannot answer")
    if line.step.passed_over:
        return _tr("◌ passed over")
    if line.step.answered_s is not None:
        return _tr("● answered in {time}").format(time=format.seconds(line.step.answered_s))
    return _tr("● ready to be asked")


def hint(line: StepLine) -> str:
    """The same in a sentence."""
    if line.step.problem is not None:
        return line.step.problem
    if line.step.passed_over:
        return _tr("Its server failed again and again; it is tried every few seconds.")
    return state_text(line)


def _colour(line: StepLine, theme: Theme) -> str:
    colours = theme.colours
    if line.asking:
        return colours.muted
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
        Column(_tr("State"), state_text, cell_hint=hint, colour=lambda line: _colour(line, theme)),
    )
