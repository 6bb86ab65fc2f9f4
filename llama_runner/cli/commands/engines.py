"""`engines`: which llama-server is used, and what it can do."""

import argparse

from llama_runner.cli.context import home_of
from llama_runner.cli.local_service import local_service
from llama_runner.cli.render import Output
from llama_runner.control.values import EngineInfo
from llama_runner.core.errors import EngineError, ExitCode


class EnginesCommand:
    """Asks the service when one runs; asks the program itself otherwise."""

    name = "engines"
    help = "which llama-server is used, and what it can do"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """No arguments of its own."""

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Find the engine and print it. Raises EngineError when there is none."""
        async with local_service(args) as client:
            engine = await client.engine() if client else await _look(args)
        if engine.problem:
            raise EngineError(engine.problem, engine.hint or "")
        out.document({"engines": [engine]})
        out.text(describe(engine))
        return ExitCode.DONE


async def _look(args: argparse.Namespace) -> EngineInfo:
    from llama_runner.core.config import load_app_config
    from llama_runner.runtime.engine import EngineProbes
    from llama_runner.service.engine import describe_engine

    settings = load_app_config(home_of(args)).value.runtime
    return await describe_engine(settings, demo=args.demo, probes=EngineProbes())


def describe(engine: EngineInfo) -> str:
    """A few lines for people."""
    lines = (
        f"path     {engine.path}",
        f"version  {engine.version or 'unknown'}",
        f"from     {engine.origin}",
        engine.note or "",
    )
    return "\n".join(line for line in lines if line)
