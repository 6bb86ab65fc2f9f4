"""`history`: kept conversations, to list, search, show, give away, bring in and forget."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from llama_runner.chat.history import History, history_file
from llama_runner.chat.history_export import EXPORTS, document, remarks, who
from llama_runner.chat.history_values import KeptConversation, Summary
from llama_runner.chat.importing import ImportReport, import_file, in_words, room_for
from llama_runner.cli.confirm import confirm
from llama_runner.cli.context import home_of
from llama_runner.cli.options import whole
from llama_runner.cli.render import Output, table
from llama_runner.core import format as fmt
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ExitCode, UsageError
from llama_runner.core.files import write_new
from llama_runner.core.text import visible_controls

# A terminal's worth; --limit asks for more.
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 100_000
# Enough of an id to tell conversations apart, and short enough to type.
SHORT_ID_CHARS: Final = 8
_HEAD: Final = ("id", "updated", "messages", "model", "title")


class HistoryCommand:
    """Works on the file of kept conversations; the window may be open beside it."""

    name = "history"
    help = "kept conversations: list, search, show, export, import, rename, delete"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the actions."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        listing = actions.add_parser("list", help="conversations, last changed first")
        search = actions.add_parser("search", help="those whose title or messages have these words")
        search.add_argument("text", metavar="TEXT")
        for one in (listing, search):
            one.add_argument(
                "--limit",
                type=whole(1, MAX_LIMIT),
                default=DEFAULT_LIMIT,
                metavar="N",
                help="at most so many",
            )
        listing.add_argument(
            "--offset", type=whole(0, 2**31), default=0, metavar="N", help="leave out the first so many"
        )
        named = {
            name: actions.add_parser(name, help=text)
            for name, text in (
                ("show", "the whole conversation"),
                ("export", "as a text to give away"),
                ("rename", "give another title"),
                ("delete", "forget a conversation; asks first"),
            )
        }
        for one in named.values():
            one.add_argument("id", metavar="ID", help="as `list` shows it, or its beginning")
        named["rename"].add_argument("title", metavar="TITLE")
        export = named["export"]
        export.add_argument("--format", choices=tuple(EXPORTS), default="md", help="md unless given")
        export.add_argument(
            "--output", type=Path, metavar="FILE", help="a new file instead of standard output"
        )
        bringing = actions.add_parser(
            "import", help="bring in an export of ChatGPT, Open WebUI, LM Studio or of this program"
        )
        bringing.add_argument("file", type=Path, metavar="FILE", help="the export's JSON file")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Do the action."""
        async with _history(args, out) as history:
            match args.action:
                case "list":
                    _show_list(await history.page(args.limit, args.offset), await history.count(), args, out)
                case "search":
                    found = await history.search(args.text, args.limit)
                    _show_found(found.conversations, found.complete, out)
                case "import":
                    await _import(history, args, out)
                case _:
                    return await _with_one(history, await history.full_id(args.id), args, out)
        return ExitCode.DONE


@asynccontextmanager
async def _history(args: argparse.Namespace, out: Output) -> AsyncIterator[History]:
    clock = SystemClock()
    history = History(history_file(home_of(args), clock), clock)
    try:
        yield history
    finally:
        await history.close()
        for note in history.take_notes():
            out.note(note)


async def _with_one(
    history: History, conversation_id: str, args: argparse.Namespace, out: Output
) -> ExitCode:
    kept = await history.load(conversation_id)
    match args.action:
        case "show":
            out.document(document(kept))
            out.text(describe(kept))
        case "export":
            _export(kept, args, out)
        case "rename":
            await history.rename(conversation_id, args.title)
            renamed = await history.load(conversation_id, turns=0)
            out.document({"id": conversation_id, "title": renamed.title})
            out.text(f"It is called “{visible_controls(renamed.title)}” now.")
        case _:
            what = f"“{visible_controls(kept.title)}” with {len(kept.turns)} messages is forgotten."
            if not await confirm(what, "Delete it?", args, out):
                return ExitCode.FAILED
            await history.delete(conversation_id)
            out.document({"deleted": conversation_id, "title": kept.title})
            out.text(f"Deleted “{visible_controls(kept.title)}”.")
    return ExitCode.DONE


# --- lists -------------------------------------------------------------------------------------------------


def _show_list(page: tuple[Summary, ...], total: int, args: argparse.Namespace, out: Output) -> None:
    out.document({"conversations": page, "total": total})
    if not page:
        out.text("No conversation is kept. `query --save` keeps one, and so does the Chat tab.")
        return
    out.text(_rows(page))
    if (left := total - args.offset - len(page)) > 0:
        out.note(f"{fmt.count(left)} older ones: see --limit and --offset.")


def _show_found(found: tuple[Summary, ...], complete: bool, out: Output) -> None:
    out.document({"conversations": found, "complete": complete})
    if found:
        out.text(_rows(found))
    else:
        out.text("Nothing was found." if complete else "Nothing was found in the time there was.")
    if not complete:
        out.note("There may be more: search for rarer words, or raise --limit.")


def _rows(conversations: tuple[Summary, ...]) -> str:
    rows = []
    for one in conversations:
        rows.append(
            (
                one.id[:SHORT_ID_CHARS],
                f"{one.updated:%Y-%m-%d %H:%M}",
                fmt.count(one.messages),
                visible_controls(one.model or "–", 32),
                visible_controls(one.title, 60),
            )
        )
        if one.excerpt:
            rows.append(("", "", "", "", f"  {visible_controls(one.excerpt, 80)}"))
    return table(_HEAD, rows)


# --- one conversation --------------------------------------------------------------------------------------


def describe(kept: KeptConversation) -> str:
    """The conversation as a person reads it in a terminal."""
    lines = [f"{kept.title}  ({kept.updated:%Y-%m-%d %H:%M} UTC)"]
    if kept.system_prompt:
        lines += ["", "System prompt:", kept.system_prompt]
    for turn in kept.turns:
        lines += ["", f"{visible_controls(who(turn))}:", turn.text]
        lines += [f"({remark})" for remark in remarks(turn)]
    return "\n".join(lines)


def _export(kept: KeptConversation, args: argparse.Namespace, out: Output) -> None:
    text = EXPORTS[args.format](kept)
    if args.output is None:
        out.document({"id": kept.id, "format": args.format, "text": text})
        out.text(text, end="")
        return
    write_new(args.output, text.encode("utf-8", "backslashreplace"))
    out.document({"id": kept.id, "format": args.format, "file": args.output})
    out.text(f"Written to {args.output}.")


# --- import ------------------------------------------------------------------------------------------------


async def _import(history: History, args: argparse.Namespace, out: Output) -> None:
    if not args.file.is_file():
        raise UsageError(f"{args.file} is not a file.", "Give the JSON file of an export.")
    room_for(home_of(args).data_dir, args.file)

    def progress(report: ImportReport) -> None:
        out.progress(
            f"{fmt.percent(100 * report.read_bytes / max(report.total_bytes, 1))} · "
            f"{fmt.count(report.new)} conversations"
        )

    report = await import_file(history, args.file, progress)
    out.progress("")
    out.document(report)
    for line in in_words(report):
        out.text(line)
