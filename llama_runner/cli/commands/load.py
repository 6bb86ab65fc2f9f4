"""`load`: have the service load a model, and wait until it is ready."""

import argparse
import shlex
from contextlib import AsyncExitStack

from llama_runner.cli.context import home_of
from llama_runner.cli.load_arguments import add_load_options, given_load_options
from llama_runner.cli.local_service import local_service, no_service
from llama_runner.cli.render import Output
from llama_runner.control.client import ControlClient
from llama_runner.control.launcher import attach_or_start
from llama_runner.control.values import MAX_WAIT_S, Instance, Plan, PlannedModel, PlanPart
from llama_runner.core import format as fmt
from llama_runner.core.errors import EngineError, ExitCode
from llama_runner.core.load_options import NO_OPTIONS
from llama_runner.net.client import open_http


class LoadCommand:
    """The model stays loaded when the command ends: it belongs to the service."""

    name = "load"
    help = "load a model"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument("model", metavar="MODEL", help="id as `models` lists it")
        parser.add_argument("--profile", metavar="NAME", help="one of its profiles; '' for none")
        parser.add_argument(
            "--reload", action="store_true", help="load it anew when it is loaded in another way"
        )
        add_load_options(parser)
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
            options = given_load_options(args)
            plan = await client.plan(args.model, options, profile=args.profile)
            if args.plan:
                out.document(plan)
                out.text(describe_plan(plan))
                return ExitCode.DONE
            if plan.evict:
                out.note(describe_plan(plan))
            elif plan.warnings:
                out.note("\n".join(plan.warnings))
            started = await client.load(args.model, options, profile=args.profile, reload=args.reload)
            instance = await until_ready(client, started, out)
            if args.pin:
                instance = await client.pin(instance.id, True)
        out.document(instance)
        out.text(f"{instance.model} is ready at {instance.url} after {fmt.seconds(instance.load_s)}.")
        if instance.note:
            out.note(instance.note)
        if plan.loaded and not args.reload and (args.profile is not None or options != NO_OPTIONS):
            out.note("It was loaded already and stays as it is; --reload loads it as you say.")
        return ExitCode.DONE


def describe_plan(plan: Plan) -> str:
    """The plan in sentences, and the command line at its end."""
    if plan.loaded:
        return f"{plan.model} is loaded already."
    how = "took" if plan.measured else "takes about"
    profile = f" with the profile {plan.profile}" if plan.profile else ""
    lines = [
        f"{plan.model}{profile} {how} {fmt.size(plan.need_bytes)}; {fmt.size(plan.free_bytes)} are free."
    ]
    lines += [_part(part) for part in plan.parts]
    if plan.gpu_layers is not None:
        lines.append(
            f"{fmt.count(plan.gpu_layers)} of {fmt.count(plan.layers)} layers go to graphics cards: "
            f"{fmt.size(plan.need_vram_bytes)}, {fmt.size(plan.free_vram_bytes)} are free."
        )
    lines += [f"{one.model} leaves: {_doing(one)}." for one in plan.evict]
    lines += [f"{one.model} stays: {_doing(one)}." for one in plan.keep]
    if not plan.fits:
        lines.append("There is no room for it.")
    elif plan.load_s is not None:
        lines.append(f"Ready in about {fmt.seconds(plan.load_s)}.")
    lines += plan.warnings
    if plan.command:
        lines.append(f"$ {shlex.join(plan.command)}")
    return "\n".join(lines)


def _part(part: PlanPart) -> str:
    on_cards = f", {fmt.size(part.vram_bytes)} of it on graphics cards" if part.vram_bytes else ""
    return f"  {part.name:8} {fmt.size(part.ram_bytes + part.vram_bytes)}{on_cards}"


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
