"""Lines from the end of logs that grow and are put aside."""

from pathlib import Path

import pytest

from llama_runner.core import logtail
from llama_runner.core.logtail import TAIL_BYTES, LogTail, lines_after, model_log, program_log
from llama_runner.core.paths import home_at


def test_each_log_has_its_file(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    assert program_log(home) == home.logs_dir / "llama-runner.log"
    assert model_log(home, "a-1") == home.logs_dir / "model-a-1.log"


def test_only_whole_new_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    tail = LogTail(path)
    assert tail.read() == []
    path.write_bytes(b"one\ntw")
    assert tail.read() == ["one"]
    with path.open("ab") as file:
        file.write("o\nüber\n".encode())
    assert tail.read() == ["two", "über"]
    assert tail.read() == []
    with path.open("ab") as file:
        file.write(b"thr\xffee\n")
    assert tail.read() == ["thr\ufffdee"]


def test_a_rotated_file_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"a long line before the rotation\n")
    tail = LogTail(path)
    tail.read()
    path.rename(tmp_path / "x.log.1")
    assert tail.read() == []
    path.write_bytes(b"after\n")
    assert tail.read() == ["after"]


def test_a_huge_log_is_read_from_near_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with path.open("wb") as file:
        file.seek(3 * TAIL_BYTES)
        file.write(b"cut off\nlast\n")
    assert LogTail(path).read()[-1] == "last"
    assert len(LogTail(path).read()) <= 2


def test_a_position_beyond_the_end_is_of_a_file_that_was_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"one\ntwo\nthr")
    assert lines_after(path, None) == (["one", "two"], 8)
    assert lines_after(path, 4) == (["two"], 8)
    assert lines_after(path, 99) == (["one", "two"], 8)
    assert lines_after(tmp_path / "none.log", 99) == ([], 0)


def test_another_file_in_its_place_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"a long line\nand one more\n")
    tail = LogTail(path)
    tail.read()
    path.write_bytes(b"new\n")
    assert tail.read() == ["new"]


def test_of_a_long_file_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"first\nsecond\nthird\n")
    monkeypatch.setattr(logtail, "TAIL_BYTES", 10)
    lines, position = lines_after(path, None)
    assert lines == ["third"]
    assert position == path.stat().st_size
    # From a place of its own every line counts.
    assert lines_after(path, 6) == (["second"], 13)
