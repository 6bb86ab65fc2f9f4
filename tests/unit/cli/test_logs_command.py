"""`logs`: the end of a file, and what comes after it."""

import io
import json
from pathlib import Path

from llama_runner.cli.app import run
from llama_runner.core.logtail import TAIL_BYTES, LogTail, lines_after


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


def test_the_last_lines_come_out_as_text_or_as_json_lines(home: Path) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "llama-runner.log").write_text("one\ntwo\nthree\n")
    stdout = io.StringIO()
    assert run(["logs", "--lines", "2"], stdout=stdout, stderr=io.StringIO()) == 0
    assert stdout.getvalue().splitlines() == ["two", "three"]
    stdout = io.StringIO()
    run(["logs", "--lines", "1", "--json"], stdout=stdout, stderr=io.StringIO())
    assert json.loads(stdout.getvalue()) == {"source": "llama-runner", "line": "three"}


def test_no_log_yet_is_no_error(home: Path) -> None:
    stdout = io.StringIO()
    assert run(["logs"], stdout=stdout, stderr=io.StringIO()) == 0
    assert run(["logs", "--lines", "-1"], stdout=io.StringIO(), stderr=io.StringIO()) == 2
    assert run(["logs", "nobody"], stdout=io.StringIO(), stderr=io.StringIO()) == 1


def test_what_a_model_wrote_earlier_is_shown_when_it_is_not_loaded(home: Path) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "model-small.log").write_text("one\ntwo\n")
    stdout, stderr = io.StringIO(), io.StringIO()
    assert run(["logs", "small", "--lines", "1"], stdout=stdout, stderr=stderr) == 0
    assert stdout.getvalue() == "two\n"
    assert "is not loaded" in stderr.getvalue()
    (home / "secret.log").write_text("a secret\n")
    assert run(["logs", "../secret"], stdout=stdout, stderr=io.StringIO()) == 1
    assert "a secret" not in stdout.getvalue()
