"""`query`: ask one question and print the answer."""

import argparse
import asyncio
from pathlib import Path

from llama_runner.backends.base import Target
from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import JsonOutput
from llama_runner.chat.conversation import TurnView
from llama_runner.cli.asking import (
    add_sampling_options,
    add_target_options,
    figures,
    note_calls,
    note_not_sent,
    sampling_options,
    target_of,
    workspace_of,
)
from llama_runner.cli.commands.history import SHORT_ID_CHARS
from llama_runner.cli.options import read_image, read_schema
from llama_runner.cli.render import Output, error_document
from llama_runner.cli.stdin import read_text
from llama_runner.core.errors import ExitCode, LlamaRunnerError, StorageError, UsageError
from llama_runner.workspace import Workspace


class QueryCommand:
    """Streams the answer; with `--json` prints one document with its figures."""

    name = "query"
    help = "ask one question and print the answer"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the question, the target and the sampling options."""
        parser.add_argument("text", metavar="TEXT", help="the question; - reads it from standard input")
        add_target_options(parser)
        parser.add_argument(
            "--image",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="an image to look at; may be repeated",
        )
        parser.add_argument(
            "--schema", type=Path, metavar="FILE", help="JSON schema that the answer has to fit"
        )
        parser.add_argument(
            "--save", action="store_true", help="keep question and answer as a conversation (see history)"
        )
        add_sampling_options(parser)

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Ask; a server's error is raised after what came of the answer was shown."""
        question = await _question(args.text)
        images = tuple(read_image(path) for path in args.image)
        output = JsonOutput(read_schema(args.schema)) if args.schema else None
        async with workspace_of(args, out) as workspace:
            options = sampling_options(args, workspace)
            target = await target_of(workspace, args)
            system = workspace.settings.chat.system_prompt if args.system is None else args.system
            conversation = workspace.chat.new_conversation(system)
            async with asyncio.TaskGroup() as group:
                printing = group.create_task(_print_text(workspace, conversation, out), name="print answer")
                turn = await workspace.chat.send(
                    conversation, question, target, options, images=images, output=output
                )
                printing.cancel()
            problem = await _keep(workspace, conversation, out) if args.save and turn.text else None
        code = _finish(turn, target, out, conversation if args.save and turn.text and not problem else None)
        if problem is not None:
            raise problem
        return code


async def _keep(workspace: Workspace, conversation: str, out: Output) -> StorageError | None:
    """Keep the turn, or say why it could not be: it was answered all the same."""
    try:
        await workspace.keeper.keep(conversation)
    except StorageError as error:
        return error
    finally:
        for note in workspace.history.take_notes():
            out.note(note)
    out.note(f"Kept as {conversation[:SHORT_ID_CHARS]}.")
    return None


async def _question(text: str) -> str:
    if text == "-":
        text = await read_text()
    if not text.strip():
        raise UsageError("There is no question.", 'Give it in quotes: query "Name three colours."')
    return text


async def _print_text(workspace: Workspace, conversation: str, out: Output) -> None:
    """Print what is new whenever something is, until cancelled; then the rest and a line end."""
    printed = ""

    def print_new() -> None:
        nonlocal printed
        messages = workspace.chat.snapshot(conversation).messages
        text = messages[-1].text if len(messages) > 1 else ""
        if not text.startswith(printed):
            # What came so far turned out to be reasoning: the answer begins below it.
            out.text("\n")
            printed = ""
        if len(text) > len(printed):
            out.text(text[len(printed) :], end="")
            printed = text

    try:
        async for _ in workspace.chat.changed.subscribe(maxlen=1):
            print_new()
    finally:
        print_new()
        if printed:
            out.text("")


def _finish(turn: TurnView, target: Target, out: Output, kept: str | None) -> ExitCode:
    note_not_sent(turn.not_sent, target, out)
    note_calls(turn.tool_calls, out)
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
            "not_sent": turn.not_sent,
            "tool_calls": turn.tool_calls,
            "metrics": turn.metrics,
        }
        | ({"conversation": kept} if kept else {})
    )
    if failure is not None:
        # What came of the answer is on stdout already: this goes to stderr.
        raise failure
    if not turn.text and not turn.tool_calls and not truncated:
        out.note("The model answered nothing.")
    out.note(f"{target.label} · {figures(turn.metrics)}")
    if truncated:
        # The document is there already: this goes to stderr.
        out.error(turn.error or LlamaRunnerError("The answer is incomplete.", "Ask again."))
        return ExitCode.FAILED
    return ExitCode.DONE
