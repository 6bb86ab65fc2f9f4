"""`engines`: the llama-servers to choose from, and what each can do."""

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from llama_runner.cli.context import home_of
from llama_runner.cli.local_service import local_service
from llama_runner.cli.render import Output, table
from llama_runner.control.serving import EngineList
from llama_runner.control.values import EngineInfo
from llama_runner.core import format as fmt
from llama_runner.core.config import load_app_config
from llama_runner.core.errors import EngineError, ExitCode
from llama_runner.core.paths import Home
from llama_runner.core.serving_edits import (
    no_such_engine,
    using_engine,
    with_engine,
    without_engine,
)
from llama_runner.core.settings import AppConfig, RuntimeSettings
from llama_runner.runtime.engine import EngineProbes
from llama_runner.runtime.engines import DEFAULT, usable
from llama_runner.service.engine import describe_engines, engine_view
from llama_runner.system.config_changes import edit_app_config


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
                return await _remove(args, out)
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
            raise no_such_engine(_settings(home_of(args)), args.engine)
    out.document(found)
    out.text("\n\n".join(map(describe, found.engines)))
    return ExitCode.FAILED if any(one.problem for one in found.engines) else ExitCode.DONE


async def _add(args: argparse.Namespace, out: Output) -> ExitCode:
    name, home = args.engine, home_of(args)
    path = str(await asyncio.to_thread(args.path.expanduser().absolute))
    known = _settings(home).engines.get(name)
    tools = args.tools == "yes" if args.tools else known.supports_tools if known else None

    def edit(config: AppConfig) -> AppConfig:
        return with_engine(config, name, path, tools)

    found = await usable(edit(load_app_config(home).value).runtime, name, EngineProbes())
    await _edit(home, edit)
    shown = engine_view(found)
    out.document(EngineList((shown,)))
    out.text(describe(shown))
    return ExitCode.DONE


async def _remove(args: argparse.Namespace, out: Output) -> ExitCode:
    after = await _edit(home_of(args), lambda config: without_engine(config, args.engine))
    out.document({"removed": args.engine, "engine": after.runtime.engine or DEFAULT})
    out.text(f"{args.engine} is no engine any more; its program was not touched.")
    return ExitCode.DONE


async def _use(args: argparse.Namespace, out: Output) -> ExitCode:
    home, name = home_of(args), args.engine
    wanted = using_engine(load_app_config(home).value, name)
    await usable(wanted.runtime, name, EngineProbes())
    await _edit(home, lambda config: using_engine(config, name))
    out.document({"engine": name})
    out.text(f"{name} runs models from the next load on.")
    return ExitCode.DONE


def _settings(home: Home) -> RuntimeSettings:
    return load_app_config(home).value.runtime


async def _edit(home: Home, edit: Callable[[AppConfig], AppConfig]) -> AppConfig:
    """Change the settings, and what they are then."""
    _, after = await asyncio.to_thread(edit_app_config, home, edit)
    return after


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
