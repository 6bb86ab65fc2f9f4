"""The key of a server, given to a command: by a file, standard input, the environment, or the command line.

The last is the worst: on most systems everybody may read the command line of everybody's processes.
"""

import argparse
import os
from pathlib import Path
from typing import Final

from llama_runner.cli.stdin import read_stdin
from llama_runner.core.errors import UsageError
from llama_runner.net.keys import MAX_KEY_CHARS

KEY_VARIABLE: Final = "LLAMA_RUNNER_API_KEY"
# White space around it is cut off later.
_MAX_BYTES: Final = MAX_KEY_CHARS + 1024
STDIN: Final = "-"


def add_api_key_options(parser: argparse.ArgumentParser) -> None:
    """The options that give a server's key."""
    parser.add_argument(
        "--api-key-file",
        metavar="FILE",
        help=f"read the server's key from a file, - from standard input; or set {KEY_VARIABLE}",
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help="the key itself: others can read it in the list of processes"
    )


def names_api_key(args: argparse.Namespace) -> bool:
    """Whether one of those options was given; the environment does not count."""
    return args.api_key is not None or args.api_key_file is not None


async def given_api_key(args: argparse.Namespace) -> str | None:
    """The key that the options or the environment give, unchecked; None when they give none.

    Raises:
        UsageError: Two were given, or the file cannot be read.
    """
    if args.api_key is not None and args.api_key_file is not None:
        raise UsageError("--api-key and --api-key-file exclude each other.", "Give one of them.")
    if args.api_key is not None:
        return str(args.api_key)
    if args.api_key_file == STDIN:
        return await _from_stdin(args)
    if args.api_key_file is not None:
        return _from_file(Path(args.api_key_file))
    return os.environ.get(KEY_VARIABLE) or None


async def _from_stdin(args: argparse.Namespace) -> str:
    if STDIN in _words(getattr(args, "text", None)):
        raise UsageError(
            "Standard input cannot be both the text and the key.", f"Set {KEY_VARIABLE} instead."
        )
    try:
        data = await read_stdin(_MAX_BYTES)
    except OSError as error:
        raise UsageError("Standard input cannot be read.", f"Set {KEY_VARIABLE} instead.") from error
    return data.decode("utf-8", errors="replace")


def _from_file(path: Path) -> str:
    try:
        # Not `read_bounded`: `<(pass show key)` is no regular file.
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    return data.decode("utf-8", errors="replace")


def _words(text: object) -> tuple[object, ...]:
    return tuple(text) if isinstance(text, list) else (text,)
