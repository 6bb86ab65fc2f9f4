"""`ps`: the running model instances."""

import argparse

from llama_runner.cli.local_service import local_service
from llama_runner.cli.render import Output, table
from llama_runner.control.values import Instance
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode


class PsCommand:
    """Lists what the service runs; nothing when there is no service."""

    name = "ps"
    help = "running model instances"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """No arguments of its own."""

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Ask once and print."""
        async with local_service(args) as client:
            instances = (await client.instances()).instances if client else ()
        if client is None:
            out.note("No service is running.")
        out.document({"instances": instances})
        out.text(describe(instances))
        return ExitCode.DONE


def describe(instances: tuple[Instance, ...]) -> str:
    """A table for people, with what is wrong below it."""
    if not instances:
        return "No model is loaded."
    rows = [
        (
            i.model if i.profile is None else f"{i.model} ({i.profile})",
            i.state,
            fmt.UNKNOWN if i.pid is None else str(i.pid),
            i.url or fmt.UNKNOWN,
            fmt.size(i.ram_bytes),
            fmt.size(i.vram_bytes),
            fmt.seconds(i.load_s),
            fmt.count(i.in_flight),
            fmt.seconds(i.idle_s),
            "pinned" if i.pinned else fmt.UNKNOWN if i.unload_in_s is None else fmt.seconds(i.unload_in_s),
        )
        for i in instances
    ]
    faults = [f"{i.model}: {i.note}" for i in instances if i.note]
    faults += [f"{i.model}: {i.error} {i.advice or ''}".rstrip() for i in instances if i.error]
    head = ("model", "state", "pid", "address", "ram", "vram", "load", "in work", "idle", "leaves in")
    return "\n".join((table(head, rows), *faults))
