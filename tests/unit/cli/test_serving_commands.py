"""The commands of the serving side without a service: what they do and what they say."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from llama_runner.cli.app import run
from llama_runner.cli.commands.load import progress_line
from llama_runner.cli.commands.logs import file_lines
from llama_runner.cli.commands.ps import describe
from llama_runner.control.values import Instance
from llama_runner.core.errors import ExitCode
from tests.fakes.gguf_files import good_file


def run_command(*argv: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    code = run(argv, stdout=stdout, stderr=stderr)
    return code, stdout.getvalue(), stderr.getvalue()


def document(*argv: str, code: ExitCode = ExitCode.DONE) -> Any:
    got, stdout, stderr = run_command(*argv, "--json")
    assert got == code, stderr
    return json.loads(stdout)


def use_engine(home: Path, path: Path) -> None:
    settings = {"version": 1, "runtime": {"engine_path": {"linux": str(path), "windows": str(path)}}}
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "app_config.json").write_text(json.dumps(settings))


def test_nothing_runs_without_a_service(home: Path) -> None:
    assert document("ps") == {"instances": []}
    code, stdout, stderr = run_command("ps")
    assert (code, stdout) == (0, "No model is loaded.\n")
    assert "No service is running." in stderr
    assert document("serve", "--stop") == {"stopped": False, "pid": None}


@pytest.mark.parametrize("argv", [("load", "m"), ("unload", "m"), ("unload", "--all"), ("logs", "m")])
def test_what_needs_a_service_says_how_to_get_one(home: Path, argv: tuple[str, ...]) -> None:
    error = document(*argv, code=ExitCode.FAILED)["error"]
    assert error["kind"] == "service"
    assert "llama-runner serve" in error["hint"]


@pytest.mark.parametrize("argv", [("unload",), ("unload", "m", "--all")])
def test_unload_wants_one_model_or_all(home: Path, argv: tuple[str, ...]) -> None:
    assert document(*argv, code=ExitCode.USAGE)["error"]["kind"] == "usage"


def test_models_are_found_without_a_service(home: Path) -> None:
    folder = home / "data" / "models"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "good.gguf").write_bytes(good_file())
    (folder / "bad.gguf").write_bytes(b"<html>")
    found = {model["id"]: model for model in document("models")["models"]}
    assert found.keys() == {"good", "bad"}
    assert found["good"]["problem"] is None
    assert found["bad"]["problem"]
    _, stdout, _ = run_command("models")
    assert "bad: " in stdout
    assert stdout.splitlines()[0].startswith("MODEL")


def test_the_demo_model_is_one_of_them(home: Path, demo_model: Path) -> None:
    paths = [Path(model["path"]) for model in document("models", "--demo")["models"]]
    assert demo_model in [path.resolve() for path in paths]


def test_the_engine_is_asked_without_a_service(home: Path, engine: Path) -> None:
    use_engine(home, engine)
    (found,) = document("engines")["engines"]
    assert (found["path"], found["origin"], found["problem"]) == (str(engine), "configured", None)
    assert found["version"]
    assert str(engine) in run_command("engines")[1]


def test_an_engine_that_is_none_is_an_error(home: Path, tmp_path: Path) -> None:
    """F2."""
    fake = tmp_path / "llama-server"
    fake.write_text("#!/bin/sh\necho hello\n")
    fake.chmod(0o755)
    for path in (tmp_path, fake):
        use_engine(home, path)
        error = document("engines", code=ExitCode.FAILED)["error"]
        assert error["kind"] == "engine"
        assert str(path) in error["message"]


def test_a_failed_instance_is_shown_with_its_reason() -> None:
    text = describe(
        (Instance("i1", "m", "failed", error="It ran out of memory.", advice="Close something."),)
    )
    assert text.splitlines()[-1] == "m: It ran out of memory. Close something."


def test_progress_is_shown_where_it_is_known() -> None:
    assert progress_line(Instance("i1", "m", "starting")) == "Loading m …"
    assert progress_line(Instance("i1", "m", "starting", progress=0.5)) == "Loading m 50.0 % …"


async def test_a_followed_log_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("one\ntwo\n")
    lines = file_lines(path, last=1, follow=True)
    assert await anext(lines) == "two"
    with path.open("a") as file:
        file.write("three\n")
    assert await anext(lines) == "three"
    await lines.aclose()
