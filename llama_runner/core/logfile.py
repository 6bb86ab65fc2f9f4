"""The rotating log file: private, bounded in size, and able to go on when it cannot be renamed or written."""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from llama_runner.core.clock import Clock
from llama_runner.core.files import PRIVATE_FILE_MODE

# Safety 3.5: all log files together, whatever the settings of earlier runs were.
MAX_FOLDER_BYTES: Final = 200 * 1024 * 1024
_LOG_FILE_NAME: Final = re.compile(r".+\.log(\.\d+)?")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE_MODE)


class RotatingFile(RotatingFileHandler):
    """Log file that puts itself aside when full.

    Several processes may write the same file: each notices when another one has put it aside, and follows.
    Where renaming is refused (Windows, while another process has the file open), it goes on under a new name.

    Args:
        file_count: How many files are kept, the current one included.
        report: Told once, in words, when the file cannot be written.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, file_count: int, report: Callable[[str], None], clock: Clock
    ) -> None:
        super().__init__(
            path,
            maxBytes=max_bytes,
            backupCount=file_count - 1,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
        )
        self._first_path = Path(self.baseFilename)
        self._report = report
        self._clock = clock
        self._failing = False
        self._failed = False

    @property
    def path(self) -> Path:
        """The file written now."""
        return Path(self.baseFilename)

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", errors="backslashreplace", opener=_open_private)

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`; never raises."""
        self._failed = False
        super().emit(record)
        self._failing = self._failed

    # The names below are those of the standard library's handler.
    def shouldRollover(self, record: logging.LogRecord) -> int:
        """Whether the file is full; reopens it first when another process has put it aside."""
        if self.stream is not None and self._left_behind(self.stream):
            self._drop_stream()
        return super().shouldRollover(record)

    def doRollover(self) -> None:
        """Put the file aside, or go on under a new name when that is refused."""
        try:
            super().doRollover()
        except OSError:
            stamp = f"{self._clock.utc():%Y%m%dT%H%M%S%f}-{os.getpid()}"
            first = self._first_path
            self.baseFilename = str(first.with_name(f"{first.stem}.{stamp}{first.suffix}"))
            self._prune_siblings()

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the file cannot be written, then try again with each record."""
        self._failed = True
        self._drop_stream()
        if not self._failing:
            self._report(f"the log file {self.path} cannot be written: {sys.exc_info()[1]}")

    def _left_behind(self, stream: TextIOWrapper) -> bool:
        try:
            return not os.path.samestat(os.fstat(stream.fileno()), os.stat(self.baseFilename))
        except FileNotFoundError:
            return True

    def _drop_stream(self) -> None:
        # Closing flushes, and a full disk refuses that too: what it held is lost either way.
        with contextlib.suppress(OSError):
            if self.stream is not None:
                self.stream.close()
        self.stream = None

    def _prune_siblings(self) -> None:
        first = self._first_path
        ours = re.compile(rf"{re.escape(first.stem)}\.[0-9T]+-\d+\.log(\.\d+)?")
        for path in _oldest_first(first.parent, ours)[: -self.backupCount]:
            _remove(path)


def prune(folder: Path, *, keep: Path, max_bytes: int = MAX_FOLDER_BYTES) -> None:
    """Remove the oldest log files of `folder`, except `keep`, until all together fit into `max_bytes`."""
    files = _oldest_first(folder, _LOG_FILE_NAME)
    total = sum(_size(path) for path in files)
    for path in files:
        if total <= max_bytes:
            return
        if path != keep:
            total -= _size(path)
            _remove(path)


def _oldest_first(folder: Path, name: re.Pattern[str]) -> list[Path]:
    try:
        files = [path for path in folder.iterdir() if name.fullmatch(path.name) and path.is_file()]
    except OSError:
        return []
    return sorted(files, key=lambda path: (_modified_ns(path), path.name))


def _modified_ns(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns
    return 0


def _size(path: Path) -> int:
    # Another process may remove it at the same time: then it weighs nothing.
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _remove(path: Path) -> None:
    # In use on Windows, or gone already: the next start tries again.
    with contextlib.suppress(OSError):
        path.unlink()
