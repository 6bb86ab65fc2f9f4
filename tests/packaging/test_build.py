"""The packaged program: built once, then run as a user would, from a folder of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.metronome import Metronome

ROOT = Path(__file__).resolve().parents[2]

# Building takes some 40 s on two quiet cores, and the first test to ask for it waits for it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built executable."""
    folder = tmp_path_factory.mktemp("build")
    built = subprocess.run(
        [
            *(sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", "build.spec"),
            *("--distpath", str(folder / "dist"), "--workpath", str(folder / "work")),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYINSTALLER_CONFIG_DIR": str(folder / "cache")},
    )
    assert built.returncode == 0, built.stdout
    return (
        folder / "dist" / "llama-runner" / ("llama-runner.exe" if sys.platform == "win32" else "llama-runner")
    )


def _run(program: Path, home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # Not from the checkout, and without anything of this environment that could help it.
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LLAMA_RUNNER_HOME": str(home)}
    return subprocess.run(
        [str(program), *arguments],
        cwd=home,
        env=os.environ | env if sys.platform == "win32" else env,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


def test_the_packaged_program_passes_its_selftest(program: Path, home: Path) -> None:
    done = _run(program, home, "--selftest")

    assert done.returncode == 0, done.stderr
    for step in ("imports", "service", "window"):
        assert f"selftest: {step} ok" in done.stderr


def test_the_packaged_program_runs_commands(program: Path, home: Path) -> None:
    done = _run(program, home, "doctor", "--json")

    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert report["home"]["root"] == str(home)
    assert all(version is not None for version in report["packages"].values())


def test_the_packaged_program_starts_its_load_workers(
    program: Path, home: Path, metronome: Metronome
) -> None:
    line = ["stress", "throughput", "--server", metronome.url, "--requests", "4", "--concurrency", "2"]

    done = _run(program, home, *line, "--json")

    assert done.returncode == 0, done.stderr
    (level,) = json.loads(done.stdout)["levels"]
    assert (level["requests"]["ok"], level["requests"]["failed"]) == (4, 0)


def test_the_package_holds_no_tests_and_no_unused_parts_of_qt(program: Path) -> None:
    names = {path.relative_to(program.parent).as_posix() for path in program.parent.rglob("*")}

    assert not [name for name in names if "Quick" in name or "/pytest" in name or "tests/" in name]
    total_bytes = sum(path.stat().st_size for path in program.parent.rglob("*") if path.is_file())
    assert total_bytes < 400 * 1024 * 1024
