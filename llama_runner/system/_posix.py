"""POSIX half of the process helpers; `_windows` has the same names."""

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

# For the type checker; `processes` imports the right half.
assert sys.platform != "win32"

# linux/prctl.h: the signal a child gets when the thread that spawned it ends.
_PR_SET_PDEATHSIG: Final = 1
# Exit code of a child whose parent was gone before it could arm the guard; nobody is left to read it.
_ORPHANED_AT_BIRTH: Final = 70

# Loaded before any fork: a forked child of a threaded program must not enter the loader.
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _arm_death_signal(parent_pid: int) -> Callable[[], None]:
    def arm() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        # The parent may have died between fork and prctl; then the signal will never come.
        if os.getppid() != parent_pid:
            os._exit(_ORPHANED_AT_BIRTH)

    return arm


def spawn_options(*, die_with_parent: bool) -> dict[str, Any]:
    """Keyword arguments for the spawn call: a session of its own, and death with the parent if wanted."""
    options: dict[str, Any] = {"start_new_session": True}
    if die_with_parent:
        options["preexec_fn"] = _arm_death_signal(os.getpid())
    return options


class ProcessTree:
    """The process group of one child; outlives the child while grandchildren are in it."""

    def __init__(self, pid: int, *, die_with_parent: bool) -> None:
        self._group = pid

    def ask_to_end(self) -> bool:
        """SIGTERM to the group. False when nothing of it is left."""
        return self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the group."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Nothing to release here; on Windows the job handle."""

    def _signal(self, number: signal.Signals) -> bool:
        try:
            os.killpg(self._group, number)
        except (ProcessLookupError, PermissionError):
            # PermissionError: the group's last member changed user; it is not ours to end any more.
            return False
        return True


def lock_file(fd: int) -> bool:
    """Take the exclusive lock of an open file. False when another process holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock_file(fd: int) -> None:
    """Give the lock back."""
    fcntl.flock(fd, fcntl.LOCK_UN)
