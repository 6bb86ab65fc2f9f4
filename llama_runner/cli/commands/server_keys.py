"""`servers key` and `servers certificate`: what makes this program trust a server, and the server us."""

import argparse
from typing import Any

from llama_runner.cli.api_key import KEY_VARIABLE, add_api_key_options, given_api_key
from llama_runner.cli.asking import workspace_of
from llama_runner.cli.render import Output
from llama_runner.core.errors import ExitCode, NotFoundError, UsageError
from llama_runner.discovery.keys import KeyPlace
from llama_runner.discovery.registry import ServerRecord
from llama_runner.net.addresses import parse_server_url
from llama_runner.net.tls import parse_fingerprint
from llama_runner.workspace import Workspace

# Memory is no place for a command: it ends.
_PLACES = (KeyPlace.KEYRING, KeyPlace.FILE)
_WHERE = {
    KeyPlace.MEMORY: "in memory",
    KeyPlace.KEYRING: "in the system's keyring",
    KeyPlace.FILE: "in a file that only you can read",
    None: "nowhere: this server has no key",
}


def add_key_actions(actions: "argparse._SubParsersAction[Any]") -> None:
    """The actions of `servers` that this module carries out."""
    key = actions.add_parser("key", help="set or forget a server's key, or show where it is kept")
    doing = key.add_subparsers(dest="key_action", required=True, metavar="DO")
    setting = doing.add_parser("set", help="keep a key for a server")
    setting.add_argument("url", metavar="URL", help="as `servers list` shows it")
    setting.add_argument(
        "--place", choices=_PLACES, default=KeyPlace.KEYRING, help="the system's keyring, or a plain file"
    )
    add_api_key_options(setting)
    for name, text in (("forget", "remove a server's key"), ("show-place", "say where its key is kept")):
        doing.add_parser(name, help=text).add_argument(
            "url", metavar="URL", help="as `servers list` shows it"
        )
    certificate = actions.add_parser("certificate", help="look at a server's certificate, or trust it")
    certificate.add_argument("url", metavar="URL", help="as `servers list` shows it")
    choice = certificate.add_mutually_exclusive_group()
    choice.add_argument("--trust", metavar="SHA256", help="accept exactly this certificate from now on")
    choice.add_argument("--distrust", action="store_true", help="go by the usual rules again")


async def run_key_action(args: argparse.Namespace, out: Output) -> ExitCode | None:
    """Carry the action out; None when it is not one of those."""
    if args.action not in ("key", "certificate"):
        return None
    async with workspace_of(args, out) as workspace:
        record = _known(workspace, args.url)
        if args.action == "key":
            await _key(workspace, record, args, out)
        else:
            await _certificate(workspace, record, args, out)
    return ExitCode.DONE


async def _key(workspace: Workspace, record: ServerRecord, args: argparse.Namespace, out: Output) -> None:
    discovery = workspace.discovery
    if args.key_action == "set":
        key = await given_api_key(args)
        if key is None:
            raise UsageError("There is no key.", f"Give it with --api-key-file, or set {KEY_VARIABLE}.")
        await discovery.set_key(record.id, key, KeyPlace(args.place), agreed=args.yes)
    elif args.key_action == "forget":
        await discovery.forget_key(record.id)
    place = discovery.key_place(record.id)
    out.document({"server": record.base_url, "key_place": place})
    out.text(f"The key of {record.base_url} is kept {_WHERE[place]}.")


async def _certificate(
    workspace: Workspace, record: ServerRecord, args: argparse.Namespace, out: Output
) -> None:
    discovery = workspace.discovery
    shown = await discovery.certificate(record.id)
    if args.trust is not None:
        if parse_fingerprint(args.trust) != shown.sha256:
            raise UsageError(
                f"{record.base_url} shows another certificate: {_pairs(shown.sha256)}.",
                "Compare it with what the server's owner says.",
            )
        record = await discovery.trust_certificate(record.id, shown.sha256)
    elif args.distrust:
        record = await discovery.trust_certificate(record.id, None)
    trusted = record.tls_pin == shown.sha256 if record.tls_pin else not shown.problem
    out.document(
        {
            "server": record.base_url,
            "sha256": shown.sha256,
            "problem": shown.problem or None,
            "pinned_sha256": record.tls_pin,
            "trusted": trusted,
        }
    )
    out.text(f"{record.base_url} shows the certificate {_pairs(shown.sha256)}.")
    if shown.problem:
        out.text(shown.problem)
    out.text(_verdict(record, trusted))


def _verdict(record: ServerRecord, trusted: bool) -> str:
    if record.tls_pin and trusted:
        return "You trust exactly this certificate."
    if record.tls_pin:
        return "You trust another certificate: this one is not accepted."
    return "It is accepted." if trusted else "It is not accepted. If it is the server's, say --trust SHA256."


def _known(workspace: Workspace, url: str) -> ServerRecord:
    base_url = parse_server_url(url)
    record = workspace.registry.at(base_url)
    if record is None:
        raise NotFoundError(f"{base_url} is not in the list.", "Add it with `servers add`.")
    return record


def _pairs(sha256: str) -> str:
    """A fingerprint as certificates are shown everywhere else."""
    return ":".join(sha256[at : at + 2] for at in range(0, len(sha256), 2)).upper()
