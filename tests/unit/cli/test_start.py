"""What a start means, and what it imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llama_runner import __version__
from llama_runner.__main__ import Mode, decide

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("line", "mode"),
    [
        ("", Mode.WINDOW),
        ("--demo", Mode.WINDOW),
        ("--home x --debug", Mode.WINDOW),
        ("--home=x --demo", Mode.WINDOW),
        ("--home query", Mode.WINDOW),
        ("--headless", Mode.HEADLESS),
        ("--demo --headless --openai 127.0.0.1:0", Mode.HEADLESS),
        ("--selftest", Mode.SELFTEST),
        ("--version", Mode.VERSION),
        ("--help", Mode.COMMAND),
        ("--json", Mode.COMMAND),
        ("doctor", Mode.COMMAND),
        ("--demo query hello --headless", Mode.COMMAND),
        ("query --version", Mode.COMMAND),
        ("--nonsense", Mode.COMMAND),
    ],
)
def test_the_options_before_a_command_decide_what_starts(line: str, mode: Mode) -> None:
    assert decide(line.split()) is mode


def _start(*arguments: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=50,
        env=env,
    )


def test_version_is_printed_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    done = _start("--version")

    assert (done.returncode, done.stdout) == (0, f"llama-runner {__version__}\n")


def test_a_command_imports_no_window_and_the_decision_imports_almost_nothing(home: Path) -> None:
    code = (
        "import sys, llama_runner.__main__ as m; before = set(sys.modules);"
        "m.main(['doctor', '--json', '--quiet']);"
        "sys.stderr.write(repr([sorted(before), sorted(sys.modules)]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True, timeout=50
    )

    before, after = eval(done.stderr.splitlines()[-1])  # noqa: S307 - our own repr
    assert not {"argparse", "asyncio", "pydantic", "llama_runner.cli.app"} & set(before)
    assert not {"PySide6", "qasync", "pyqtgraph", "starlette", "uvicorn"} & set(after)


def test_doctor_prints_one_json_document_and_succeeds(home: Path) -> None:
    done = _start("doctor", "--json")

    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["version"] == __version__
    assert report["home"]["root"] == str(home)
    assert {"python", "control port", "engine", "models", "gpu"} <= {c["name"] for c in report["checks"]}
    assert {c["status"] for c in report["checks"]} <= {"ok", "warning"}


def test_an_argument_that_is_not_utf8_ends_in_one_sentence(home: Path) -> None:
    """A1: non-UTF-8 argv."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), b"\xff\xfe"], capture_output=True, check=False, timeout=50
    )

    assert done.returncode == 2
    assert b"There is no command" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a desktop is always there")
def test_without_a_display_it_says_so_and_serves(home: Path) -> None:
    """A7: no DISPLAY."""
    env = {"PATH": "/usr/bin:/bin", "LLAMA_RUNNER_HOME": str(home), "HOME": str(home)}
    (home / "config").mkdir()
    (home / "config" / "app_config.json").write_text('{"version": 1, "service": {"control_port": 0}}')
    with subprocess.Popen(
        [sys.executable, str(ROOT / "main.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=env,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stderr.readline()
        ready = process.stdout.readline()
        process.terminate()
        process.communicate(timeout=30)

    assert said.startswith("No display was found")
    assert ready.startswith("The service runs")
    assert process.returncode == 0


def test_the_selftest_of_a_checkout_passes() -> None:
    done = _start("--selftest")

    assert done.returncode == 0, done.stderr
    assert [line.split()[2] for line in done.stderr.splitlines() if line.startswith("selftest:")] == [
        "ok"
    ] * 3
