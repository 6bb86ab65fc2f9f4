"""What surrounds a running command: its home folder and its log."""

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from llama_runner.cli.render import Output
from llama_runner.core.config import Problem, Severity, load_app_config, load_models_config
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.logs import start_logging
from llama_runner.core.logtail import program_log
from llama_runner.core.paths import Home, current_home

# Commands that run until told to stop: whoever started one watches its terminal.
_LOGS_TO_TERMINAL: Final = frozenset({"serve"})
# They tell about the configuration files themselves.
_SHOW_SETTINGS: Final = frozenset({"config", "doctor"})
# More than this hides what was asked for; `config validate` lists all.
MAX_PROBLEMS_NOTED: Final = 3


def home_of(args: argparse.Namespace) -> Home:
    """The home that `--home`, the environment or the installation names; its folders exist afterwards."""
    return current_home(args.home)


@contextmanager
def logging_to_file(args: argparse.Namespace, command: str, out: Output) -> Iterator[Path | None]:
    """Log to the home's file while a command runs; yields that file, None where it cannot be written.

    A command still runs without a log: `doctor` is there to say why it cannot be written.
    """
    try:
        home = home_of(args)
        loaded = load_app_config(home)
        if command not in _SHOW_SETTINGS:
            note_problems((*loaded.problems, *load_models_config(home).problems), out)
        config = loaded.value
        console = args.debug or (command in _LOGS_TO_TERMINAL and not args.quiet)
        handle = start_logging(home, config, console=console, debug=args.debug)
    except (LlamaRunnerError, OSError) as error:
        out.note(f"No log is written: {error}")
        logging.basicConfig(level=logging.DEBUG if args.debug else logging.CRITICAL)
        yield None
        return
    try:
        yield program_log(home)
    finally:
        handle.close()


def note_problems(problems: tuple[Problem, ...], out: Output) -> None:
    """Tell what the configuration files lack: without a word, defaults would pass for the user's own."""
    grave = [problem for problem in problems if problem.severity is not Severity.NOTICE]
    for problem in grave[:MAX_PROBLEMS_NOTED]:
        out.note(f"{problem.message} {problem.hint}".rstrip())
    if len(grave) > MAX_PROBLEMS_NOTED:
        out.note(f"{len(grave) - MAX_PROBLEMS_NOTED} more: see `llama-runner config validate`.")
