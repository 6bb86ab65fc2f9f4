"""Turning stop signals of the system into one callback on the loop."""

import asyncio
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

StopHandler = Callable[[str], None]

# What asks a program to end: kill, Ctrl+C, a closed terminal; Ctrl+Break and a closed console on Windows.
_NAMES: Final = ("SIGTERM", "SIGINT", "SIGBREAK" if sys.platform == "win32" else "SIGHUP")


def install_stop_signals(loop: asyncio.AbstractEventLoop, on_stop: StopHandler) -> Callable[[], None]:
    """Call `on_stop(signal name)` on the loop for every stop signal; call from the main thread.

    Returns:
        Undo: puts back what was there before.
    """
    numbers = [getattr(signal, name) for name in _NAMES]
    if sys.platform == "win32":
        return _install_plain(loop, numbers, on_stop)
    return _install_on_loop(loop, numbers, on_stop)


def _install_on_loop(
    loop: asyncio.AbstractEventLoop, numbers: list[signal.Signals], on_stop: StopHandler
) -> Callable[[], None]:
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, on_stop, number.name)

    def undo() -> None:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    return undo


def _install_plain(
    loop: asyncio.AbstractEventLoop, numbers: list[signal.Signals], on_stop: StopHandler
) -> Callable[[], None]:
    """For loops without `add_signal_handler`: the handler runs between byte codes and only wakes the loop."""

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(on_stop, signal.Signals(number).name)

    before = {number: signal.signal(number, handle) for number in numbers}

    def undo() -> None:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    return undo
