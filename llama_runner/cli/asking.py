"""What the commands that ask models share: workspace, sampling options, the figures line."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from llama_runner.backends.request import SamplingOptions
from llama_runner.cli.commands.load import progress_line
from llama_runner.cli.context import home_of
from llama_runner.cli.render import Output
from llama_runner.core import format as fmt
from llama_runner.core.errors import UsageError
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.trace import RequestMetrics
from llama_runner.workspace import Workspace, open_workspace
from llama_runner.workspace.service_link import LinkState, ServiceSnapshot


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """The options that go to the model."""
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    parser.add_argument("--temperature", type=float, metavar="T", help="sampling temperature")
    parser.add_argument("--top-p", type=float, metavar="P", help="nucleus sampling")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="most tokens of the answer")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the sampling")


def sampling_options(args: argparse.Namespace, workspace: Workspace) -> SamplingOptions:
    """The options given; what they leave open comes from the settings. Raises UsageError."""
    if args.max_tokens is not None and args.max_tokens < 1:
        raise UsageError("--max-tokens must be at least 1.", "Leave it out for no limit.")
    given = {
        name: value
        for name in ("temperature", "top_p", "max_tokens", "seed")
        if (value := getattr(args, name)) is not None
    }
    return replace(workspace.sampling_options(), **given)


@asynccontextmanager
async def workspace_of(args: argparse.Namespace, out: Output) -> AsyncIterator[Workspace]:
    """The workspace of a command, showing on a terminal what its service is doing.

    A service that the command starts ends with it, unless `--keep-serving` is among its options.
    """
    keep_serving = bool(getattr(args, "keep_serving", False))
    async with open_workspace(home_of(args), demo=args.demo, keep_serving=keep_serving) as workspace:
        tasks = TaskOwner()
        tasks.start(_show_service(workspace, out), name="show service")
        try:
            yield workspace
        finally:
            await tasks.close()
            out.progress("")


def figures(metrics: RequestMetrics) -> str:
    """The figures line of one answer; what is unknown is left out."""
    parts = []
    if metrics.output_tokens is not None:
        parts.append(f"{fmt.count(metrics.output_tokens)} tokens ({metrics.tokens_source})")
    if metrics.ttft_s is not None:
        parts.append(f"first after {fmt.seconds(metrics.ttft_s)}")
    if metrics.decode_tps is not None:
        parts.append(fmt.rate(metrics.decode_tps))
    if metrics.e2e_s is not None:
        parts.append(f"{fmt.seconds(metrics.e2e_s)} in all")
    return " · ".join(parts) or "no figures"


async def _show_service(workspace: Workspace, out: Output) -> None:
    async for snapshot in workspace.service.changes.subscribe(maxlen=1):
        out.progress(_service_line(snapshot))


def _service_line(snapshot: ServiceSnapshot) -> str:
    if snapshot.state is LinkState.STARTING:
        return "Starting the service …"
    loading = [instance for instance in snapshot.instances if instance.state == "starting"]
    return progress_line(loading[0]) if loading else ""
