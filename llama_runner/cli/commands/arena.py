"""`arena`: the same prompt to several models, side by side."""

import argparse
from dataclasses import replace
from typing import Any

from llama_runner.arena.manager import ArenaSnapshot, EntryView
from llama_runner.backends.base import Target
from llama_runner.backends.live import AnswerState
from llama_runner.cli.asking import (
    add_sampling_options,
    figures,
    note_calls,
    note_not_sent,
    sampling_options,
    workspace_of,
)
from llama_runner.cli.render import Output
from llama_runner.core.errors import ExitCode, UsageError
from llama_runner.workspace import Workspace


class ArenaCommand:
    """Compares; an entry that fails leaves the others alone."""

    name = "arena"
    help = "compare models side by side"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the prompt and the contestants."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        compare = actions.add_parser("compare", help="one prompt, every answer with its figures")
        compare.add_argument("text", metavar="TEXT", help="the prompt")
        compare.add_argument(
            "--entry",
            action="append",
            default=[],
            metavar="[URL#]MODEL",
            help="a contestant: a local model, or a model of a server; give 2 to 6",
        )
        compare.add_argument(
            "--keep-serving", action="store_true", help="leave a service that was started running"
        )
        add_sampling_options(compare)

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Compare and print."""
        if len(args.entry) < 2:
            raise UsageError("A comparison takes at least two models.", "Give --entry MODEL twice or more.")
        async with workspace_of(args, out) as workspace:
            options = sampling_options(args, workspace)
            targets = [await _target(workspace, entry) for entry in args.entry]
            system = workspace.settings.chat.system_prompt if args.system is None else args.system
            result = await workspace.arena.compare(
                args.text, _distinct(targets), options, system_prompt=system
            )
        out.document({"prompt": result.prompt, "entries": [_document(entry) for entry in result.entries]})
        out.text(_describe(result))
        for entry in result.entries:
            note_not_sent(entry.not_sent, entry.target, out)
            note_calls(entry.tool_calls, out)
        done = any(entry.state is AnswerState.DONE for entry in result.entries)
        return ExitCode.DONE if done else ExitCode.FAILED


async def _target(workspace: Workspace, entry: str) -> Target:
    url, separator, model = entry.partition("#")
    return (
        await workspace.resolve_target(url, model or None)
        if separator
        else (await workspace.resolve_target(None, entry))
    )


def _distinct(targets: list[Target]) -> tuple[Target, ...]:
    """Labels that tell them apart: a second one of the same name gets its number."""
    seen: dict[str, int] = {}
    distinct = []
    for target in targets:
        seen[target.label] = seen.get(target.label, 0) + 1
        again = seen[target.label] > 1
        distinct.append(replace(target, label=f"{target.label} ({seen[target.label]})") if again else target)
    return tuple(distinct)


def _document(entry: EntryView) -> dict[str, Any]:
    error = entry.error
    return {
        "label": entry.label,
        "server": entry.target.endpoint.base_url,
        "engine": entry.target.endpoint.engine,
        "model": entry.target.model_id,
        "state": entry.state,
        "text": entry.text,
        "reasoning": entry.reasoning or None,
        "finish_reason": entry.finish_reason,
        "truncated": entry.state is AnswerState.TRUNCATED,
        "not_sent": entry.not_sent,
        "tool_calls": entry.tool_calls,
        "metrics": entry.metrics,
        "error": None
        if error is None
        else {"kind": error.kind, "message": error.message, "hint": error.hint},
    }


def _describe(result: ArenaSnapshot) -> str:
    blocks = []
    for entry in result.entries:
        lines = [f"── {entry.label} · {figures(entry.metrics)}"]
        if entry.text:
            lines.append(entry.text)
        if entry.error is not None:
            lines.append(f"[{entry.state}] {entry.error}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
