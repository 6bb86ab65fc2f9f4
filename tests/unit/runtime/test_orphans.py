"""F9: what a killed service left behind is found by its mark and ended; nothing else ever is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from llama_runner.core.paths import create_folders, home_at
from llama_runner.runtime.orphans import VARIABLE, LaunchMark, end_orphans, record_path
from llama_runner.system.orphans import end_marked
from tests.fakes.waiting import is_gone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sleeps by a POSIX program")


@contextmanager
def _sleeper(env: dict[str, str], script: str = "exec sleep 300") -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sh", "-c", script], env=os.environ | env, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_f9_a_marked_process_is_ended_and_its_note_is_gone(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    create_folders(home)
    mark = LaunchMark(home)
    with _sleeper(dict(mark.environment())) as left, _sleeper({VARIABLE: "another home's"}) as stranger:
        assert record_path(home).exists()
        assert end_orphans(home) == 1
        assert is_gone(left.pid)
        assert stranger.poll() is None
    assert not record_path(home).exists()
    assert end_orphans(home) == 0


def test_f9_what_a_wrapper_script_started_is_found_although_the_script_is_gone(tmp_path: Path) -> None:
    """Linux's death signal reaches the script alone."""
    home = home_at(tmp_path)
    create_folders(home)
    with _sleeper(dict(LaunchMark(home).environment()), "sleep 300 & echo $!; wait") as script:
        assert script.stdout is not None
        grandchild = psutil.Process(int(script.stdout.readline()))
        script.kill()
        script.wait(5)
        assert grandchild.is_running()
        assert end_orphans(home) == 1
        assert is_gone(grandchild.pid)


def test_f9_a_process_that_got_the_pid_of_a_dead_child_is_left_alone(tmp_path: Path) -> None:
    """No pid is remembered, so none can be mistaken."""
    home = home_at(tmp_path)
    create_folders(home)
    LaunchMark(home).environment()
    with _sleeper({}) as stranger:
        assert str(stranger.pid) not in record_path(home).read_text()
        assert end_orphans(home) == 0
        assert stranger.poll() is None


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 1, "mark": ""}', b"\xff\x00", b"x" * 5000])
def test_a_note_that_is_not_understood_ends_nothing(tmp_path: Path, content: bytes) -> None:
    home = home_at(tmp_path)
    create_folders(home)
    record_path(home).write_bytes(content)
    with _sleeper({VARIABLE: ""}) as stranger:
        assert end_orphans(home) == 0
        assert stranger.poll() is None


def test_an_orderly_end_leaves_no_note(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    create_folders(home)
    mark = LaunchMark(home)
    mark.clear()
    first = dict(mark.environment())
    written = record_path(home).read_bytes()
    assert dict(mark.environment()) == first
    assert record_path(home).read_bytes() == written
    mark.clear()
    assert not record_path(home).exists()


def test_a_note_that_cannot_be_written_stops_no_load(tmp_path: Path) -> None:
    """F33."""
    home = home_at(tmp_path / "missing")
    assert LaunchMark(home).environment()[VARIABLE]


def test_nobody_marked_is_nobody_ended() -> None:
    assert end_marked(VARIABLE, "a mark that nobody has") == 0
