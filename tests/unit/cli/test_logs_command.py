"""`logs`: the end of a file, and what comes after it."""

import io
import json
from pathlib import Path

from llama_runner.cli.app import run


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
