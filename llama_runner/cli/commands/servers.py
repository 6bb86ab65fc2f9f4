"""`servers`: the servers that were added by hand."""

import argparse
from collections.abc import Awaitable, Callable

from llama_runner.cli.asking import workspace_of
from llama_runner.cli.commands.discover import describe, server_document
from llama_runner.cli.render import Output
from llama_runner.core.errors import ExitCode, NotFoundError
from llama_runner.discovery.registry import ServerRecord, ServerStatus
from llama_runner.net.addresses import parse_server_url
from llama_runner.workspace import Workspace


class ServersCommand:
    """Lists, adds, removes and checks."""

    name = "servers"
    help = "list, add, remove and check known servers"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the action and what it is about."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        actions.add_parser("list", help="the servers added by hand")
        add = actions.add_parser("add", help="add a server by its URL")
        add.add_argument("url", metavar="URL", help="http://host:port")
        add.add_argument("--api-key", metavar="KEY", help="its key, for this check only: it is not saved")
        remove = actions.add_parser("remove", help="forget a server")
        remove.add_argument("url", metavar="URL", help="as `servers list` shows it")
        check = actions.add_parser("check", help="ask how servers are")
        check.add_argument("url", metavar="URL", nargs="?", help="one of them; all when left out")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Do the one action."""
        actions: dict[str, Callable[..., Awaitable[list[ServerRecord]]]] = {
            "list": _list,
            "add": _add,
            "remove": _remove,
            "check": _check,
        }
        async with workspace_of(args, out) as workspace:
            records = await actions[args.action](workspace, args, out)
        out.document({"servers": [server_document(record) for record in records]})
        if args.action != "remove":
            out.text(describe(records) if records else "No server was added by hand.")
        offline = any(record.status is ServerStatus.OFFLINE for record in records)
        return ExitCode.UNREACHABLE if offline and args.action == "check" else ExitCode.DONE


async def _list(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    return list(workspace.registry.records)


async def _add(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    record = await workspace.discovery.add(args.url, args.api_key, key_over_plain_http=args.yes)
    if record.status is ServerStatus.OFFLINE:
        out.note("It does not answer now, and was added all the same.")
    return [record]


async def _remove(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    record = _known(workspace, args.url)
    await workspace.discovery.remove(record.id)
    out.text(f"{record.base_url} was removed.")
    return list(workspace.registry.records)


async def _check(workspace: Workspace, args: argparse.Namespace, out: Output) -> list[ServerRecord]:
    if args.url is None:
        await workspace.discovery.check_all()
        return list(workspace.registry.records)
    return [await workspace.discovery.check(_known(workspace, args.url).id)]


def _known(workspace: Workspace, url: str) -> ServerRecord:
    base_url = parse_server_url(url)
    record = workspace.registry.at(base_url)
    if record is None:
        raise NotFoundError(f"{base_url} is not in the list.", "See `servers list`, or add it.")
    return record
