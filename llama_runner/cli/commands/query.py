"""`query`: ask one question and print the answer."""

import argparse
import asyncio
from typing import Final

from llama_runner.backends.base import Target
from llama_runner.backends.live import AnswerState
from llama_runner.chat.conversation import TurnView
from llama_runner.cli.asking import add_sampling_options, figures, sampling_options, workspace_of
from llama_runner.cli.render import Output, error_document
from llama_runner.cli.stdin import read_stdin
from llama_runner.core.errors import ExitCode, LlamaRunnerError, UsageError
from llama_runner.core.format import size
from llama_runner.workspace import Workspace

# A question longer than any context; a mistyped `query - < disk.img` must not fill the memory.
MAX_QUESTION_BYTES: Final = 4 * 1024 * 1024


class QueryCommand:
    """Streams the answer; with `--json` prints one document with its figures."""

    name = "query"
    help = "ask one question and print the answer"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the question, the target and the sampling options."""
        parser.add_argument("text", metavar="TEXT", help="the question; - reads it from standard input")
        parser.add_argument("--server", metavar="URL", help="ask this server instead of the local service")
        parser.add_argument("--model", metavar="ID", help="the model as the server spells it")
        parser.add_argument("--api-key", metavar="KEY", help="the server's key")
        parser.add_argument(
            "--keep-serving", action="store_true", help="leave a service that was started running"
        )
        add_sampling_options(parser)

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Ask; a server's error is raised after what came of the answer was shown."""
        question = await _question(args.text)
        async with workspace_of(args, out) as workspace:
            options = sampling_options(args, workspace)
            target = await workspace.resolve_target(args.server, args.model, args.api_key)
            system = workspace.settings.chat.system_prompt if args.system is None else args.system
            conversation = workspace.chat.new_conversation(system)
            async with asyncio.TaskGroup() as group:
                printing = group.create_task(_print_text(workspace, conversation, out), name="print answer")
                turn = await workspace.chat.send(conversation, question, target, options)
                printing.cancel()
        return _finish(turn, target, out)


async def _question(text: str) -> str:
    if text == "-":
        try:
            data = await read_stdin(MAX_QUESTION_BYTES + 1)
        except OSError as error:
            raise UsageError("Standard input cannot be read.", "Give the question itself.") from error
        if len(data) > MAX_QUESTION_BYTES:
            raise UsageError("The question is too long.", f"It may have {size(MAX_QUESTION_BYTES)}.")
        text = data.decode("utf-8", errors="replace")
    if not text.strip():
        raise UsageError("There is no question.", 'Give it in quotes: query "Name three colours."')
    return text


async def _print_text(workspace: Workspace, conversation: str, out: Output) -> None:
    """Print what is new whenever something is, until cancelled; then the rest and a line end."""
    printed = 0

    def print_new() -> None:
        nonlocal printed
        messages = workspace.chat.snapshot(conversation).messages
        text = messages[-1].text if len(messages) > 1 else ""
        if len(text) > printed:
            out.text(text[printed:], end="")
            printed = len(text)

    try:
        async for _ in workspace.chat.changed.subscribe(maxlen=1):
            print_new()
    finally:
        print_new()
        if printed:
            out.text("")


def _finish(turn: TurnView, target: Target, out: Output) -> ExitCode:
    truncated = turn.state is AnswerState.TRUNCATED
    failure = turn.error if turn.state is AnswerState.ERROR else None
    if failure is not None and not turn.text:
        raise failure
    out.document(
        (error_document(failure) if failure else {})
        | {
            "text": turn.text,
            "reasoning": turn.reasoning or None,
            "server": target.endpoint.base_url,
            "engine": target.endpoint.engine,
            "model": target.model_id,
            "finish_reason": turn.finish_reason,
            "truncated": truncated or failure is not None,
            "metrics": turn.metrics,
        }
    )
    if failure is not None:
        # What came of the answer is on stdout already: this goes to stderr.
        raise failure
    if not turn.text and not truncated:
        out.note("The model answered nothing.")
    out.note(f"{target.label} · {figures(turn.metrics)}")
    if truncated:
        # The document is there already: this goes to stderr.
        out.error(turn.error or LlamaRunnerError("The answer is incomplete.", "Ask again."))
        return ExitCode.FAILED
    return ExitCode.DONE
