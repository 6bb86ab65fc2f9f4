"""Asking the person at the terminal for a yes. Where nobody can answer, `--yes` has to be given."""

import argparse
import sys

from llama_runner.cli.render import Output
from llama_runner.cli.stdin import read_line
from llama_runner.core.errors import UsageError

# More than anybody answers with.
_MAX_ANSWER_BYTES = 1024


async def confirm(what: str, question: str, args: argparse.Namespace, out: Output) -> bool:
    """Whether the person agrees to `what`, which is shown first; always with `--yes`.

    Raises:
        UsageError: Nobody can be asked.
    """
    out.note(what)
    if args.yes:
        return True
    if args.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("This needs a yes, and there is nobody to ask.", "Run it again with --yes.")
    out.ask(f"{question} [y/N] ")
    answer = (await read_line(_MAX_ANSWER_BYTES)).decode("utf-8", errors="replace")
    return answer.strip().lower() in ("y", "yes")
