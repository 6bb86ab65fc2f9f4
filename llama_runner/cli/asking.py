"""What the commands that ask models share: workspace, target, sampling options, the figures line."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from llama_runner.backends.base import Target
from llama_runner.backends.request import Effort, SamplingOptions, ToolCall, calls_in_words
from llama_runner.cli.api_key import add_api_key_options, given_api_key
from llama_runner.cli.commands.load import progress_line
from llama_runner.cli.context import home_of
from llama_runner.cli.options import duration_s, number, switch, whole
from llama_runner.cli.render import Output
from llama_runner.core import format as fmt
from llama_runner.core.errors import UsageError
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.trace import RequestMetrics
from llama_runner.workspace import Workspace, open_workspace
from llama_runner.workspace.service_link import LinkState, ServiceSnapshot

# Beyond this nothing is sampled any more; servers clamp it themselves.
_MAX_TEMPERATURE: Final = 100.0
_MAX_INT: Final = 2**31 - 1
# The options of `add_sampling_options` that are called as the fields of `SamplingOptions`.
_SAMPLING: Final = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "seed",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "thinking",
)
# Fields of requests whose option is not simply their name.
_FLAGS: Final = {"keep_alive_s": "--keep-alive", "images": "--image", "output": "--schema"}


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which model is asked."""
    parser.add_argument("--server", metavar="URL", help="ask this server instead of the local service")
    parser.add_argument("--model", metavar="ID", help="the model as the server spells it")
    add_api_key_options(parser)
    parser.add_argument(
        "--keep-serving", action="store_true", help="leave a service that was started running"
    )


async def target_of(workspace: Workspace, args: argparse.Namespace) -> Target:
    """The model that those options name. Raises LlamaRunnerError."""
    key = await given_api_key(args) if args.server else None
    return await workspace.resolve_target(args.server, args.model, key, key_over_plain_http=args.yes)


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """The options that go to the model."""
    add = parser.add_argument
    add("--system", metavar="TEXT", help="system prompt")
    add("--temperature", type=number(0, _MAX_TEMPERATURE), metavar="T", help="sampling temperature")
    add("--top-p", type=number(0, 1), metavar="P", help="nucleus sampling")
    add("--top-k", type=whole(0, _MAX_INT), metavar="N", help="choose among so many tokens")
    add("--min-p", type=number(0, 1), metavar="P", help="least probability beside the likeliest token's")
    add("--max-tokens", type=int, metavar="N", help="most tokens of the answer")
    add("--seed", type=int, metavar="N", help="seed of the sampling")
    add("--stop", action="append", default=[], metavar="TEXT", help="end the answer here; may be repeated")
    add("--repeat-penalty", type=number(0, 10), metavar="X", help="above 1 discourages what was said")
    add("--presence-penalty", type=number(-2, 2), metavar="X", help="discourage any token that was there")
    add("--frequency-penalty", type=number(-2, 2), metavar="X", help="the same, by how often it was there")
    add("--thinking", type=switch, metavar="on|off", help="whether it may reason before it answers")
    add("--effort", choices=[str(level) for level in Effort], help="how long it may reason")
    add(
        "--keep-alive",
        type=duration_s,
        metavar="TIME",
        help="how long the model stays in memory: seconds or 5m; 0 not at all, -1 for ever",
    )


def sampling_options(args: argparse.Namespace, workspace: Workspace) -> SamplingOptions:
    """The options given; what they leave open comes from the settings. Raises UsageError."""
    if args.max_tokens is not None and args.max_tokens < 1:
        raise UsageError("--max-tokens must be at least 1.", "Leave it out for no limit.")
    if args.thinking is False and args.effort is not None:
        raise UsageError(
            "--effort says how long to think, and --thinking off not to.", "Leave one of them out."
        )
    given = {name: value for name in _SAMPLING if (value := getattr(args, name)) is not None}
    return replace(
        workspace.sampling_options(),
        **given,
        stop=tuple(args.stop),
        effort=Effort(args.effort) if args.effort else None,
        keep_alive_s=args.keep_alive,
    )


def note_not_sent(names: tuple[str, ...], target: Target, out: Output) -> None:
    """Tell which options the server's dialect has no words for, so that nobody believes they counted."""
    if names:
        flags = ", ".join(_FLAGS.get(name, f"--{name.replace('_', '-')}") for name in names)
        out.note(f"Not sent, as {target.endpoint.engine} servers have no such option: {flags}.")


def note_calls(calls: tuple[ToolCall, ...], out: Output) -> None:
    """Tell what the model called, though nobody offered it tools (T8)."""
    if calls:
        out.note(calls_in_words(calls))


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
