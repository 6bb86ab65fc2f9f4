"""`servers`: the known servers, what is remembered of them, and what a person decides about them."""

import argparse
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from llama_runner.cli.api_key import add_api_key_options, given_api_key
from llama_runner.cli.asking import workspace_of
from llama_runner.cli.commands.discover import server_document
from llama_runner.cli.commands.server_keys import add_key_actions, run_key_action
from llama_runner.cli.render import Output, table
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode, NotFoundError, UsageError
from llama_runner.core.text import visible_controls
from llama_runner.discovery.keys import KeyPlace
from llama_runner.discovery.registry import ServerRecord, ServerStatus
from llama_runner.net.addresses import parse_server_url
from llama_runner.workspace import Workspace

Run = Callable[[Workspace, argparse.Namespace, Output], Awaitable[list[ServerRecord]]]

# Of a name in a column; the whole one is in the JSON.
NAME_CHARS: Final = 40
# A note is a page at most; a list shows its beginning.
NOTE_CHARS: Final = 160


@dataclass(frozen=True, slots=True)
class Action:
    """What one word after `servers` does.

    Attributes:
        run: Returns the servers to show.
        shows: Whether they are shown to people; `--json` has them always.
    """

    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Run
    shows: bool = True


class ServersCommand:
    """One action on the list of known servers."""

    name = "servers"
    help = "list, add, remove, check, mark, note, trust and wake known servers"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the actions and what each is about."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        for name, action in _ACTIONS.items():
            action.configure(actions.add_parser(name, help=action.help, description=action.help))
        add_key_actions(actions)

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Do the one action."""
        if (code := await run_key_action(args, out)) is not None:
            return code
        action = _ACTIONS[args.action]
        async with workspace_of(args, out) as workspace:
            records = await action.run(workspace, args, out)
            now = workspace.clock.utc()
        out.document({"servers": [known_document(record) for record in records]})
        if action.shows:
            out.text(describe_known(records, now))
        offline = any(record.status is ServerStatus.OFFLINE for record in records)
        return ExitCode.UNREACHABLE if offline and args.action == "check" else ExitCode.DONE


def known_document(record: ServerRecord) -> dict[str, Any]:
    """One known server as JSON: as `discover` has it, and what is remembered of it."""
    return {
        **server_document(record),
        "favourite": record.favourite,
        "note": record.note or None,
        "trusted": record.trusted,
        "changed": record.changed or None,
        "mac": record.mac,
        "key_place": record.key_place or None,
        "pinned_sha256": record.tls_pin,
    }


def describe_known(records: list[ServerRecord], now: datetime) -> str:
    """A table for people; below it what does not fit into one."""
    if not records:
        return "No server is known yet. Find some with `discover`, or add one by its URL."
    rows = [
        (
            "*" if record.favourite else "",
            record.base_url,
            visible_controls(record.product or record.engine, NAME_CHARS),
            visible_controls(record.version or fmt.UNKNOWN, NAME_CHARS),
            record.status,
            fmt.seconds(record.latency_s),
            _seen(record, now),
            fmt.count(len(record.models)),
        )
        for record in records
    ]
    headers = ("", "server", "engine", "version", "status", "latency", "last seen", "models")
    lines = [table(headers, rows)]
    for record in records:
        said = (record.problem, record.changed if record.changed not in record.problem else "", _note(record))
        lines += [f"{record.base_url}: {sentence}" for sentence in said if sentence]
    return "\n".join(lines)


def _seen(record: ServerRecord, now: datetime) -> str:
    return fmt.ago(record.last_seen_utc, now)


def _note(record: ServerRecord) -> str:
    return f"note: {visible_controls(' '.join(record.note.split()), NOTE_CHARS)}" if record.note else ""


# --- options -----------------------------------------------------------------------------------------------


def _no_options(parser: argparse.ArgumentParser) -> None:
    """Nothing to say but the action."""


def _url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="as `servers list` shows it")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="http://host:port")
    add_api_key_options(parser)


def _remove_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", nargs="?", help="as `servers list` shows it")
    parser.add_argument(
        "--found", action="store_true", help="all that scans found and that have neither mark nor note"
    )


def _check_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", nargs="?", help="one of them; all when left out")


def _favourite_options(parser: argparse.ArgumentParser) -> None:
    _url(parser)
    parser.add_argument("--off", action="store_true", help="take the mark away")


def _note_options(parser: argparse.ArgumentParser) -> None:
    _url(parser)
    parser.add_argument("text", metavar="TEXT", nargs="?", default="", help="the note; removed when left out")


def _wake_options(parser: argparse.ArgumentParser) -> None:
    _url(parser)
    parser.add_argument(
        "--mac", metavar="ADDRESS", help="its hardware address; kept, and noted by itself when seen"
    )


# --- actions -----------------------------------------------------------------------------------------------


async def _list(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    return list(workspace.registry.records)


async def _add(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    key = await given_api_key(args)
    record = await workspace.discovery.add(args.url, key, key_over_plain_http=args.yes)
    if key and record.key_place == KeyPlace.MEMORY:
        out.note("Its key is not kept: `servers key set` does that.")
    if record.status is ServerStatus.OFFLINE:
        out.note("It does not answer now, and was added all the same.")
    return [record]


async def _remove(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    if args.found == (args.url is not None):
        raise UsageError("`servers remove` takes a URL or --found.", "See `servers list`.")
    if args.found:
        removed = await workspace.discovery.forget_found()
        one = len(removed) == 1
        out.text(f"{fmt.count(len(removed))} {'server was' if one else 'servers were'} removed.")
    else:
        record = _known(workspace, args.url)
        await workspace.discovery.remove(record.id)
        out.text(f"{record.base_url} was removed.")
    return list(workspace.registry.records)


async def _check(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    if args.url is None:
        await workspace.discovery.check_all()
        return list(workspace.registry.records)
    return [await workspace.discovery.check(_known(workspace, args.url).id)]


async def _favourite(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    return [await workspace.discovery.set_favourite(_known(workspace, args.url).id, not args.off)]


async def _note_down(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    return [await workspace.discovery.set_note(_known(workspace, args.url).id, args.text)]


async def _trust(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    record = _known(workspace, args.url)
    if record.changed:
        out.note(f"Accepted: {record.changed}")
    return [await workspace.discovery.trust(record.id)]


async def _wake(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    record = await workspace.discovery.wake(_known(workspace, args.url).id, args.mac)
    out.text(f"{record.address} was told to wake. See `servers check {record.base_url}` in a minute.")
    return [record]


def _known(workspace: Workspace, url: str) -> ServerRecord:
    base_url = parse_server_url(url)
    record = workspace.registry.at(base_url)
    if record is None:
        raise NotFoundError(f"{base_url} is not in the list.", "See `servers list`, or add it.")
    return record


_ACTIONS: Final[Mapping[str, Action]] = {
    "list": Action("the known servers, as they were when last seen", _no_options, _list),
    "add": Action("add a server by its URL", _add_options, _add),
    "remove": Action("forget servers", _remove_options, _remove, shows=False),
    "check": Action("ask how servers are", _check_options, _check),
    "favourite": Action("mark a server", _favourite_options, _favourite),
    "note": Action("keep a note about a server", _note_options, _note_down),
    "trust": Action("confirm a server as it is now; a change is accepted", _url, _trust),
    "wake": Action("wake the machine of a server", _wake_options, _wake, shows=False),
}
