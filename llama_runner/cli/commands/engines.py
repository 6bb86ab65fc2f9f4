"""`engines`: the llama-servers to choose from, and what each can do."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from llama_runner.cli.context import home_of
from llama_runner.cli.local_service import local_service
from llama_runner.cli.render import Output, table
from llama_runner.control.serving import EngineList
from llama_runner.control.values import EngineInfo
from llama_runner.core import format as fmt
from llama_runner.core.config import load_app_config, save_app_config
from llama_runner.core.consistency import BUILT_IN_ENGINES
from llama_runner.core.errors import ConfigError, EngineError, ExitCode, NotFoundError, UsageError
from llama_runner.core.fields import BadText
from llama_runner.core.option_types import check_engine_name
from llama_runner.core.paths import Home
from llama_runner.core.settings import NamedEngine, RuntimeSettings
from llama_runner.runtime.engine import EngineProbes
from llama_runner.runtime.engines import DEFAULT
from llama_runner.service.engine import describe_engine, describe_engines

_SYSTEM = "windows" if sys.platform == "win32" else "linux"


class EnginesCommand:
    """Lists through the service when one runs; what changes is written to the settings."""

    name = "engines"
    help = "the llama-servers to choose from: list, add, remove, check, use"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the actions; without one they are listed."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION")
        actions.add_parser("list", help="all of them")
        add = actions.add_parser("add", help="give a llama-server a name")
        add.add_argument("engine", metavar="NAME")
        add.add_argument("path", metavar="PATH", type=Path, help="its program")
        add.add_argument("--tools", choices=("yes", "no"), help="whether it can make models call tools")
        for name, text in (("remove", "forget one"), ("use", "run models with it that name no other")):
            action = actions.add_parser(name, help=text)
            action.add_argument("engine", metavar="NAME", help="default is what the engine path finds")
        check = actions.add_parser("check", help="start one, or each, to see what it can do")
        check.add_argument("engine", metavar="NAME", nargs="?")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Do the action. Raises EngineError when the one in question cannot be used."""
        match args.action:
            case "add":
                return await _add(args, out)
            case "remove":
                return _remove(args, out)
            case "use":
                return await _use(args, out)
            case "check":
                return await _check(args, out)
            case _:
                return await _list(args, out)


async def _list(args: argparse.Namespace, out: Output) -> ExitCode:
    async with local_service(args) as client:
        found = await client.engines() if client else await _look(args)
    alone = found.engines[0] if len(found.engines) == 1 else None
    if alone is not None and alone.problem:
        raise EngineError(alone.problem, alone.hint or "")
    out.document(found)
    out.text(describe(alone) if alone is not None else describe_all(found))
    return ExitCode.DONE


async def _look(args: argparse.Namespace) -> EngineList:
    return await describe_engines(_settings(home_of(args)), demo=args.demo, probes=EngineProbes())


async def _check(args: argparse.Namespace, out: Output) -> ExitCode:
    found = await _look(args)
    if args.engine is not None:
        found = EngineList(tuple(one for one in found.engines if one.name == args.engine))
        if not found.engines:
            raise _unknown(_settings(home_of(args)), args.engine)
    out.document(found)
    out.text("\n\n".join(map(describe, found.engines)))
    return ExitCode.FAILED if any(one.problem for one in found.engines) else ExitCode.DONE


async def _add(args: argparse.Namespace, out: Output) -> ExitCode:
    name = _checked_name(args.engine)
    home = home_of(args)
    path = str(await asyncio.to_thread(args.path.expanduser().absolute))
    settings = _settings(home)
    known = settings.engines.get(name, NamedEngine())
    tools = known.supports_tools if args.tools is None else args.tools == "yes"
    try:
        entry = NamedEngine.model_validate({**dict(known), _SYSTEM: path, "supports_tools": tools})
    except ValidationError as error:
        raise UsageError(
            f"{path} cannot be the path of an engine.",
            "Give a full path on this machine, in plain characters.",
        ) from error
    engines = {**settings.engines, name: entry}
    found = await describe_engine(
        settings.model_copy(update={"engines": engines}), demo=False, probes=EngineProbes(), name=name
    )
    if found.problem:
        raise EngineError(found.problem, found.hint or "")
    _save(home, {"engines": engines})
    out.document(EngineList((found,)))
    out.text(describe(found))
    return ExitCode.DONE


def _remove(args: argparse.Namespace, out: Output) -> ExitCode:
    home = home_of(args)
    settings = _settings(home)
    if args.engine not in settings.engines:
        raise _unknown(settings, args.engine)
    engines = {name: entry for name, entry in settings.engines.items() if name != args.engine}
    chosen = None if settings.engine == args.engine else settings.engine
    _save(home, {"engines": engines, "engine": chosen})
    out.document({"removed": args.engine, "engine": chosen or DEFAULT})
    out.text(f"{args.engine} is no engine any more; its program was not touched.")
    return ExitCode.DONE


async def _use(args: argparse.Namespace, out: Output) -> ExitCode:
    home, name = home_of(args), args.engine
    settings = _settings(home)
    if name != DEFAULT and name not in settings.engines:
        raise _unknown(settings, name)
    found = await describe_engine(settings, demo=False, probes=EngineProbes(), name=name)
    if found.problem:
        raise EngineError(found.problem, found.hint or "")
    _save(home, {"engine": None if name == DEFAULT else name})
    out.document({"engine": name})
    out.text(f"{name} runs models from the next load on.")
    return ExitCode.DONE


def _settings(home: Home) -> RuntimeSettings:
    return load_app_config(home).value.runtime


def _save(home: Home, changes: Mapping[str, object]) -> None:
    loaded = load_app_config(home)
    if loaded.unusable:
        raise ConfigError(loaded.problems[0].message, "Mend the file first; nothing was saved.")
    runtime = loaded.value.runtime.model_copy(update=dict(changes))
    save_app_config(home, loaded.value.model_copy(update={"runtime": runtime}))


def _checked_name(name: str) -> str:
    try:
        check_engine_name(name)
    except BadText as error:
        raise UsageError(f"The name of an engine must be {error}.", "Choose another.") from error
    if name in BUILT_IN_ENGINES:
        raise UsageError(f"{name} means an engine already.", "Choose another name.")
    return name


def _unknown(settings: RuntimeSettings, name: str) -> NotFoundError:
    known = ", ".join(settings.engines) or "none"
    return NotFoundError(f"There is no engine {name[:80]!r}.", f"Named engines: {known}. See `engines add`.")


def describe(engine: EngineInfo) -> str:
    """A few lines for people."""
    tools = engine.supports_tools
    lines = (
        f"engine   {engine.name}{' (used)' if engine.used else ''}" if engine.name != DEFAULT else "",
        f"path     {engine.path or fmt.UNKNOWN}",
        f"version  {engine.version or 'unknown'}",
        f"from     {engine.origin or fmt.UNKNOWN}",
        f"tools    {'yes' if tools else 'no'}" if tools is not None else "",
        f"lacks    {', '.join(engine.lacks)}" if engine.lacks else "",
        engine.note or "",
        f"{engine.problem} {engine.hint or ''}" if engine.problem else "",
    )
    return "\n".join(line for line in lines if line)


def describe_all(found: EngineList) -> str:
    """A table for people, with what is wrong below it."""
    rows = [
        (
            one.name,
            "used" if one.used else "",
            one.version or fmt.UNKNOWN,
            fmt.UNKNOWN if one.supports_tools is None else "yes" if one.supports_tools else "no",
            str(len(one.lacks)) if one.supports_tools is not None else fmt.UNKNOWN,
            one.path or fmt.UNKNOWN,
        )
        for one in found.engines
    ]
    faults = [f"{one.name}: {one.problem} {one.hint or ''}" for one in found.engines if one.problem]
    return "\n".join((table(("engine", "", "version", "tools", "options lacking", "path"), rows), *faults))
