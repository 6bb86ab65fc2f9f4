"""The local service as commands use it: found quickly, and a clear sentence when there is none."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llama_runner.cli.context import home_of
from llama_runner.cli.render import Output
from llama_runner.control.client import ControlClient
from llama_runner.control.launcher import attach
from llama_runner.control.runfile import running_service
from llama_runner.core.errors import NotFoundError, ServerError, ServiceError
from llama_runner.net.client import open_http


@asynccontextmanager
async def local_service(args: argparse.Namespace) -> AsyncIterator[ControlClient | None]:
    """The running service of the command's home, None when there is none."""
    home = home_of(args)
    if running_service(home) is None:
        yield None
        return
    async with open_http() as http:
        client = await attach(home, http=http)
        if client is None:
            raise ServiceError("The service runs but does not answer.", f"See the log in {home.logs_dir}.")
        yield client


async def tell_service(args: argparse.Namespace, out: Output) -> None:
    """Have the running service, if any, follow the file now; it would with the next request otherwise."""
    try:
        async with local_service(args) as client:
            if client is None:
                return
            health = await client.reload()
            for problem in filter(None, (health.openai.problem, health.ollama.problem)):
                out.note(problem)
    except (ServerError, ServiceError) as error:
        out.note(f"The running service was not told: {error.message}")


async def find_instances(client: ControlClient, wanted: str) -> tuple[str, ...]:
    """Ids of the instances that `wanted` names, by their own id or by their model. Raises NotFoundError."""
    instances = (await client.instances()).instances
    found = tuple(i.id for i in instances if wanted == i.id) or tuple(
        i.id for i in instances if wanted == i.model
    )
    if not found:
        running = ", ".join(sorted({i.model for i in instances})) or "none"
        raise NotFoundError(f"{wanted[:100]!r} is not loaded.", f"Loaded models: {running}.")
    return found


def no_service(otherwise: str = "") -> ServiceError:
    """What to say when a command needs the service; `otherwise` is one more thing to do."""
    advice = "Start one with `llama-runner serve` in another terminal, or open the window"
    return ServiceError("No service is running.", f"{advice}{f', or {otherwise}' if otherwise else ''}.")
