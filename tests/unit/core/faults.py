"""Stand-ins for the world around core: a disk whose n-th call fails, and a clock that is set by hand."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from llama_runner.core.files import Disk


class HandClock:
    """Stands still until told; wall time moves with it."""

    def __init__(self) -> None:
        self._ns = 1_000_000_000

    def now_ns(self) -> int:
        return self._ns

    def utc(self) -> datetime:
        return datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC) + timedelta(microseconds=self._ns // 1000)

    def advance(self, seconds: float) -> None:
        self._ns += round(seconds * 1e9)


class FailingDisk(Disk):
    """A real disk that raises `error` at call number `fail_at` (from 1) and takes one byte per write."""

    def __init__(self, fail_at: int, error: Callable[[], OSError]) -> None:
        self.calls = 0
        self._fail_at = fail_at
        self._error = error

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._fail_at:
            raise self._error()

    def open_new(self, path: Path) -> int:
        self._count()
        return super().open_new(path)

    def write(self, descriptor: int, data: bytes) -> int:
        self._count()
        return super().write(descriptor, data[: max(1, len(data) // 2)])

    def sync(self, descriptor: int) -> None:
        self._count()
        super().sync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self._count()
        super().replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        self._count()
        super().sync_folder(folder)
