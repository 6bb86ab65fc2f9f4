import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llama_runner.core import files
from llama_runner.core.errors import StorageError
from llama_runner.core.files import Disk, read_bounded, write_atomic, write_new
from tests.unit.core.faults import FailingDisk

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file types and modes")


def disk_full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def io_error() -> OSError:
    return OSError(errno.EIO, "Input/output error")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@posix_only
def test_a_written_file_is_private_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [disk_full, io_error])
@pytest.mark.parametrize("existed", [True, False])
def test_f31_f33_a_failure_at_any_call_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, error: Callable[[], OSError], existed: bool
) -> None:
    """Fail at call n = 1, 2, …, until the save succeeds; writes are short, too."""
    path = tmp_path / "a.json"
    for fail_at in range(1, 100):
        path.unlink(missing_ok=True)
        if existed:
            path.write_bytes(b"old")
        disk = FailingDisk(fail_at, error)
        try:
            write_atomic(path, b"new content", disk=disk)
        except StorageError as failure:
            assert "could not be written" in str(failure)
            # Only the very last call, which makes the rename durable, comes after the new file is in place.
            content = path.read_bytes() if path.exists() else None
            assert content in ((b"old" if existed else None), b"new content")
            assert set(names(tmp_path)) <= {"a.json"}
        else:
            assert disk.calls < fail_at
            break
    assert path.read_bytes() == b"new content"
    assert fail_at > 6


def test_an_interrupt_during_a_save_leaves_no_temporary_file(tmp_path: Path) -> None:
    class Interrupted(Disk):
        def sync(self, descriptor: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", b"x", disk=Interrupted())
    assert names(tmp_path) == []


class BusyDisk(Disk):
    """Answers `times` replacements as Windows does while a virus scanner holds the file."""

    def __init__(self, times: int, winerror: int = 32) -> None:
        self._left = times
        self._winerror = winerror

    def replace(self, source: Path, target: Path) -> None:
        if self._left:
            self._left -= 1
            error = PermissionError(errno.EACCES, "The process cannot access the file")
            error.winerror = self._winerror  # type: ignore[attr-defined,unused-ignore]
            raise error
        super().replace(source, target)


@pytest.mark.parametrize("winerror", [5, 32, 33])
def test_a_file_that_windows_says_is_busy_is_replaced_after_a_while(tmp_path: Path, winerror: int) -> None:
    waits: list[float] = []
    write_atomic(tmp_path / "a", b"x", disk=BusyDisk(3, winerror), wait=waits.append)
    assert (tmp_path / "a").read_bytes() == b"x"
    assert len(waits) == 3 and waits == sorted(waits)


def test_a_file_that_stays_busy_is_given_up_after_about_two_and_a_half_seconds(tmp_path: Path) -> None:
    waits: list[float] = []
    with pytest.raises(StorageError, match="cannot access"):
        write_atomic(tmp_path / "a", b"x", disk=BusyDisk(100), wait=waits.append)
    assert 2 <= sum(waits) <= 3
    assert names(tmp_path) == []


def test_the_default_wait_waits(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"x", disk=BusyDisk(1))
    assert (tmp_path / "a").exists()


def test_where_folders_cannot_be_synced_the_write_still_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_DIRECTORY", 0)
    write_atomic(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


@posix_only
def test_a_linked_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real, link = tmp_path / "dotfiles" / "a", tmp_path / "a"
    real.write_bytes(b"old")
    link.symlink_to(real)
    write_atomic(link, b"new")
    assert link.is_symlink() and real.read_bytes() == b"new"


def test_a_missing_folder_is_an_error_with_advice(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="permissions of its folder"):
        write_atomic(tmp_path / "missing" / "a", b"x")


def test_a_new_file_never_replaces_another_one(tmp_path: Path) -> None:
    write_new(tmp_path / "a", b"first")
    with pytest.raises(StorageError, match="exists already"):
        write_new(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"


def test_a_new_file_that_cannot_be_finished_is_removed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No space"):
        write_new(tmp_path / "a", b"content", disk=FailingDisk(3, disk_full))
    assert names(tmp_path) == []


def test_reading_returns_the_content_and_nothing_for_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bounded(tmp_path / "a", max_bytes=5) == b"12345"
    assert read_bounded(tmp_path / "b", max_bytes=5) is None


def test_c10_a_file_beyond_the_limit_is_refused_without_reading_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(StorageError, match="larger than 100 bytes"):
        read_bounded(path, max_bytes=100)


@posix_only
def test_c7_fifos_devices_and_folders_are_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises(StorageError, match="is not a file"):
            read_bounded(path, max_bytes=100)


@posix_only
def test_c7_a_symlink_loop_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(StorageError, match="cannot be read"):
        read_bounded(tmp_path / "a", max_bytes=100)


def rewritten_while_reading(monkeypatch: pytest.MonkeyPatch, path: Path, times: int) -> None:
    """Let another program rewrite `path` in place during each of the first `times` reads."""
    read, left = os.read, [times]

    def read_and_rewrite(descriptor: int, limit: int) -> bytes:
        data = read(descriptor, limit)
        if data and left[0]:
            left[0] -= 1
            path.write_bytes(b"version %d" % left[0] + b"!" * left[0])
        return data

    monkeypatch.setattr(os, "read", read_and_rewrite)


def test_c10_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"half a ver")
    rewritten_while_reading(monkeypatch, path, times=1)
    assert read_bounded(path, max_bytes=100) == b"version 0"


def test_a_file_that_never_settles_is_read_a_bounded_number_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"half a ver")
    rewritten_while_reading(monkeypatch, path, times=1000)
    assert read_bounded(path, max_bytes=2000) is not None
