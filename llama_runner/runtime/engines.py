"""Several llama-servers side by side: which one runs a model, and what each of them can do."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llama_runner.core.consistency import BUILT_IN_ENGINES
from llama_runner.core.errors import EngineError, NotFoundError
from llama_runner.core.load_options import FLAGS, LoadOptions
from llama_runner.core.settings import EnginePath, NamedEngine, RuntimeSettings
from llama_runner.core.text import visible_controls
from llama_runner.runtime.engine import EngineChoice, EngineInfo, EngineProbes, demo_engine, find_engine

# What the engine path, PATH and the demo package decide; and the demo engine whatever they say.
DEFAULT, DEMO = BUILT_IN_ENGINES


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One engine and what it can do.

    Attributes:
        used: Whether it runs models that name none.
        supports_tools: Whether it can make models call tools: as the settings say, else by its options.
        lacks: Load options of the catalogue that it does not know.
        problem: Why it cannot be used; `hint` what to do about it.
    """

    name: str
    path: str | None = None
    origin: str | None = None
    version: str | None = None
    note: str | None = None
    used: bool = False
    supports_tools: bool | None = None
    lacks: tuple[str, ...] = ()
    problem: str | None = None
    hint: str | None = None


def engine_name(settings: RuntimeSettings, options: LoadOptions, *, demo: bool = False) -> str:
    """Which engine a model with these options runs on; with `demo` no setting chooses another."""
    return options.engine or (None if demo else settings.engine) or DEFAULT


def choose_engine(
    settings: RuntimeSettings,
    name: str,
    *,
    demo: bool = False,
    env: Mapping[str, str] | None = None,
    platform: str = sys.platform,
) -> EngineChoice:
    """The engine of that name.

    Args:
        demo: The usual one is the demo engine.
        env: Says what PATH is; None takes this process's.

    Raises:
        NotFoundError: No engine has that name.
        EngineError: It is not there, or no program.
    """
    if name == DEFAULT:
        return find_engine(settings, demo=demo, env=env, platform=platform)
    if name == DEMO and (packaged := demo_engine()):
        return EngineChoice(packaged, "demo package")
    named = settings.engines.get(name)
    if named is None:
        known = ", ".join([DEFAULT, *settings.engines])
        raise NotFoundError(
            f"There is no engine {visible_controls(name, 80)}.",
            f"Known engines: {known}. Add it with `engines add`.",
            tuple(settings.engines),
        )
    return _named(settings, name, named, platform)


def _named(settings: RuntimeSettings, name: str, named: NamedEngine, platform: str) -> EngineChoice:
    path = named.on(platform)
    if not path or not Path(path).exists():
        where = f"at {path}" if path else "given for this system"
        raise EngineError(
            f"The engine {name} is not {where}.", f"Give its path again with `engines add {name} PATH`."
        )
    # The same checks as for the engine path; being there, it is the one that is found.
    paths = EnginePath(windows=path) if platform == "win32" else EnginePath(linux=path)
    return find_engine(settings.model_copy(update={"engine_path": paths}), platform=platform)


async def report(
    settings: RuntimeSettings, name: str, probes: EngineProbes, *, demo: bool = False
) -> EngineReport:
    """What one engine is and can do, or why it cannot be used. Never raises for a bad engine."""
    used = name == engine_name(settings, LoadOptions(), demo=demo)
    try:
        choice = choose_engine(settings, name, demo=demo)
    except (EngineError, NotFoundError) as error:
        return EngineReport(name, used=used, problem=error.message, hint=error.hint)
    path, note = str(choice.path), choice.note or None
    try:
        info = await probes.info(choice.path)
    except EngineError as error:
        return EngineReport(
            name, path, choice.origin, None, note, used, problem=error.message, hint=error.hint
        )
    told = settings.engines.get(name)
    return EngineReport(
        name,
        path,
        choice.origin,
        info.version,
        note,
        used,
        supports_tools=can_call_tools(info, told),
        lacks=lacking(info.flags),
    )


async def usable(settings: RuntimeSettings, name: str, probes: EngineProbes) -> EngineReport:
    """What one engine is and can do. Raises EngineError when it cannot be used."""
    found = await report(settings, name, probes)
    if found.problem:
        raise EngineError(found.problem, found.hint or "")
    return found


def names(settings: RuntimeSettings) -> tuple[str, ...]:
    """Every engine there is to choose from, the usual one first."""
    return (DEFAULT, *settings.engines)


def can_call_tools(info: EngineInfo, told: NamedEngine | None) -> bool:
    """Tool calls need the model's own template, and an engine that can compute one."""
    if told is not None and told.supports_tools is not None:
        return told.supports_tools
    return "--jinja" in info.flags


def lacking(flags: Iterable[str]) -> tuple[str, ...]:
    """Load options that an engine with these flags does not know."""
    known = frozenset(flags)
    return tuple(name for name, flag in FLAGS.items() if flag.name and flag.name not in known)
