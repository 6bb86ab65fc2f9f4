"""The stress tab with the real manager, real load workers and the metronome."""

import json
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QLineEdit, QPlainTextEdit, QPushButton, QWidget

from llama_runner.stress.live import StressSnapshot
from llama_runner.stress.report import Badge, StressReport, Verdict
from llama_runner.ui.tabs.stress import StressTab
from llama_runner.ui.tabs.stress_live import MAX_POINTS, History, remaining_s
from llama_runner.ui.tabs.stress_result import ResultPanel
from llama_runner.ui.theme import ThemeMode
from llama_runner.ui.widgets.charts import Chart
from llama_runner.ui.widgets.tables import DataTable
from tests.fakes.metronome import Metronome
from tests.ui.tab_support import Stage, open_questions, part, planned, run, stage, until, word_on
from tests.ui.window_support import cells, controls

RUN_S = 30.0


class Room:
    """A stress tab and its parts."""

    def __init__(self, on: Stage) -> None:
        self.stage = on
        self.stress = on.workspace.stress
        self.tab = StressTab(on.workspace, on.shell)
        self.start = part(self.tab, QPushButton, "stress-start")
        self.stop = part(self.tab, QPushButton, "stress-stop")
        self.concurrency = part(self.tab, QLineEdit, "stress-concurrency")
        self.requests = part(self.tab, QLineEdit, "stress-requests")
        self.max_tokens = part(self.tab, QLineEdit, "stress-max-tokens")
        self.prompt = part(self.tab, QPlainTextEdit, "stress-prompt")
        self.summary = part(self.tab, QLabel, "stress-summary")
        self.result = part(self.tab, ResultPanel, "stress-result")
        on.show(self.tab)

    def label(self, name: str) -> str:
        return part(self.tab, QLabel, name).text()

    def plan(self, concurrency: int, requests: int) -> None:
        self.concurrency.setText(str(concurrency))
        self.requests.setText(str(requests))

    async def finished(self) -> StressReport:
        await until(lambda: self.result.isVisible() and self.start.isVisible(), timeout_s=RUN_S)
        assert self.result.report is not None
        return self.result.report


def test_a_run_is_followed_measured_and_saved(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            on.shell.point_at(planned(metronome.url, prefill_ms=100, tokens=20, gap_ms=10))
            room.plan(4, 12)
            assert room.summary.text().startswith("Sends 12 requests, 4 at a time")
            room.start.click()
            room.start.click()
            await until(room.stop.isVisible)
            await until(lambda: room.label("stress-ok") not in ("–", "0"), timeout_s=RUN_S)
            report = await room.finished()
            assert report.verdict is Verdict.COMPLETED and report.levels[0].requests.ok == 12
            assert room.label("stress-ok") == "12" and room.label("stress-sent") == "12"
            assert room.label("stress-state") == "Done"
            # On a busy machine the load generator is honest about not keeping up.
            notes = report.badge is Badge.NOTES
            assert room.label("stress-badge") == ("! Valid, with notes" if notes else "✗ Not comparable")
            chart = room.tab.findChild(Chart)
            assert chart is not None and chart._values[0].size > 1
            table = part(room.tab, DataTable, "stress-table")
            rows = cells(table)
            assert rows[0][0] == "Time to first token" and rows[0][5] == "12"
            assert rows[0][1] != "–" and rows[0][2] == "–"
            why = table.model().index(0, 2).data(Qt.ItemDataRole.ToolTipRole)
            assert "12 values are too few: a p95 takes at least 72" in why
            assert report.run_dir is not None and str(report.run_dir) in room.label("stress-saved")
            part(room.tab, QPushButton, "stress-copy").click()
            copied = json.loads(QGuiApplication.clipboard().text())
            assert copied == json.loads((report.run_dir / "run.json").read_text("utf-8"))
            assert [w for w in controls(room.tab) if not w.accessibleName() and not word_on(w)] == []

    run(scenario())


def test_a_stopped_run_keeps_what_was_measured(home: Path, metronome: Metronome) -> None:
    """U16: stop is clicked many times, the theme switches, and another run follows."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            on.shell.point_at(planned(metronome.url, tokens=20, gap_ms=20))
            room.plan(2, 5000)
            room.start.click()
            await until(lambda: room.label("stress-ok") not in ("–", "0"), timeout_s=RUN_S)
            assert "left" in room.label("stress-state")
            on.shell.theme.set_mode(ThemeMode.DARK)
            QTest.keyClick(room.tab, Qt.Key.Key_Escape)
            for _ in range(5):
                room.stop.click()
            report = await room.finished()
            assert report.verdict is Verdict.STOPPED and 0 < report.levels[0].requests.ok < 5000
            assert room.label("stress-state") == "Stopped" and "stopped early" in room.label("stress-reasons")
            on.shell.point_at(planned(metronome.url, tokens=5, error_at=2))
            room.plan(2, 4)
            room.start.click()
            await until(lambda: not room.result.isVisible())
            report = await room.finished()
            assert report.levels[0].requests.failed == 4 and "Not comparable" in room.label("stress-badge")
            assert on.shell.errors == []

    run(scenario())


def test_closing_in_the_middle_of_a_run_leaves_no_worker(home: Path, metronome: Metronome) -> None:
    """U16: the leak guard sees processes and tasks."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            on.shell.point_at(planned(metronome.url, tokens=20, gap_ms=20))
            room.plan(2, 5000)
            room.start.click()
            await until(lambda: room.label("stress-in-flight") == "2", timeout_s=RUN_S)

    run(scenario())


@pytest.mark.parametrize(
    ("url", "concurrency", "said"),
    [
        ("http://127.0.0.1:9", 65, "65 requests at the same time"),
        ("http://192.0.2.7:8080", 4, "http://192.0.2.7:8080 is not this machine"),
    ],
)
def test_a_load_that_others_may_feel_asks_first(home: Path, url: str, concurrency: int, said: str) -> None:
    """U18: over 64 at once, or another machine: in numbers, and no is what Enter means."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            on.shell.point_at(planned(url))
            room.plan(concurrency, 1000)
            room.start.click()
            await until(open_questions)
            question = open_questions()[0]
            assert (
                said in question.text()
                and f"Sends 1,000 requests, {concurrency} at a time" in question.text()
            )
            QTest.keyClick(question, Qt.Key.Key_Return)
            await until(lambda: not open_questions())
            await until(room.start.isEnabled)
            assert not room.stress.running and not room.result.isVisible()

    run(scenario())


def test_numbers_beyond_the_limits_cannot_be_started(home: Path, metronome: Metronome) -> None:
    """U18: a million at once, no request, no prompt."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            assert not room.start.isEnabled() and "Choose a model" in room.start.toolTip()
            on.shell.point_at(planned(metronome.url))
            await until(room.start.isEnabled)
            for field, wrong in (
                (room.concurrency, "1000000"),
                (room.concurrency, "1e1"),
                (room.concurrency, ""),
                (room.requests, "0"),
                (room.max_tokens, "-1"),
            ):
                good = field.text()
                field.setText(wrong)
                assert not room.start.isEnabled() and field.property("invalid") is True
                assert room.summary.text() == ""
                QTest.keyClick(field, Qt.Key.Key_Return)
                await until(lambda: on.shell.said)
                assert on.shell.said.pop() == "Correct the numbers first."
                field.setText(good)
                await until(room.start.isEnabled)
            room.prompt.setPlainText(" ")
            assert not room.start.isEnabled()
            assert not room.stress.running

    run(scenario())


def test_an_unreachable_server_is_told_and_can_be_tried_again(home: Path) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            on.shell.point_at(planned("http://127.0.0.1:9"))
            room.start.click()
            await until(lambda: "Try again" in words(room.tab))
            assert any("127.0.0.1:9" in label.text() for label in room.tab.findChildren(QLabel))
            await until(room.start.isEnabled)
            assert on.shell.errors == []

    run(scenario())


def words(root: QWidget) -> list[str]:
    """The words on the buttons in sight."""
    return [button.text() for button in root.findChildren(QPushButton) if button.isVisible()]


# --- pure --------------------------------------------------------------------------------------------------


def snapshot(**changes: Any) -> StressSnapshot:
    values: dict[str, Any] = {
        "phase": "running",
        "total": 10,
        "sent": 0,
        "ok": 0,
        "failed": 0,
        "aborted": 0,
        "in_flight": 0,
        "output_tokens": 0,
        "elapsed_s": 0.0,
        "output_tps": None,
        "ttft_p50_s": None,
    }
    return StressSnapshot(**{**values, **changes})


def test_the_remaining_time_follows_the_pace() -> None:
    assert remaining_s(snapshot(elapsed_s=3.0)) is None
    assert remaining_s(snapshot(ok=1, failed=1, elapsed_s=3.0)) == pytest.approx(12.0)
    assert remaining_s(snapshot(phase="stopping", ok=2, elapsed_s=3.0)) is None


def test_the_curve_is_bounded_and_has_gaps_where_nothing_is_known() -> None:
    history = History()
    for number in range(MAX_POINTS + 2):
        history.add(snapshot(elapsed_s=number / 4, output_tps=None if number == 0 else float(number)))

    assert len(history._t_s) <= MAX_POINTS // 2 + 2
    assert history._tps[0] != history._tps[0] and history._t_s[-1] == (MAX_POINTS + 1) / 4
