"""`engines` and `profiles`: what they write, what they say, what they refuse."""

import sys
from pathlib import Path
from typing import Any

import pytest

from llama_runner.cli.commands.load import describe_plan
from llama_runner.control.values import Plan, PlanPart
from llama_runner.core.config import load_app_config
from llama_runner.core.errors import ExitCode
from llama_runner.core.paths import home_at
from tests.fakes.gguf_files import good_file
from tests.unit.cli.test_serving_commands import document, run_command


def engines(*argv: str, code: ExitCode = ExitCode.DONE) -> Any:
    return document("engines", *argv, code=code)


def test_engines_are_added_chosen_and_forgotten(home: Path, engine: Path) -> None:
    (added,) = engines("add", "mine", str(engine), "--tools", "no")["engines"]
    assert (added["name"], added["path"], added["supports_tools"]) == ("mine", str(engine), False)
    listed = engines()["engines"]
    assert [(one["name"], one["used"]) for one in listed] == [("default", True), ("mine", False)]
    engines("use", "mine")
    assert [one["used"] for one in engines("list")["engines"]] == [False, True]
    runtime = load_app_config(home_at(home)).value.runtime
    assert (runtime.engine, runtime.engines["mine"].on(sys.platform)) == ("mine", str(engine))
    assert [one["version"] for one in engines("check", "mine")["engines"]] == [added["version"]]
    text = run_command("engines")[1]
    assert "mine" in text and "used" in text
    assert engines("remove", "mine") == {"removed": "mine", "engine": "default"}
    assert engine.exists()
    assert load_app_config(home_at(home)).value.runtime.engine is None
    engines("use", "default")


def test_what_is_no_engine_is_not_added(home: Path, tmp_path: Path) -> None:
    """F2, A6."""
    fake = tmp_path / "fake"
    fake.write_text("#!/bin/sh\necho hello\n")
    fake.chmod(0o755)
    for path in (fake, tmp_path / "gone", tmp_path):
        assert engines("add", "x", str(path), code=ExitCode.FAILED)["error"]["kind"] == "engine"
    assert load_app_config(home_at(home)).value.runtime.engines == {}


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("add", "a b", "/x"), ExitCode.USAGE, "must be a name"),
        (("add", "../x", "/x"), ExitCode.USAGE, "must be a name"),
        (("add", "default", "/x"), ExitCode.USAGE, "means an engine already"),
        (("add", "x", "/a\nb"), ExitCode.USAGE, "cannot be the path"),
        (("remove", "x"), ExitCode.FAILED, "no engine 'x'"),
        (("use", "x"), ExitCode.FAILED, "no engine 'x'"),
        (("check", "x"), ExitCode.FAILED, "no engine 'x'"),
    ],
)
def test_what_cannot_be_is_said(home: Path, argv: tuple[str, ...], code: ExitCode, said: str) -> None:
    assert said in engines(*argv, code=code)["error"]["message"]


def test_settings_that_broke_are_not_overwritten(home: Path, engine: Path) -> None:
    """C1."""
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "app_config.json").write_text("{")
    assert engines("add", "x", str(engine), code=ExitCode.USAGE)["error"]["kind"] == "configuration"
    assert (home / "config" / "app_config.json").read_text() == "{"


@pytest.fixture
def model(home: Path) -> str:
    (home / "data" / "models").mkdir(parents=True)
    (home / "data" / "models" / "m.gguf").write_bytes(good_file())
    return "m"


def test_profiles_are_saved_chosen_listed_and_forgotten(home: Path, model: str) -> None:
    given = ("--context-length", "512", "--tensor-split", "3,1", "--loras", "a.gguf:0.5,b.gguf")
    saved = document("profiles", "save", model, "my own", *given, "--warmup", "no", "--engine", "mine")
    assert saved["profiles"]["my own"] == {
        "engine": "mine",
        "context_length": 512,
        "tensor_split": [3.0, 1.0],
        "loras": ["a.gguf:0.5", "b.gguf"],
        "warmup": False,
    }
    assert document("profiles", "default", model, "my own")["default"] == "my own"
    text = run_command("profiles", "list", model)[1]
    assert "default" in text
    # As one would type it again.
    assert "--context-length 512 --tensor-split 3,1 --warmup no --loras a.gguf:0.5,b.gguf" in text
    assert document("profiles", "default", model)["default"] is None
    assert document("profiles", "remove", model, "my own")["profiles"] == {}
    assert "no profiles" in run_command("profiles", "list", model)[1]


def test_a_profile_with_an_option_out_of_bounds_is_refused(home: Path, model: str) -> None:
    """C8."""
    error = document("profiles", "save", model, "p", "--threads", "0", code=ExitCode.USAGE)["error"]
    assert error["message"] == (
        "The load option threads cannot be 0: it must be a whole number from 1 to 1024 threads or null."
    )


def test_a_plan_is_told_by_kind_of_memory_with_its_command() -> None:
    plan = Plan(
        model="m",
        need_bytes=3 * 2**30,
        measured=False,
        free_bytes=9 * 2**30,
        load_s=2.0,
        fits=True,
        loaded=False,
        evict=(),
        keep=(),
        need_vram_bytes=2**30,
        free_vram_bytes=2 * 2**30,
        parts=(PlanPart("weights", 2**30, 2**30), PlanPart("context", 2**29, 0)),
        command=("/e/llama-server", "--model", "/m/a b.gguf"),
        profile="long",
        gpu_layers=20,
        layers=33,
        warnings=("Mind the gap.",),
    )
    assert describe_plan(plan).splitlines() == [
        "m with the profile long takes about 3.00 GiB; 9.00 GiB are free.",
        "  weights  2.00 GiB, 1.00 GiB of it on graphics cards",
        "  context  512 MiB",
        "20 of 33 layers go to graphics cards: 1.00 GiB, 2.00 GiB are free.",
        "Ready in about 2.00 s.",
        "Mind the gap.",
        "$ /e/llama-server --model '/m/a b.gguf'",
    ]


def test_a_profile_that_names_an_engine_that_is_not_there_is_told_by_validate(home: Path, model: str) -> None:
    document("profiles", "save", model, "p", "--engine", "nowhere")
    found = document("config", "validate")
    assert found["valid"] is True
    assert [one["key"] for one in found["problems"]] == ["models.m.profiles.p.engine"]


def test_doctor_looks_at_the_engine_that_is_used(home: Path, engine: Path) -> None:
    engines("add", "mine", str(engine))
    engines("use", "mine")
    (found,) = (one for one in document("doctor")["checks"] if one["name"] == "engine")
    assert (found["status"], str(engine) in found["detail"]) == ("ok", True)
