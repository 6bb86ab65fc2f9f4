"""Lines from the end of logs that grow and are put aside."""

from pathlib import Path

import pytest

from llama_runner.core import logtail
from llama_runner.core.logtail import LogTail, lines_after, model_log, program_log
from llama_runner.core.paths import home_at


def test_each_log_has_its_file(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    assert program_log(home) == home.logs_dir / "llama-runner.log"
    assert model_log(home, "a-1") == home.logs_dir / "model-a-1.log"


def test_reading_goes_on_where_it_stopped_and_never_splits_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    tail = LogTail(path)
    assert tail.read() == []
    path.write_bytes(b"one\ntw")
    assert tail.read() == ["one"]
    with path.open("ab") as file:
        file.write(b"o\nthr\xffee\n")
    assert tail.read() == ["two", "thr\ufffdee"]
    assert tail.read() == []


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
