"""Why some versions are pinned, as facts about what is installed."""

import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QObject, Signal

CALLS = 1_000
# References come and go with test machinery; a lost one per call would be a thousand.
SLACK = 20

# Files that run code at every start of the interpreter (safety I30): ours to know, each of them.
KNOWN_PTH = {
    "a1_coverage.pth",  # coverage, for child processes; a development extra
    "distutils-precedence.pth",  # setuptools, with PyInstaller
}


class Sender(QObject):
    happened = Signal(bool)


def _change(value: object, action: Callable[[], Any]) -> int:
    before = sys.getrefcount(value)
    for _ in range(CALLS):
        action()
    return abs(sys.getrefcount(value) - before)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None and True are immortal from Python 3.12 on")
@pytest.mark.parametrize("value", [None, True])
def test_calls_and_signals_of_qt_keep_the_reference_counts_of_constants(value: object) -> None:
    """PySide6 6.12 on Python 3.11 loses a reference to None per void call and aborts after some 20,000."""
    sender = Sender()
    seen: list[int] = []
    sender.happened.connect(lambda flag: seen.append(1 if flag else 0))

    assert _change(value, lambda: sender.setObjectName("x")) < SLACK
    assert _change(value, lambda: sender.happened.emit(True)) < SLACK
    assert len(seen) == CALLS


def test_nothing_runs_at_every_start_of_the_interpreter_that_we_do_not_know() -> None:
    """I30: a stolen release of a package once planted a `.pth` file."""
    site_packages = Path(sysconfig.get_paths()["purelib"])

    assert {path.name for path in site_packages.glob("*.pth")} <= KNOWN_PTH
