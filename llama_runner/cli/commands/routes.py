"""`routes`: names that programs may ask for, and the models here or elsewhere that answer for them."""

import argparse
import asyncio
from collections.abc import Callable
from typing import Final

from llama_runner.cli.context import home_of
from llama_runner.cli.local_service import local_service, no_service, tell_service
from llama_runner.cli.render import Output, table
from llama_runner.control.routes import Route, RouteList, RouteStep
from llama_runner.core import format as fmt
from llama_runner.core.config import load_app_config
from llama_runner.core.errors import ExitCode
from llama_runner.core.serving_edits import with_route, without_route
from llama_runner.core.settings import AppConfig
from llama_runner.core.text import visible_controls
from llama_runner.system.config_changes import edit_app_config

_HEAD: Final = ("name", "step", "model", "where", "state")


class RoutesCommand:
    """Changes the settings; a running service follows at once, and is asked to test."""

    name = "routes"
    help = "names that lead to models here or on known servers, one after the other until one answers"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the actions."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        actions.add_parser("list", help="every route and where it leads")
        add = actions.add_parser("add", help="add a route, or give one other steps")
        add.add_argument("name", metavar="NAME", help="what programs ask for")
        add.add_argument(
            "steps",
            metavar="MODEL",
            nargs="+",
            help="a model here, or model@server with the address of a known server; in the order tried",
        )
        for name, text in (("remove", "forget a route"), ("test", "ask each step whether it could answer")):
            actions.add_parser(name, help=text).add_argument("name", metavar="NAME")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Do the action and show the routes."""
        match args.action:
            case "add":
                await _edit(args, lambda config: with_route(config, args.name, args.steps))
                await tell_service(args, out)
            case "remove":
                await _edit(args, lambda config: without_route(config, args.name))
                await tell_service(args, out)
            case "test":
                return await _test(args, out)
        found = await _routes(args)
        out.document(found)
        out.text(describe(found))
        return ExitCode.DONE


async def _test(args: argparse.Namespace, out: Output) -> ExitCode:
    async with local_service(args) as client:
        if client is None:
            raise no_service()
        route = await client.test_route(args.name)
    out.document(route)
    out.text(describe(RouteList((route,))))
    able = any(step.problem is None for step in route.steps)
    return ExitCode.DONE if able else ExitCode.UNREACHABLE


async def _edit(args: argparse.Namespace, edit: Callable[[AppConfig], AppConfig]) -> None:
    await asyncio.to_thread(edit_app_config, home_of(args), edit)


async def _routes(args: argparse.Namespace) -> RouteList:
    """As the running service sees them, else as the settings say."""
    async with local_service(args) as client:
        if client is not None:
            return await client.routes()
    proxy = load_app_config(home_of(args)).value.proxy
    return RouteList(
        tuple(
            Route(name, tuple(RouteStep(text, _where(text)) for text in entry.steps))
            for name, entry in proxy.routes.items()
        ),
        proxy.servers,
    )


def _where(step: str) -> str:
    return step.rpartition("@")[2] if "@" in step else "local"


def describe(found: RouteList) -> str:
    """A table for people, and the servers whose models are offered as they are."""
    if not found.routes and not found.servers:
        return "There are no routes. Add one: routes add NAME MODEL [MODEL@SERVER ...]"
    rows = [
        (
            visible_controls(route.name, 60) if number == 1 else "",
            str(number),
            visible_controls(step.target, 80),
            step.where,
            _state(step),
        )
        for route in found.routes
        for number, step in enumerate(route.steps, 1)
    ]
    lines = [table(_HEAD, rows)] if rows else []
    lines += [f"models of {server} are offered as model@server" for server in found.servers]
    return "\n".join(lines)


def _state(step: RouteStep) -> str:
    if step.problem:
        return step.problem
    if step.answered_s is not None:
        return f"answers in {fmt.seconds(step.answered_s)}"
    return "passed over for now: it failed again and again" if step.passed_over else ""
