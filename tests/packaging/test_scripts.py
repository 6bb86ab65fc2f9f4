"""scripts/test.py and scripts/check.py: what they would install, run and find."""

import os
import sys
from pathlib import Path

import pytest

from scripts import check
from scripts import test as test_script

ROOT = Path(__file__).resolve().parents[2]


def test_packages_are_missing_unless_dpkg_calls_them_installed() -> None:
    status = "xvfb installed\nopenbox config-files\nxdotool not-installed\n"

    assert test_script.missing_packages(("xvfb", "openbox", "xdotool", "dbus"), status) == [
        "openbox",
        "xdotool",
        "dbus",
    ]


def _program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Debian that has everything but openbox; what apt-get was asked for is in `asked`."""
    have = "\\n".join(f"{name} installed" for name in test_script.PACKAGES if name != "openbox")
    _program(tmp_path, "dpkg-query", f'printf "{have}\\n"')
    _program(tmp_path, "apt-get", f'echo "$@" >> {tmp_path}/asked')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="Debian's tools")
def test_root_gets_the_missing_packages_installed(debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert test_script.ensure_packages() == 0
    asked = (debian / "asked").read_text().splitlines()
    assert asked == ["-q update", "install -y --no-install-recommends openbox"]


@pytest.mark.skipif(sys.platform == "win32", reason="Debian's tools")
def test_anybody_else_is_told_in_one_line(
    debian: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert test_script.ensure_packages() == 2
    assert not (debian / "asked").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("sudo apt-get install -y --no-install-recommends openbox")


@pytest.mark.skipif(sys.platform == "win32", reason="Debian's tools")
def test_a_package_that_cannot_be_installed_is_exit_code_2(
    debian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    _program(debian, "apt-get", "exit 100")

    assert test_script.ensure_packages() == 2


def test_elsewhere_than_on_debian_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert test_script.ensure_packages() == 0


def test_everything_runs_even_after_a_failure_and_the_end_tells(capfd: pytest.CaptureFixture[str]) -> None:
    python = sys.executable

    code = test_script.run_steps(
        [[("first", [python, "-c", "raise SystemExit(3)"])], [("second", [python, "-c", "print('ran')"])]]
    )

    out, err = capfd.readouterr()
    assert (code, out) == (1, "ran\n")
    assert [line.split()[0] for line in err.splitlines()[-2:]] == ["FAILED", "ok"]


def test_steps_side_by_side_meet_and_none_loses_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each waits for the other's file: one after the other they would never end."""
    meet = "import pathlib, sys, time\nmine, other = map(pathlib.Path, sys.argv[1:])\nmine.touch()\n"
    meet += "while not other.exists(): time.sleep(0.01)\nprint('met', mine.name)"
    one, two = str(tmp_path / "one"), str(tmp_path / "two")

    code = test_script.run_steps(
        [
            [
                ("first", [sys.executable, "-c", meet, one, two]),
                ("second", [sys.executable, "-c", meet, two, one]),
            ]
        ]
    )

    out, err = capfd.readouterr()
    assert (code, out) == (0, "met one\n")
    assert "met two" in err
    assert [line.split()[0] for line in err.splitlines()[-2:]] == ["ok", "ok"]


def test_core_is_measured_by_its_own_tests_and_times_are_judged_without_measuring() -> None:
    commands = [" ".join(command) for group in test_script.steps("python") for _, command in group]

    assert "python scripts/check.py" in commands
    assert any("coverage run" in line and line.endswith("tests/unit/core") for line in commands)
    assert any("--include=llama_runner/core/*" in line and "--fail-under=100" in line for line in commands)
    assert [line for line in commands if line.endswith("-m timing")] == ["python -m pytest -q -m timing"]


def test_the_ci_runs_this_command_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()

    assert lines == ["#!/bin/sh", 'exec python3 "$(dirname "$0")/../scripts/test.py"']
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_paths_in_documents_are_found_as_links_and_as_code() -> None:
    text = (
        "[a](docs/a.md#part) [b](https://example.org/x) `scripts/run.py` `llama_runner/core/` "
        "`python3 scripts/test.py` `core/settings.py` `logs/x.log` `a/b`"
    )

    assert list(check.paths_in_markdown(text)) == [
        ("docs/a.md", True),
        ("scripts/run.py", False),
        ("llama_runner/core/", False),
    ]


def test_a_document_that_names_what_is_not_there_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("[here](a.md) [gone](b.md) `docs/a.md` `docs/c.md`")

    assert check.check_documents(["docs/a.md"]) == [
        "docs/a.md: b.md does not exist",
        "docs/a.md: docs/c.md does not exist",
    ]


@pytest.mark.parametrize(
    "text", ["a\n<<<<<<< HEAD\n", "x  # " + "TODO later", f"see {ROOT}/docs", "pip --index-url x"]
)
def test_slips_are_found_with_their_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "a.py").write_text(text)
    (tmp_path / "b.bin").write_bytes(b"\0" + text.encode())
    monkeypatch.setattr(check, "ROOT", ROOT)
    names = [os.path.relpath(tmp_path / name, ROOT) for name in ("a.py", "b.bin")]

    (problem,) = check.check_slips(names)

    assert ": a" in problem
