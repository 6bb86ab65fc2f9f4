"""A process of its own that opens the window, works it like a person, closes it, and reports what it saw.

Run as `python -m tests.e2e.driver SCENARIO PICTURES [options of the program]`; the report is one JSON
document on standard output, the exit code is the window's own.
"""

import asyncio
import json
import math
import multiprocessing.resource_tracker
import os
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from PySide6.QtCore import QItemSelectionModel, Qt, QTimer
from PySide6.QtWidgets import (
    QApplication,
    QListView,
    QPlainTextEdit,
    QTextBrowser,
    QWidget,
)

from llama_runner.cli.app import split_common
from llama_runner.ui.main_window import MainWindow
from tests.e2e.hands import Hands, text_of
from tests.e2e.newcomer import newcomer
from tests.e2e.trouble import TROUBLES

Report = dict[str, Any]
Scenario = Callable[[Hands, MainWindow, Report], Coroutine[Any, Any, None]]

MODELS: Final = "Model files"


async def first_light(hands: Hands, window: MainWindow, report: Report) -> None:
    """Load two models, chat a turn, compare both, run a burst, look at the charts, close."""
    await hands.tab(2)
    for model in ("alpha", "beta"):
        await _load(hands, model)
    hands.picture("models-loaded")
    await _chat(hands, report)
    await _arena(hands, report)
    await _stress(hands, report)
    await _charts(hands, window, report)


async def _load(hands: Hands, model: str) -> None:
    await hands.choose_row(MODELS, model)
    await hands.click("Load")

    def ready() -> bool:
        row = hands.row_of(MODELS, model)
        return row is not None and "eady" in hands.cells(MODELS)[row][0]

    await hands.until(ready, f"{model} is ready")


async def _chat(hands: Hands, report: Report) -> None:
    await hands.tab(3)
    await hands.write("chat-input", "Name three colours.")
    await hands.press(Qt.Key.Key_Return)
    await hands.until(lambda: hands.find(QWidget, "chat-stop").isVisible(), "the answer streams")
    hands.picture("chat-streaming")
    await hands.until(lambda: hands.find(QWidget, "chat-send").isVisible(), "the answer is complete")
    transcript = hands.find(QTextBrowser, "chat-transcript")
    said = text_of(transcript)
    await hands.until(lambda: "tok/s" in text_of(transcript), f"the figures line below {said!r}")
    report["chat"] = text_of(transcript)
    hands.picture("chat")


async def _arena(hands: Hands, report: Report) -> None:
    await hands.tab(4)
    entries = hands.find(QListView, "arena-entries")
    await hands.until(lambda: entries.model().rowCount() == 2, "two entries to choose from")
    for row in range(2):
        index = entries.model().index(row, 0)
        entries.selectionModel().setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        entries.setFocus()
        if Qt.CheckState(index.data(Qt.ItemDataRole.CheckStateRole)) is not Qt.CheckState.Checked:
            await hands.press(Qt.Key.Key_Space)
    await hands.write("arena-prompt", "Name three animals.")
    await hands.click("arena-compare")
    await hands.until(lambda: hands.find(QWidget, "arena-stop").isVisible(), "the comparison runs")
    await hands.until(lambda: hands.find(QWidget, "arena-compare").isVisible(), "the comparison ended")
    report["arena"] = hands.cells("arena-table")
    report["arena_answers"] = [
        text_of(hands.find(QTextBrowser, f"arena-answer-{letter}")) for letter in ("a", "b")
    ]
    hands.picture("arena")


async def _stress(hands: Hands, report: Report) -> None:
    await hands.tab(5)
    for name, value in (("stress-concurrency", 4), ("stress-requests", 8), ("stress-max-tokens", 32)):
        await hands.until(lambda name=name: hands.find(QWidget, name).isEnabled(), name)  # type: ignore[misc]
        await hands.write(name, str(value))
    await hands.click("stress-start")
    await hands.until(lambda: hands.find(QWidget, "stress-stop").isVisible(), "the load runs")
    hands.picture("stress-running")
    await hands.until(lambda: bool(hands.cells("stress-table")), "the result")
    report["stress"] = hands.cells("stress-table")
    hands.picture("stress")


async def _charts(hands: Hands, window: MainWindow, report: Report) -> None:
    assert window.workspace is not None
    telemetry = window.workspace.telemetry
    series = telemetry.series("cpu_pct")
    report["cpu_samples"] = sum(1 for value in series.values if not math.isnan(value))
    report["names"] = list(telemetry.names)
    await hands.tab(6)
    await asyncio.sleep(
        0.5
    )  # One look of every chart at its own rate; nothing is judged by it but the picture.
    hands.picture("monitor")


async def close_while_streaming(hands: Hands, window: MainWindow, report: Report) -> None:
    """Ask for something long and close the window in the middle of the answer."""
    await hands.tab(3)
    await hands.until(lambda: window.target is not None, "the demo model is chosen")
    await hands.write("chat-input", "Tell a very long story about a lighthouse.")
    await hands.press(Qt.Key.Key_Return)

    def shown() -> str:
        return text_of(hands.find(QTextBrowser, "chat-transcript"))

    await hands.until(lambda: len(shown()) > 200, "some of the story")
    report["chat"] = shown()
    hands.picture("closing")


async def demo(hands: Hands, window: MainWindow, report: Report) -> None:
    """What `--demo` promises: the model is loaded in a chat, nothing to do but to write."""
    await hands.until(lambda: hands.find(QPlainTextEdit, "chat-input").isVisible(), "the chat is in front")
    await hands.until(lambda: window.target is not None, "the demo model is chosen")
    hands.picture("demo")
    await _chat(hands, report)


async def kill_me(hands: Hands, window: MainWindow, report: Report) -> None:
    """Load the demo model, say so, and wait to be killed."""
    await hands.until(lambda: window.target is not None, "the demo model is chosen")
    sys.stdout.write("loaded\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().create_future()


SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.__name__: scenario
    for scenario in (first_light, close_while_streaming, demo, kill_me, newcomer, *TROUBLES)
}


def main(arguments: list[str]) -> int:
    """Run one scenario; its report goes to standard output."""
    from llama_runner.ui.app import run_window

    name, pictures, *rest = arguments
    options, _ = split_common(rest)
    report: Report = {}
    application = QApplication(sys.argv[:1])
    if sys.platform != "win32":
        # Python's own helper of process pools: once started it stays until the process ends.
        multiprocessing.resource_tracker.ensure_running()
    files = _open_files()
    QTimer.singleShot(0, application, lambda: _start(SCENARIOS[name], Path(pictures), report))
    code = run_window(options)
    report["threads_left"] = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    report["files_left"] = sorted(_open_files() - files)
    sys.stdout.write(json.dumps(report) + "\n")
    return code


def _start(scenario: Scenario, pictures: Path, report: Report) -> None:
    """Once the workspace is open: hand the window to the scenario, close it afterwards."""
    window = next(w for w in QApplication.topLevelWidgets() if isinstance(w, MainWindow))
    if window.workspace is None:
        window.filled.connect(lambda: _start(scenario, pictures, report))
        return
    task = asyncio.get_running_loop().create_task(
        scenario(Hands(window, pictures), window, report), name="scenario"
    )
    task.add_done_callback(lambda ended: _ended(ended, window, report))


def _ended(task: "asyncio.Task[None]", window: MainWindow, report: Report) -> None:
    if task.cancelled():
        report["failure"] = "the scenario was cancelled"
    elif (error := task.exception()) is not None:
        report["failure"] = "".join(traceback.format_exception(error))
    window.close()


# An eventfd wakes a thread of Qt's own (its link to the desktop's bus); nothing in Python opens one.
_NOT_OURS: Final = ("/dev/", "/proc/", "/usr/", "/memfd:", "anon_inode:[eventfd]")


def _open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    found = set()
    for name in os.listdir(folder):
        try:
            target = os.readlink(folder / name)
        except FileNotFoundError:
            continue
        if not target.startswith(_NOT_OURS):
            found.add(f"{name} -> {target}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
