"""What a command is, and how one is found by name without importing the others."""

import argparse
import importlib
from typing import Protocol

from llama_runner.cli.render import Output
from llama_runner.core.errors import ExitCode


class Command(Protocol):
    """One command of the program.

    `args` carries what `configure` added plus the common options: json, debug, home (Path or None), yes,
    quiet, demo. An expected failure is a raised LlamaRunnerError; the app renders it and picks the exit code.

    Attributes:
        name: As typed.
        help: One line for the list of commands.
    """

    name: str
    help: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""
        ...

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Do it. Cancelled when the person interrupts: clean up and re-raise."""
        ...


def load_command(target: str) -> Command:
    """The command that `module:Class` names, imported now and made with no arguments."""
    module_name, _, class_name = target.partition(":")
    command: Command = getattr(importlib.import_module(module_name), class_name)()
    return command
