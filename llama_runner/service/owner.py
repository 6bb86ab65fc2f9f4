"""Noticing that the program which started us has gone: our stdin ends, even when it was killed."""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

_STDIN_FD: Final = 0
# Nobody writes to us; whatever comes is read away.
_READ_BYTES: Final = 4096


def watch_owner(on_gone: Callable[[], None], *, fd: int = _STDIN_FD) -> None:
    """Call `on_gone` on the running loop once `fd` is at its end.

    A daemon thread on a blocking read: the one way that works for pipes on Windows too. It reads the
    descriptor, not `sys.stdin`, whose lock would hold up the end of the interpreter.
    """
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            while os.read(fd, _READ_BYTES):
                continue
        except OSError as error:
            log.warning("stdin cannot be read, taken for its end reason=%s", error)
        # RuntimeError: the loop is closed already, we are ending anyway.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(on_gone)

    threading.Thread(target=read, name="watch-owner", daemon=True).start()
