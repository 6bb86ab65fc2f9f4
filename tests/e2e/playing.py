"""Starts the real window on a virtual screen with a scenario that works it, and proves that nothing stays."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import psutil

ROOT: Final = Path(__file__).resolve().parents[2]
GONE_S: Final = 30.0
# For `app_config.json`: so small a model sometimes never finds an end.
CHAT: Final = {"max_tokens": 300, "temperature": 0}
SCENARIO_S: Final = 240.0


def start(display: str, scenario: str, pictures: Path, *options: str) -> "subprocess.Popen[str]":
    """The window in a process of its own, worked by a scenario."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.driver", scenario, str(pictures), *options],
        cwd=ROOT,
        env={**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def play(display: str, scenario: str, pictures: Path, *options: str) -> dict[str, Any]:
    """Run a scenario to its end: exit code 0, nothing left behind; returns its report."""
    process = start(display, scenario, pictures, *options)
    family = [psutil.Process(process.pid)]
    try:
        out, errors = process.communicate(timeout=SCENARIO_S)
    finally:
        process.kill()
    assert out, errors
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert "failure" not in report, report["failure"] + errors
    assert process.returncode == 0, errors
    assert "Traceback" not in errors, errors
    assert "never awaited" not in errors and "was destroyed" not in errors, errors
    assert report["threads_left"] == []
    assert report["files_left"] == []
    psutil.wait_procs(family, GONE_S)
    return report


def place_model(source: Path, target: Path) -> None:
    """A model file under another name, without a copy where the disk allows it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def processes_of(home: Path) -> list[psutil.Process]:
    """Living processes that were started for this home: they, or what started them, name it."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(str(home) in word for word in words):
                found |= {process, *process.children(recursive=True)}
        except psutil.Error:
            continue
    return sorted(found, key=lambda process: process.pid)
