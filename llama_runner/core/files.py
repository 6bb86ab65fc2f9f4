"""Reading and writing our own small files: whole or not at all, private, bounded, never blocking on a device.

All writes go through `Disk`, so that a test can let the n-th call fail.
"""

import contextlib
import os
import secrets
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from llama_runner.core.errors import StorageError

PRIVATE_FILE_MODE: Final = 0o600
# Windows: access denied, sharing violation, lock violation. Virus scanners hold new files for a moment.
_BUSY_WIN_ERRORS: Final = frozenset({5, 32, 33})
# About 2.5 s in all: longer than scanners hold a small file, short enough for a person who clicked "Save".
_REPLACE_RETRY_DELAYS_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 0.9)
# A file that changes during every one of these reads is being written all the time: take what there is.
_READ_ATTEMPTS: Final = 3
_BLOCK_BYTES: Final = 1 << 20

# Absent on Windows, where they are not needed: no FIFOs in folders, text mode must be switched off instead.
_NON_BLOCKING: Final = getattr(os, "O_NONBLOCK", 0)
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_BINARY: Final = getattr(os, "O_BINARY", 0)
_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0)


def _wait(delay_s: float) -> None:
    threading.Event().wait(delay_s)


class Disk:
    """The calls that change the disk, one method each."""

    def open_new(self, path: Path) -> int:
        """A descriptor on a file that did not exist before, private to the user."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY
        return os.open(path, flags, PRIVATE_FILE_MODE)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write some of `data`; how many bytes were taken."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Return once what was written has reached the disk."""
        os.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Put `source` in the place of `target` in one step."""
        os.replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        """Make a rename in `folder` survive a power cut, where the system can."""
        if not _DIRECTORY:
            return
        descriptor = os.open(folder, os.O_RDONLY | _DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_atomic(
    path: Path, data: bytes, *, disk: Disk | None = None, wait: Callable[[float], None] = _wait
) -> None:
    """Replace the content of `path` by `data`, or change nothing.

    A link is followed, so that a linked configuration stays a link. The folder must exist.

    Args:
        wait: Called with seconds before another try to replace a file that Windows says is in use.

    Raises:
        StorageError: The old content is untouched.
    """
    disk = disk or Disk()
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        try:
            _write_whole(disk, temporary, data)
            _replace_patiently(disk, temporary, target, wait)
        except BaseException:
            # Gone already, or not removable: either way the first error is the one to report.
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        disk.sync_folder(target.parent)
    except OSError as error:
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}.",
            "Check the free space and the permissions of its folder.",
        ) from error


def write_new(path: Path, data: bytes, *, disk: Disk | None = None) -> None:
    """Create `path` with `data`. Raises StorageError, also when it exists; then nothing is changed."""
    disk = disk or Disk()
    try:
        _write_whole(disk, path, data)
    except FileExistsError as error:
        raise StorageError(f"{path} exists already.", "Remove it or choose another name.") from error
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}.",
            "Check the free space and the permissions of its folder.",
        ) from error


def _write_whole(disk: Disk, path: Path, data: bytes) -> None:
    descriptor = disk.open_new(path)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[disk.write(descriptor, bytes(rest[:_BLOCK_BYTES])) :]
        disk.sync(descriptor)
    finally:
        os.close(descriptor)


def _replace_patiently(disk: Disk, source: Path, target: Path, wait: Callable[[float], None]) -> None:
    for delay_s in _REPLACE_RETRY_DELAYS_S:
        try:
            return disk.replace(source, target)
        except OSError as error:
            if getattr(error, "winerror", None) not in _BUSY_WIN_ERRORS:
                raise
            wait(delay_s)
    return disk.replace(source, target)


def read_bounded(path: Path, *, max_bytes: int) -> bytes | None:
    """The content of a regular file, None when there is no such file.

    Never blocks on a FIFO or device, never reads more than `max_bytes` + 1, reads again when the file
    changes meanwhile.

    Raises:
        StorageError: It is no regular file, too large, or cannot be read.
    """
    data = b""
    for _ in range(_READ_ATTEMPTS):
        try:
            data, settled = _read_once(path, max_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(
                f"{path} cannot be read: {error.strerror or error}.", "Check its permissions."
            ) from error
        if settled:
            break
    return data


def _read_once(path: Path, max_bytes: int) -> tuple[bytes, bool]:
    descriptor = os.open(path, os.O_RDONLY | _NON_BLOCKING | _BINARY)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise StorageError(f"{path} is not a file.", "Put a regular file in its place.")
        data = _read_up_to(descriptor, max_bytes + 1)
        if len(data) > max_bytes:
            raise StorageError(
                f"{path} is larger than {max_bytes} bytes, which is not plausible for this file.",
                "Move it away, or put the right file in its place.",
            )
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return data, (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _read_up_to(descriptor: int, limit: int) -> bytes:
    data = bytearray()
    while len(data) < limit and (block := os.read(descriptor, min(_BLOCK_BYTES, limit - len(data)))):
        data += block
    return bytes(data)
