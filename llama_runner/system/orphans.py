"""Ends what an earlier run of this program left behind: known by a mark in its environment, never by its pid.

A pid may belong to somebody else by now, and a child of a child was never written down anywhere.
"""

import logging
from collections.abc import Iterator
from typing import Final

import psutil

log = logging.getLogger(__name__)

# A killed process is gone in milliseconds unless it hangs in the kernel; waiting longer helps nobody then.
_AFTER_KILL_S: Final = 2.0
# One that forked while it was looked for shows up in the next round.
_ROUNDS: Final = 3


def end_marked(variable: str, value: str) -> int:
    """Kill every process started with `variable` set to `value`. Blocks until they are gone.

    A process whose environment the system does not show is left alone.

    Returns:
        How many there were.
    """
    ended = 0
    for _ in range(_ROUNDS):
        found = list(_marked(variable, value))
        if not found:
            break
        for process in found:
            _kill(process)
        psutil.wait_procs(found, timeout=_AFTER_KILL_S)
        ended += len(found)
    return ended


def _marked(variable: str, value: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(variable) == value:
                yield process
        except (psutil.Error, OSError) as error:
            # Another user's, or gone meanwhile.
            log.debug("not looked into pid=%d reason=%s", process.pid, type(error).__name__)


def _kill(process: psutil.Process) -> None:
    try:
        # psutil compares the creation time first: a recycled pid is left alone.
        process.kill()
    except psutil.Error as error:
        log.warning("orphan not ended pid=%d reason=%s", process.pid, type(error).__name__)
    else:
        log.warning("orphan ended pid=%d", process.pid)
