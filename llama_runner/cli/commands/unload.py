"""`unload`: have the service stop a model."""

import argparse

from llama_runner.cli.local_service import find_instances, local_service, no_service
from llama_runner.cli.render import Output
from llama_runner.core.errors import ExitCode, UsageError


class UnloadCommand:
    """Ends when the model's process is gone."""

    name = "unload"
    help = "unload a model"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument("model", metavar="MODEL", nargs="?", help="a loaded model, or an instance's id")
        parser.add_argument("--all", action="store_true", help="every loaded model")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Unload one or all."""
        if bool(args.model) == args.all:
            raise UsageError("Say which model to unload.", "Give its id as `ps` shows it, or --all.")
        async with local_service(args) as client:
            if client is None:
                raise no_service()
            if args.all:
                ids = tuple(i.id for i in (await client.instances()).instances)
            else:
                ids = await find_instances(client, args.model)
            for instance_id in ids:
                await client.unload(instance_id)
        out.document({"unloaded": ids})
        out.text("Nothing was loaded." if not ids else f"Unloaded: {', '.join(ids)}.")
        return ExitCode.DONE
