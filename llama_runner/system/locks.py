"""A lock that one process at a time can hold and that a crash gives back."""

import os
import sys
from pathlib import Path
from types import TracebackType

if sys.platform == "win32":
    from llama_runner.system._windows import lock_file, unlock_file
else:
    from llama_runner.system._posix import lock_file, unlock_file


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
        if not lock_file(fd):
            os.close(fd)
            return False
        self._fd = fd
        return True

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
