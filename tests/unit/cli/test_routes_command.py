"""`routes` without a service: what it does to the settings."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from llama_runner.cli import app
from llama_runner.cli.commands.routes import describe
from llama_runner.control.routes import Route, RouteList, RouteStep
from llama_runner.core.config import load_app_config
from llama_runner.core.paths import create_folders, home_at


@pytest.fixture
def folder(home: Path) -> Path:
    create_folders(home_at(home))
    return home


def run(*argv: str) -> tuple[int, Any]:
    """A command's exit code and its JSON."""
    stdout = io.StringIO()
    code = app.run(["routes", *argv, "--json"], stdout=stdout, stderr=io.StringIO())
    return code, json.loads(stdout.getvalue())


def test_routes_are_added_replaced_and_removed(folder: Path) -> None:
    assert run("add", "gpt", "here", "there@box:11434")[0] == 0
    code, shown = run("list")
    assert code == 0
    assert [(step["target"], step["where"]) for step in shown["routes"][0]["steps"]] == [
        ("here", "local"),
        ("there@box:11434", "box:11434"),
    ]
    run("add", "gpt", "other")
    assert load_app_config(home_at(folder)).value.proxy.routes["gpt"].steps == ("other",)
    assert run("remove", "gpt") == (0, {"routes": [], "servers": []})


@pytest.mark.parametrize(
    ("argv", "code", "kind"),
    [
        (("remove", "none"), 1, "not_found"),
        (("add", "x", *["m"] * 9), 2, "usage"),
        (("add", "x", "@box:1"), 2, "usage"),
        (("add", "x\n", "m"), 2, "usage"),
        (("test", "x"), 1, "service"),
    ],
)
def test_what_is_no_route_changes_nothing(folder: Path, argv: tuple[str, ...], code: int, kind: str) -> None:
    run("add", "kept", "m")
    found, said = run(*argv)
    assert (found, said["error"]["kind"]) == (code, kind)
    assert tuple(load_app_config(home_at(folder)).value.proxy.routes) == ("kept",)


def test_a_table_says_what_is_wrong_with_a_step() -> None:
    steps = (
        RouteStep("m@a:1", "a:1", answered_s=0.2),
        RouteStep("m@b:1", "b:1", passed_over=True),
        RouteStep("m", "local", problem="There is no such model here."),
    )
    lines = describe(RouteList((Route("way", steps),), ("http://a:1",))).splitlines()
    assert lines[1].startswith("way")
    assert "answers in 200 ms" in lines[1]
    assert "passed over" in lines[2]
    assert "no such model" in lines[3]
    assert lines[4] == "models of http://a:1 are offered as model@server"
