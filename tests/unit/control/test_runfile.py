"""The run file and who is trusted because of it."""

import dataclasses
import os
import stat
import sys
from pathlib import Path

import pytest

from llama_runner.control.runfile import (
    RunFile,
    read_run_file,
    remove_run_file,
    run_file_path,
    running_service,
    write_run_file,
)
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.system.identity import identity


@pytest.fixture
def folders(tmp_path: Path) -> Home:
    home = home_at(tmp_path / "home")
    create_folders(home)
    return home


@pytest.fixture
def mine() -> RunFile:
    me = identity(os.getpid())
    assert me is not None
    return RunFile(me.pid, me.create_time, "http://127.0.0.1:1", "t0ken", "1.0")


def test_what_is_written_is_read_back(folders: Home, mine: RunFile) -> None:
    write_run_file(folders, mine)
    assert read_run_file(folders) == mine
    assert running_service(folders) == mine


@pytest.mark.skipif(sys.platform == "win32", reason="the profile's access list protects it there")
def test_only_the_user_can_read_the_token(folders: Home, mine: RunFile) -> None:
    """R9."""
    write_run_file(folders, mine)
    assert stat.S_IMODE(run_file_path(folders).stat().st_mode) == 0o600


def test_the_token_is_in_no_repr(mine: RunFile) -> None:
    assert "t0ken" not in repr(mine)


def test_no_file_means_no_service(folders: Home) -> None:
    assert read_run_file(folders) is None
    assert running_service(folders) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff", b"x" * 10_000])
def test_a_broken_file_means_no_service(folders: Home, content: bytes) -> None:
    run_file_path(folders).write_bytes(content)
    assert read_run_file(folders) is None


def test_a_recycled_pid_is_not_trusted(folders: Home, mine: RunFile) -> None:
    """F9: our own pid, but another process's start time."""
    write_run_file(folders, dataclasses.replace(mine, create_time=mine.create_time - 100))
    assert read_run_file(folders) is not None
    assert running_service(folders) is None


def test_a_dead_pid_is_not_trusted(folders: Home, mine: RunFile) -> None:
    write_run_file(folders, dataclasses.replace(mine, pid=2**22 + 7))
    assert running_service(folders) is None


def test_removing_leaves_the_file_of_a_successor(folders: Home, mine: RunFile) -> None:
    write_run_file(folders, dataclasses.replace(mine, token="the successor's"))
    remove_run_file(folders, mine)
    assert run_file_path(folders).exists()
    remove_run_file(folders, dataclasses.replace(mine, token="the successor's"))
    assert not run_file_path(folders).exists()
