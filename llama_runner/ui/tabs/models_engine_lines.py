"""Engines put into words: the columns of their table, and all that is known of one."""

from PySide6.QtCore import QCoreApplication

from llama_runner.control.values import EngineInfo
from llama_runner.core import format
from llama_runner.ui.theme import Theme
from llama_runner.ui.widgets.facts import Fact
from llama_runner.ui.widgets.tables import Column


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


def state_text(engine: EngineInfo) -> str:
    """Whether it can run models and does, as a mark and a word."""
    if engine.problem is not None:
        return _tr("✕ in use, but does not work") if engine.used else _tr("✕ cannot be used")
    return _tr("● in use") if engine.used else _tr("○ ready")


def _colour(engine: EngineInfo, theme: Theme) -> str:
    colours = theme.colours
    if engine.problem is not None:
        return colours.bad
    return colours.good if engine.used else colours.muted


def tools_text(engine: EngineInfo) -> str:
    """Whether it can make models call tools."""
    if engine.supports_tools is None:
        return format.UNKNOWN
    return _tr("yes") if engine.supports_tools else _tr("no")


def problem_of(engine: EngineInfo) -> str:
    """Why it cannot be used and what to do, or what a person should know of it; empty for nothing."""
    if engine.problem is None:
        return ""
    return f"{engine.problem} {engine.hint or ''}".strip()


def columns(theme: Theme) -> tuple[Column[EngineInfo], ...]:
    """The columns of the table."""
    return (
        Column(_tr("Name"), lambda one: one.name, hint=_tr("How options and profiles choose it.")),
        Column(
            _tr("State"),
            state_text,
            cell_hint=lambda one: problem_of(one) or state_text(one),
            colour=lambda one: _colour(one, theme),
        ),
        Column(_tr("Version"), lambda one: one.version or format.UNKNOWN),
        Column(_tr("Tool calls"), tools_text, hint=_tr("Whether it can make models call tools.")),
        Column(
            _tr("Options lacking"),
            lambda one: format.UNKNOWN if one.supports_tools is None else format.count(len(one.lacks)),
            lambda one: None if one.supports_tools is None else len(one.lacks),
            number=True,
            hint=_tr("Load options that it does not know; a load that wants them is refused."),
        ),
        Column(_tr("Program"), lambda one: one.path or format.UNKNOWN, stretch=True),
    )


def engine_facts(engine: EngineInfo) -> tuple[Fact, ...]:
    """What has no column, and what is too long for one."""
    origins = {
        "configured": _tr("the settings"),
        "PATH": _tr("found on PATH"),
        "demo package": _tr("the demo package"),
    }
    known = (
        (_tr("Program"), engine.path),
        (_tr("From"), origins.get(engine.origin or "", engine.origin)),
        (_tr("Version"), engine.version),
        (_tr("Options it lacks"), ", ".join(engine.lacks)),
        (_tr("Note"), engine.note),
    )
    return tuple(Fact(title, text) for title, text in known if text)
