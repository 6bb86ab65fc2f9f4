"""From argv to an exit code: parses, runs one command on an event loop, renders what went wrong.

Nothing here knows what a command does; `commands.COMMANDS` names them.
"""

import argparse
import asyncio
import difflib
import logging
import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from llama_runner.cli.command import Command, load_command
from llama_runner.cli.commands import COMMANDS
from llama_runner.cli.context import logging_to_file
from llama_runner.cli.render import Output
from llama_runner.core.errors import ExitCode, LlamaRunnerError, UsageError

log = logging.getLogger(__name__)

PROGRAM = "llama-runner"


class CommandLineError(UsageError):
    """argparse rejected the arguments; keeps the usage line to show beside the message."""

    def __init__(self, message: str, hint: str, usage: str = "") -> None:
        super().__init__(message, hint)
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of ending the process: `--json` wants its errors on stdout."""

    def error(self, message: str) -> NoReturn:
        """Raise the error as one of ours."""
        sentence = message[:1].upper() + message[1:].rstrip(".") + "."
        raise CommandLineError(sentence, f"See {self.prog} --help.", self.format_usage())


def common_options() -> Parser:
    """The options every command has. Their names are reserved: they are accepted anywhere on the line."""
    parser = Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    group = parser.add_argument_group("common options")
    group.add_argument("--json", action="store_true", help="one JSON document on stdout")
    group.add_argument("--debug", action="store_true", help="log to the terminal too, and show tracebacks")
    group.add_argument("--home", type=Path, metavar="DIR", help="keep settings, logs and data under DIR")
    group.add_argument("--yes", action="store_true", help="ask nothing")
    group.add_argument("--quiet", action="store_true", help="no notes and no progress")
    group.add_argument("--demo", action="store_true", help="use the demo engine and the demo model")
    return parser


def split_common(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The common options, wherever they stand before a `--`, and the rest in order."""
    end = argv.index("--") if "--" in argv else len(argv)
    args, rest = common_options().parse_known_args(list(argv[:end]))
    return args, [*rest, *argv[end:]]


def overview() -> str:
    """The text of `--help`: every way to start, every command."""
    width = max(len(name) for name, _, _ in COMMANDS)
    commands = "\n".join(f"  {name.ljust(width)}  {text}" for name, _, text in COMMANDS)
    return (
        f"usage: {PROGRAM} [common options] [COMMAND ...]\n\n"
        "Without a command the window opens; --headless runs the service without one.\n\n"
        f"commands:\n{commands}\n\n"
        f"Each command explains itself: {PROGRAM} COMMAND --help\n\n"
        f"{common_options().format_help().partition(chr(10) * 2)[2].rstrip()}\n\n"
        "exit codes: 0 done, 1 failed, 2 usage or configuration, 3 server unreachable, 130 interrupted"
    )


def find_command(name: str) -> Command:
    """The command called `name`. Raises UsageError with the closest names."""
    for known, target, _ in COMMANDS:
        if known == name:
            return load_command(target)
    close = difflib.get_close_matches(name[:40], [known for known, _, _ in COMMANDS], n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    raise UsageError(f"There is no command {_short(name)}.", f"{hint}{PROGRAM} --help lists them all.")


def parse(argv: Sequence[str]) -> tuple[Command, argparse.Namespace]:
    """The command to run and its arguments. Raises UsageError, and SystemExit after a printed `--help`."""
    args, rest = split_common(argv)
    if not rest:
        raise UsageError("No command was given.", f"{PROGRAM} --help lists them all.")
    if rest[0].startswith("-"):
        raise UsageError(f"There is no option {_short(rest[0])} before a command.", f"See {PROGRAM} --help.")
    command = find_command(rest[0])
    parser = Parser(
        prog=f"{PROGRAM} {command.name}",
        description=command.help,
        parents=[common_options()],
        allow_abbrev=False,
    )
    command.configure(parser)
    return command, parser.parse_args(rest[1:], namespace=args)


def expected_error(error: Exception) -> LlamaRunnerError | None:
    """The error of ours that `error` is or, as a group from structured concurrency, carries."""
    if isinstance(error, LlamaRunnerError):
        return error
    if isinstance(error, ExceptionGroup):
        return next((found for inner in error.exceptions if (found := expected_error(inner))), None)
    return None


def run(argv: Sequence[str], *, stdout: TextIO, stderr: TextIO) -> int:
    """Run one command to its end and return the exit code."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    out = Output(json="--json" in options, quiet="--quiet" in options, stdout=stdout, stderr=stderr)
    try:
        return _run(argv, out)
    except (KeyboardInterrupt, asyncio.CancelledError):
        out.note("Interrupted.")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`). Python flushes stdout once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - the program's outermost edge: a person gets a sentence
        if "--debug" in options:
            traceback.print_exception(error, file=stderr)
        shown = expected_error(error) or _unexpected(error, None)
        out.error(shown, usage=shown.usage if isinstance(shown, CommandLineError) else "")
        return shown.exit_code


def _run(argv: Sequence[str], out: Output) -> int:
    if {"--help", "-h"} & set(split_common(argv)[1][:1]):
        out.text(overview())
        return ExitCode.DONE
    command, args = parse(argv)
    with logging_to_file(args, command.name, out) as log_file, asyncio.Runner() as runner:
        try:
            return runner.run(command.run(args, out))
        except BrokenPipeError:
            raise
        except Exception as error:
            expected = expected_error(error) is not None
            # `serve` logs to the terminal: the traceback of an expected error is for those who ask for it.
            details = error if args.debug or not expected else None
            log.info("command failed command=%s error=%s", command.name, error, exc_info=details)
            if not expected:
                raise _unexpected(error, log_file) from error
            raise


def _unexpected(error: Exception, log_file: Path | None) -> LlamaRunnerError:
    where = (
        f"The details are in the log: {log_file}" if log_file else "Run it with --debug to see the details."
    )
    return LlamaRunnerError(f"Unexpected error: {type(error).__name__}: {error}.", where)


def _short(text: str) -> str:
    # A person typed it or a script went wrong; either way a line of it is enough.
    return repr(text if len(text) <= 40 else text[:40] + "…")
