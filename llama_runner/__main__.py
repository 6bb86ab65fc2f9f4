"""Decides what a start means: the window (no command), the service (`--headless`), or a command.

Imports nothing but what that decision needs: the window's first paint and every command wait for it.
"""

import sys
from collections.abc import Sequence
from enum import Enum
from io import TextIOWrapper
from typing import Final

from llama_runner import __version__


class Mode(Enum):
    """What a start is."""

    WINDOW = "window"
    COMMAND = "command"
    HEADLESS = "--headless"
    SELFTEST = "--selftest"
    VERSION = "--version"


def decide(arguments: Sequence[str]) -> Mode:
    """What the options before a command ask for; the window when there is no command."""
    rest = iter(arguments)
    for argument in rest:
        if argument in _MODES:
            return _MODES[argument]
        if argument == "--home":
            next(rest, None)
        elif argument not in ("--demo", "--debug") and not argument.startswith("--home="):
            return Mode.COMMAND
    return Mode.WINDOW


# core.errors.ExitCode.INTERRUPTED, which this module cannot import before it decided.
INTERRUPTED: Final = 130

_MODES: Final = {mode.value: mode for mode in (Mode.HEADLESS, Mode.SELFTEST, Mode.VERSION)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with `argv` (the process's own arguments by default) and return its exit code."""
    try:
        _prepare_process()
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        # While modules are still being imported nothing has begun that could need an orderly end.
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    match decide(arguments):
        case Mode.WINDOW:
            return _window(arguments)
        case Mode.COMMAND:
            return _command(arguments)
        case Mode.HEADLESS:
            arguments.remove("--headless")
            return _command(["serve", *arguments])
        case Mode.SELFTEST:
            from llama_runner.selftest import run_selftest

            return run_selftest()
        case Mode.VERSION:
            sys.stdout.write(f"llama-runner {__version__}\n")
            return 0


def _prepare_process() -> None:
    # A spawned load worker of the packaged program starts here and never returns.
    if getattr(sys, "frozen", False):
        import multiprocessing

        multiprocessing.freeze_support()
    # Names of files and models hold anything; a terminal with a small alphabet must not end the program.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _window(arguments: Sequence[str]) -> int:
    import os

    from llama_runner.system.display import has_display

    if not has_display(os.environ, sys.platform):
        sys.stderr.write(
            "No display was found, so there is no window: the service runs without one. Ctrl+C ends it.\n"
        )
        return _command(["serve", *arguments])
    if not getattr(sys, "frozen", False):
        # Plugins of another Qt would be loaded into ours and end it; the package sets its own path here.
        for name in ("QT_PLUGIN_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH"):
            os.environ.pop(name, None)
    from llama_runner.cli.app import split_common

    try:
        from llama_runner.ui.app import run_window
    except ImportError as error:
        if not (error.name or "").startswith(("PySide6", "shiboken6")):
            raise
        sys.stderr.write(f"The window cannot open: {error}. The command `doctor` names what is missing.\n")
        return 1
    options, _ = split_common(arguments)
    return run_window(options)


def _command(arguments: Sequence[str]) -> int:
    from llama_runner.cli.app import run

    return run(arguments, stdout=sys.stdout, stderr=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
