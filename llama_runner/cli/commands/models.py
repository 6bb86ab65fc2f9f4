"""`models`: the model files that can be loaded here, or what a server offers."""

import argparse
import asyncio

from llama_runner.cli.api_key import add_api_key_options, names_api_key
from llama_runner.cli.commands.server_models import list_server
from llama_runner.cli.context import home_of
from llama_runner.cli.local_service import local_service
from llama_runner.cli.render import Output, table
from llama_runner.control.values import ModelList
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode, UsageError


class ModelsCommand:
    """Files: asks the service when one runs, as it may look elsewhere; looks itself otherwise."""

    name = "models"
    help = "model files that were found, or a server's models"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the server to ask instead."""
        parser.add_argument("--server", metavar="URL", help="list what this server offers")
        parser.add_argument("--model", metavar="ID", help="all that the server says about one of them")
        add_api_key_options(parser)

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Look once and print."""
        if args.server is not None:
            return await list_server(args, out)
        if args.model is not None or names_api_key(args):
            raise UsageError("--model and a key go with a server.", "Name it with --server.")
        async with local_service(args) as client:
            found = await client.models() if client else await asyncio.to_thread(_look, args)
        out.document(found)
        out.text(describe(found))
        for problem in found.problems:
            out.note(problem)
        return ExitCode.DONE


def _look(args: argparse.Namespace) -> ModelList:
    from llama_runner.core.config import load_app_config, load_models_config
    from llama_runner.runtime.catalogue import find_models
    from llama_runner.service.views import model_list_view

    home = home_of(args)
    config, entries = load_app_config(home).value, load_models_config(home).value
    return model_list_view(find_models(config, entries, home, include_demo=args.demo))


def describe(found: ModelList) -> str:
    """A table for people, with what is wrong below it."""
    if not found.models:
        return "No model was found. Put GGUF files into the models folder, or use --demo for a small one."
    rows = [
        (
            m.id,
            fmt.size(m.size_bytes),
            m.architecture or fmt.UNKNOWN,
            m.quantization or fmt.UNKNOWN,
            fmt.count(m.context_length),
            m.origin,
        )
        for m in found.models
    ]
    faults = [f"{m.id}: {m.problem}" for m in found.models if m.problem]
    return "\n".join((table(("model", "size", "family", "quantization", "context", "from"), rows), *faults))
