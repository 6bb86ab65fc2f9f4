"""`access-token`: what programs show to the proxy where it asks for a token; it is shown here only once."""

import argparse

from llama_runner.cli.context import home_of
from llama_runner.cli.local_service import tell_service
from llama_runner.cli.render import Output
from llama_runner.control.access_token import forget_token, kept_token, make_token
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ExitCode
from llama_runner.core.paths import Home


class AccessTokenCommand:
    """`access-token new|show|remove`. A running service follows at once."""

    name = "access-token"
    help = "the token that lets programs of other machines in"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the actions."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        actions.add_parser("new", help="make one in place of the one before, and print it this once")
        actions.add_parser("show", help="whether there is one, and since when")
        actions.add_parser("remove", help="forget it: listeners that ask for it close")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Make, tell or forget."""
        home = home_of(args)
        if args.action == "new":
            _new(home, out)
            await tell_service(args, out)
        elif args.action == "remove":
            _remove(home, out)
            await tell_service(args, out)
        else:
            kept = kept_token(home)
            out.document({"set": kept is not None, "made_utc": kept.made_utc if kept else None})
            out.text(f"There is one since {kept.made_utc}." if kept else "There is none.")
        return ExitCode.DONE


def _new(home: Home, out: Output) -> None:
    token = make_token(home, SystemClock().utc())
    out.document({"token": token})
    out.text(token)
    out.note("Keep it now, it cannot be shown again. Programs send it as their API key.")


def _remove(home: Home, out: Output) -> None:
    removed = forget_token(home)
    out.document({"removed": removed})
    out.text("It lets nobody in any more." if removed else "There is none.")
