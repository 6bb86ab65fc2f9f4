"""`load`: have the service load a model, and wait until it is ready."""

import argparse
from contextlib import AsyncExitStack
from typing import Any

from llama_runner.cli.context import home_of
from llama_runner.cli.local_service import local_service, no_service
from llama_runner.cli.render import Output
from llama_runner.control.client import ControlClient
from llama_runner.control.launcher import attach_or_start
from llama_runner.control.values import MAX_WAIT_S, Instance, Plan, PlannedModel
from llama_runner.core import format as fmt
from llama_runner.core.errors import EngineError, ExitCode
from llama_runner.core.load_options import FLAGS, Group, LoadOptions, kinds_of, parse_options
from llama_runner.net.client import open_http


class LoadCommand:
    """The model stays loaded when the command ends: it belongs to the service."""

    name = "load"
    help = "load a model"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument("model", metavar="MODEL", help="id as `models` lists it")
        _add_options(parser)
        parser.add_argument("--plan", action="store_true", help="only say what loading would mean")
        parser.add_argument("--pin", action="store_true", help="keep it whatever else wants room")
        parser.add_argument("--start", action="store_true", help="start a service that keeps running")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Load and wait."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(local_service(args))
            if client is None:
                if not args.start:
                    raise no_service("add --start")
                http = await stack.enter_async_context(open_http())
                connection = await attach_or_start(
                    home_of(args), http=http, demo=args.demo, keep_serving=True
                )
                stack.push_async_callback(connection.close)
                client = connection.client
            options = _options(args)
            plan = await client.plan(args.model, options)
            if args.plan:
                out.document(plan)
                out.text(describe_plan(plan))
                return ExitCode.DONE
            if plan.evict:
                out.note(describe_plan(plan))
            instance = await until_ready(client, await client.load(args.model, options), out)
            if args.pin:
                instance = await client.pin(instance.id, True)
        out.document(instance)
        out.text(f"{instance.model} is ready at {instance.url} after {fmt.seconds(instance.load_s)}.")
        return ExitCode.DONE


def _add_options(parser: argparse.ArgumentParser) -> None:
    """An argument for every option of the catalogue, in its groups."""
    groups = {group: parser.add_argument_group(group.value) for group in Group}
    for name, flag in FLAGS.items():
        info = LoadOptions.model_fields[name]
        help_text = (info.description or "").replace("%", "%%")
        metavar = _shown(kinds_of(name))
        groups[flag.group].add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=help_text)


def _shown(kinds: tuple[Any, ...]) -> str:
    """What an option takes, for its help."""
    if kinds == (bool,):
        return "yes|no"
    if kinds == (tuple,):
        return "N,N"
    if kinds in ((int,), (float,)):
        return "N"
    return "|".join(kinds) if all(isinstance(kind, str) for kind in kinds) else "NAME"


def _options(args: argparse.Namespace) -> LoadOptions:
    given = {name: getattr(args, name) for name in FLAGS if getattr(args, name) is not None}
    return parse_options({name: _value(name, text) for name, text in given.items()})


def _value(name: str, text: str) -> object:
    """A text of the command line as the option's own kind, where it is one: the rest is said by the check."""
    kinds = kinds_of(name)
    if kinds == (bool,):
        return {"yes": True, "no": False}.get(text, text)
    return tuple(text.split(",")) if kinds == (tuple,) else text


def describe_plan(plan: Plan) -> str:
    """The plan in sentences."""
    if plan.loaded:
        return f"{plan.model} is loaded already."
    how = "took" if plan.measured else "takes about"
    lines = [f"{plan.model} {how} {fmt.size(plan.need_bytes)}; {fmt.size(plan.free_bytes)} are free."]
    lines += [f"{one.model} leaves: {_doing(one)}." for one in plan.evict]
    lines += [f"{one.model} stays: {_doing(one)}." for one in plan.keep]
    if not plan.fits:
        lines.append("There is no room for it.")
    elif plan.load_s is not None:
        lines.append(f"Ready in about {fmt.seconds(plan.load_s)}.")
    return "\n".join(lines)


def _doing(one: PlannedModel) -> str:
    if one.pinned:
        return "pinned"
    if one.in_flight:
        return f"{fmt.count(one.in_flight)} in work, which it finishes"
    return f"idle for {fmt.seconds(one.idle_s)}" if one.idle_s is not None else "loading"


async def until_ready(client: ControlClient, wanted: Instance, out: Output) -> Instance:
    """Follow a loading instance until it is ready. Raises EngineError when it never will be."""
    seen = await client.instances()
    while True:
        instance = next((i for i in seen.instances if i.id == wanted.id), None)
        if instance is None or instance.state in ("failed", "stopped", "stopping"):
            out.progress("")
            raise _never_ready(instance or wanted)
        if instance.state == "ready":
            out.progress("")
            return instance
        out.progress(progress_line(instance))
        seen = await client.instances(after=seen.revision, wait_s=MAX_WAIT_S)


def _never_ready(instance: Instance) -> EngineError:
    return EngineError(
        instance.error or f"{instance.model} was stopped before it was ready.",
        instance.advice or f"See `llama-runner logs {instance.model}`.",
    )


def progress_line(instance: Instance) -> str:
    """What a terminal shows meanwhile."""
    share = "" if instance.progress is None else f" {fmt.percent(100 * instance.progress)}"
    return f"Loading {instance.model}{share} …"
