"""A lock that one process at a time can hold and that a crash gives back."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from llama_runner.core.clock import SystemClock, seconds
from llama_runner.core.errors import StorageError

if sys.platform == "win32":
    from llama_runner.system._windows import lock_file, unlock_file
else:
    from llama_runner.system._posix import lock_file, unlock_file

# Who holds one of our files writes a small one: milliseconds.
LOCK_TIMEOUT_S: Final = 3.0
_LOCK_PAUSE_S: Final = 0.02


class FileLock:
    """Single owner of whatever `path` stands for. The file stays; deleting it would let two owners in.

    Usage:
        lock = FileLock(path)
        if not lock.acquire(): another process owns it
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._fd is not None

    def acquire(self) -> bool:
        """Take it without waiting. False when another owner holds it. Raises OSError when it cannot open."""
        if self._fd is not None:
            return True
        # Not inherited by children (PEP 446), so a child that outlives us does not keep it.
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if lock_file(fd):
                self._fd, fd = fd, -1
        finally:
            if fd >= 0:
                os.close(fd)
        return self.held

    def release(self) -> None:
        """Give it back. Idempotent."""
        if self._fd is not None:
            unlock_file(self._fd)
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


@contextmanager
def exclusive(path: Path, lock: Path) -> Iterator[None]:
    """While `path` is read, changed and written: no other program does the same meanwhile. Blocks.

    Args:
        lock: The file that is locked. Not `path` itself, which every write replaces.

    Raises:
        StorageError: Another program holds it for longer than a write takes, or it cannot be locked.
    """
    own, clock = FileLock(lock), SystemClock()
    started_ns = clock.now_ns()
    try:
        # Between two processes there is no event to wait for.
        while not own.acquire():
            if seconds(clock.now_ns(), started_ns) > LOCK_TIMEOUT_S:
                raise StorageError(
                    f"{path} is in use by another program.", "Try again; if it lasts, end that one."
                )
            threading.Event().wait(_LOCK_PAUSE_S)
    except OSError as error:
        raise StorageError(
            f"{path} could not be locked: {error.strerror or error}.", "Check the permissions of its folder."
        ) from error
    with own:
        yield
