"""From argv to an exit code, with a command of our own."""

import argparse
import asyncio
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from llama_runner.cli import app
from llama_runner.cli.app import Parser, expected_error, overview, split_common
from llama_runner.cli.command import load_command
from llama_runner.cli.commands import COMMANDS
from llama_runner.cli.render import Output
from llama_runner.core.errors import EngineError, ExitCode, UnreachableError, UsageError

Body = Callable[[argparse.Namespace, Output], None]


class Probe:
    """A command whose body a test supplies."""

    name = "probe"
    help = "only here"
    body: Body

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--port", type=int)
        actions = parser.add_subparsers(dest="action")
        actions.add_parser("get", allow_abbrev=False).add_argument("key")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        await asyncio.sleep(0)
        type(self).body(args, out)
        return ExitCode.DONE


class Result:
    """What one run left behind."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code = code
        self.stdout = stdout
        self.stderr = stderr


Run = Callable[[Sequence[str], Body], Result]


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the app with `probe` as one of its commands."""
    module = ModuleType("probe_command")
    monkeypatch.setattr(module, "Probe", Probe, raising=False)
    monkeypatch.setitem(sys.modules, "probe_command", module)
    monkeypatch.setattr(app, "COMMANDS", (*COMMANDS, ("probe", "probe_command:Probe", "only here")))

    def _run(argv: Sequence[str], body: Body) -> Result:
        monkeypatch.setattr(Probe, "body", staticmethod(body), raising=False)
        stdout, stderr = io.StringIO(), io.StringIO()
        code = app.run(argv, stdout=stdout, stderr=stderr)
        return Result(code, stdout.getvalue(), stderr.getvalue())

    return _run


def _nothing(args: argparse.Namespace, out: Output) -> None:
    out.document({"ok": True})
    out.text("done")


def _raises(error: BaseException) -> Body:
    def body(args: argparse.Namespace, out: Output) -> None:
        raise error

    return body


@pytest.mark.parametrize("argv", [["--json", "probe"], ["probe", "--json"], ["probe", "get", "x", "--json"]])
def test_common_options_are_accepted_anywhere(run: Run, argv: list[str]) -> None:
    result = run(argv, _nothing)

    assert (result.code, json.loads(result.stdout), result.stderr) == (0, {"ok": True}, "")


def test_all_common_options_reach_the_command(run: Run, tmp_path: Path) -> None:
    seen: list[argparse.Namespace] = []

    run(
        ["--yes", "probe", "--debug", "--quiet", "--demo", "--home", str(tmp_path / "h")],
        lambda args, out: seen.append(args),
    )

    args = seen[0]
    assert (args.yes, args.debug, args.quiet, args.demo, args.json) == (True, True, True, True, False)
    assert args.home == tmp_path / "h"


def test_options_after_a_double_dash_are_left_to_the_command() -> None:
    args, rest = split_common(["query", "--json", "--", "--demo"])

    assert (args.json, args.demo, rest) == (True, False, ["query", "--", "--demo"])


def test_text_is_for_people_and_a_document_for_programs(run: Run) -> None:
    assert run(["probe"], _nothing).stdout == "done\n"


def test_an_unknown_command_exits_2_and_suggests_the_closest(run: Run) -> None:
    result = run(["qurey", "x"], _nothing)

    assert result.code == 2
    assert "Did you mean query?" in result.stderr
    assert result.stdout == ""


def test_an_unknown_command_of_100_kilobytes_is_not_repeated(run: Run) -> None:
    """A1: 100 KB argument."""
    result = run(["q" * 100_000], _nothing)

    assert result.code == 2
    assert len(result.stderr) < 300


@pytest.mark.parametrize(
    "argv", [["probe", "--port", "abc"], ["probe", "--port"], ["probe", "--unknown"], ["probe", "@file"]]
)
def test_bad_arguments_exit_2_with_usage(run: Run, argv: list[str]) -> None:
    """A1: unknown option, missing value, `--port abc`, `@file`."""
    result = run(argv, _nothing)

    assert result.code == 2
    assert result.stderr.startswith("usage: llama-runner probe")
    assert "--help" in result.stderr


def test_bad_arguments_with_json_are_one_document_on_stdout(run: Run) -> None:
    result = run(["probe", "--port", "abc", "--json"], _nothing)

    error = json.loads(result.stdout)["error"]
    assert (result.code, error["kind"], result.stderr) == (2, "usage", "")
    assert "abc" in error["message"]


@pytest.mark.parametrize("argv", [["--json"], ["--nonsense", "probe"]])
def test_options_without_a_command_are_a_usage_error(run: Run, argv: list[str]) -> None:
    assert run(argv, _nothing).code == 2


def test_an_expected_error_is_one_sentence_what_to_do_and_its_code(run: Run) -> None:
    result = run(["probe"], _raises(UnreachableError("Nothing answers.", "Start it.")))

    assert (result.code, result.stdout, result.stderr) == (3, "", "Nothing answers. Start it.\n")


def test_an_expected_error_with_json_is_the_error_document(run: Run) -> None:
    result = run(["probe", "--json"], _raises(EngineError("No engine.", "Install one.")))

    expected = {"error": {"kind": "engine", "message": "No engine.", "hint": "Install one."}}
    assert (result.code, json.loads(result.stdout)) == (1, expected)


def test_an_error_out_of_a_task_group_is_shown_as_itself() -> None:
    error = UsageError("Wrong.")

    assert expected_error(ExceptionGroup("tasks", [ValueError(), ExceptionGroup("x", [error])])) is error
    assert expected_error(ValueError()) is None


def test_an_unexpected_error_names_the_log_and_the_log_has_the_traceback(run: Run, home: Path) -> None:
    result = run(["probe"], _raises(ZeroDivisionError("by nought")))

    log_file = home / "logs" / "llama-runner.log"
    assert result.code == 1
    assert str(log_file) in result.stderr
    assert "Traceback" not in result.stderr
    assert "ZeroDivisionError" in log_file.read_text(encoding="utf-8")


def test_debug_adds_the_traceback(run: Run) -> None:
    result = run(["probe", "--debug"], _raises(ZeroDivisionError("by nought")))

    assert "Traceback" in result.stderr
    assert "by nought" in result.stderr


def test_an_interrupted_command_exits_130(run: Run) -> None:
    assert run(["probe"], _raises(KeyboardInterrupt())).code == 130


def test_an_error_after_the_document_does_not_make_it_two(run: Run) -> None:
    def body(args: argparse.Namespace, out: Output) -> None:
        out.document([1])
        raise EngineError("Too late.")

    result = run(["probe", "--json"], body)

    assert (result.code, json.loads(result.stdout), result.stderr) == (1, [1], "Too late.\n")


def test_help_lists_every_command_without_importing_one(run: Run) -> None:
    result = run(["--help"], _nothing)

    assert result.code == 0
    assert all(f"  {name} " in result.stdout for name, _, _ in COMMANDS)
    assert all(
        option in overview() for option in ("--json", "--debug", "--home", "--yes", "--quiet", "--demo")
    )


def test_a_home_that_cannot_be_made_still_lets_the_command_run(run: Run, tmp_path: Path) -> None:
    """A7: read-only home."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    result = run(["probe", "--home", str(blocked / "home")], _nothing)

    assert (result.code, result.stdout) == (0, "done\n")
    assert result.stderr.startswith("No log is written")


@pytest.mark.parametrize(("name", "target", "help_text"), COMMANDS)
def test_every_command_of_the_table_can_be_configured(name: str, target: str, help_text: str) -> None:
    command = load_command(target)

    command.configure(Parser(prog=name, parents=[app.common_options()], allow_abbrev=False))

    assert command.name == name
    assert help_text
    assert command.help


def test_a_command_that_cannot_be_imported_is_an_error_like_any_other(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "COMMANDS", (("gone", "llama_runner.no_such_module:X", "x"),))

    result = run(["gone", "--json"], _nothing)

    assert result.code == 1
    assert "no_such_module" in json.loads(result.stdout)["error"]["message"]
