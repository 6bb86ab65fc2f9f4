"""The arena tab with the real manager and the metronome."""

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QLineEdit, QListView, QPlainTextEdit, QPushButton

from llama_runner.arena.manager import ArenaSnapshot, EntryView
from llama_runner.backends.base import Endpoint, Engine, Target
from llama_runner.backends.live import AnswerState
from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.trace import RequestMetrics, TokensSource
from llama_runner.ui.tabs.arena import ArenaTab
from llama_runner.ui.tabs.arena_entries import candidates_of
from llama_runner.ui.tabs.arena_table import STAR, best_of, mixed_sources, rows_of
from llama_runner.ui.theme import ThemeMode
from llama_runner.ui.widgets.tables import DataTable
from llama_runner.ui.widgets.transcript import TranscriptView
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan
from tests.ui.tab_support import Stage, part, run, server, stage, until, word_on
from tests.ui.window_support import cells, controls

ENDLESS: dict[str, Any] = {"tokens": 20_000, "gap_ms": 20}
CHECKED = Qt.CheckState.Checked


class Room:
    """An arena tab and its parts."""

    def __init__(self, on: Stage) -> None:
        self.stage = on
        self.tab = ArenaTab(on.workspace, on.shell)
        self.entries = part(self.tab, QListView, "arena-entries")
        self.prompt = part(self.tab, QPlainTextEdit, "arena-prompt")
        self.compare = part(self.tab, QPushButton, "arena-compare")
        self.stop = part(self.tab, QPushButton, "arena-stop")
        self.table = part(self.tab, DataTable, "arena-table")
        on.show(self.tab)

    @property
    def rows(self) -> list[str]:
        model = self.entries.model()
        return [str(model.index(row, 0).data()) for row in range(model.rowCount())]

    def tick(self, *rows: int) -> None:
        for row in rows:
            model = self.entries.model()
            model.setData(model.index(row, 0), CHECKED.value, Qt.ItemDataRole.CheckStateRole)

    def ticked(self) -> list[int]:
        model = self.entries.model()
        role = Qt.ItemDataRole.CheckStateRole
        return [r for r in range(model.rowCount()) if model.index(r, 0).data(role) is CHECKED]

    def answer(self, letter: str) -> str:
        found = self.tab.findChild(TranscriptView, f"arena-answer-{letter}")
        return found.toPlainText() if found is not None else ""

    def figures(self, letter: str) -> str:
        found = self.tab.findChild(QLabel, f"arena-figures-{letter}")
        return found.text() if found is not None else ""

    def snapshot(self) -> ArenaSnapshot:
        found = self.stage.workspace.arena.snapshot()
        assert found is not None
        return found

    async def choose(self, url: str, *plans: Plan) -> None:
        """The registry gets the plans as models of one server; all are ticked; a prompt is written."""
        self.stage.workspace.registry.upsert(server(url, {plan.id: plan for plan in plans}))
        await until(lambda: len(self.rows) == len(plans))
        self.tick(*range(len(plans)))
        self.prompt.setPlainText("Compare this")


def test_entries_answer_side_by_side_with_their_figures(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            await room.choose(
                metronome.url,
                Plan(id="slow", prefill_ms=1500, tokens=20, gap_ms=40),
                Plan(id="fast", tokens=20, gap_ms=5, word="**x** "),
                Plan(id="broken", tokens=20, error_at=5),
            )
            room.compare.click()
            await until(lambda: room.stop.isVisible())
            await until(lambda: room.compare.isVisible() and room.figures("a") and room.figures("b"))
            await until(lambda: "w20" in room.answer("a"))
            assert "w1 w2" in room.answer("a")
            await until(lambda: "**" not in room.answer("b"))
            assert "w5" in room.answer("c") and "Error:" in room.figures("c")
            assert "20 tokens" in room.figures("a") and "first token" in room.figures("a")
            first, second, third = cells(room.table)
            assert second[2].startswith(STAR) and second[3].startswith(STAR)
            assert not any(cell.startswith(STAR) for cell in (*first, *third))
            assert first[4] == "20" and third[4] == "5 chunks"
            part(room.tab, QPushButton, "arena-copy").click()
            lines = QGuiApplication.clipboard().text().splitlines()
            assert lines[0].split("\t")[:3] == ["Entry", "Model", "First token"] and len(lines) == 4

    run(scenario())


def test_the_choice_begins_with_the_shared_target_and_then_is_the_persons(
    home: Path, metronome: Metronome
) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            registry = on.workspace.registry
            registry.upsert(server(metronome.url, ("one", "two", "three")))
            on.shell.point_at(registry.target("s1", "two"))
            await until(lambda: room.ticked() == [1])
            on.shell.point_at(registry.target("s1", "three"))
            assert room.ticked() == [1]
            part(room.tab, QLineEdit, "arena-filter").setText("THR")
            assert [row.partition(" ")[0] for row in room.rows] == ["three"]
            room.entries.setFocus()
            room.entries.setCurrentIndex(room.entries.model().index(0, 0))
            QTest.keyClick(room.entries, Qt.Key.Key_Space)
            part(room.tab, QLineEdit, "arena-filter").clear()
            assert room.ticked() == [1, 2]
            # A server that is away for a while keeps its ticks.
            registry.remove("s1")
            await until(lambda: room.rows == [])
            registry.upsert(server(metronome.url, ("one", "two", "three"), server_id="again"))
            await until(lambda: room.ticked() == [1, 2])

    run(scenario())


def test_too_few_too_many_and_no_prompt_are_refused_with_the_reason(home: Path) -> None:
    """U18: no server, one entry, more than six."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            texts = [b.text() for b in room.tab.findChildren(QPushButton)]
            assert "Load a model" in texts and "Find servers" in texts
            assert not room.compare.isEnabled()
            on.workspace.registry.upsert(server("http://127.0.0.1:9", tuple("abcdefg")))
            await until(lambda: len(room.rows) == 7)
            room.prompt.setPlainText("Anything")
            for chosen, allowed in (((0,), False), ((1,), True), ((2, 3, 4, 5), True), ((6,), False)):
                room.tick(*chosen)
                assert room.compare.isEnabled() is allowed
            assert "2 to 6" in room.compare.toolTip()
            QTest.keyClick(room.prompt, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
            await until(lambda: on.shell.said)
            assert "2 to 6" in on.shell.said[0] and on.workspace.arena.snapshot() is None

    run(scenario())


def test_the_same_server_twice_is_one_candidate(metronome: Metronome) -> None:
    """U18: found by a scan and added by hand."""
    twice = (server(metronome.url, ("m",)), server(metronome.url, ("m",), server_id="s2"))

    assert [one.model_id for one in candidates_of(twice)] == ["m"]


def test_fast_clicks_start_one_comparison_and_escape_stops_it(home: Path, metronome: Metronome) -> None:
    """U16: and the theme switches in between."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            await room.choose(metronome.url, *(Plan(id=name, **ENDLESS) for name in "abcdef"))
            for _ in range(5):
                room.compare.click()
            await until(lambda: room.stop.isVisible() and all("w3" in room.answer(x) for x in "abcdef"))
            on.shell.theme.set_mode(ThemeMode.DARK)
            await until(lambda: all("w6" in room.answer(x) for x in "abcdef"))
            QTest.keyClick(room.tab, Qt.Key.Key_Escape)
            await until(room.compare.isVisible)
            assert {entry.state for entry in room.snapshot().entries} == {AnswerState.STOPPED}
            assert all(room.figures(x).startswith("Stopped.") for x in "abcdef")
            await until(lambda: metronome.load()["in_flight"] == 0)
            assert on.shell.errors == []

    run(scenario())


def test_six_entries_stand_in_two_rows_of_three_and_four_in_two_of_two(
    home: Path, metronome: Metronome
) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            for count, letters, per_row in ((4, "abcd", 2), (6, "abcdef", 3)):
                await room.choose(metronome.url, *(Plan(id=f"{n}", tokens=4) for n in range(count)))
                room.compare.click()
                await until(lambda: len(room.table.rows_model.rows) == count)  # noqa: B023
                await until(room.compare.isVisible)
                views = [part(room.tab, TranscriptView, f"arena-answer-{x}") for x in letters]
                tops = [view.mapTo(room.tab, QPoint()).y() for view in views]
                assert sorted(tops) == tops and len(set(tops)) == count // per_row

    run(scenario())


def test_closing_in_the_middle_of_a_comparison_leaves_nothing(home: Path, metronome: Metronome) -> None:
    """U16."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            await room.choose(metronome.url, Plan(id="x", **ENDLESS), Plan(id="y", **ENDLESS))
            room.compare.click()
            await until(lambda: "w3" in room.answer("a"))

    run(scenario())
    assert metronome.load()["in_flight"] == 0


def test_names_with_markup_are_plain_and_cut(home: Path) -> None:
    """U15."""
    name = "<b>x</b> & %s {}" + "y" * 5000

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            on.workspace.registry.upsert(server("http://127.0.0.1:9", (name, "z")))
            await until(lambda: len(room.rows) == 2)
            room.tick(0, 1)
            room.prompt.setPlainText("Hello")
            room.compare.click()
            await until(lambda: room.figures("a") and room.compare.isVisible())
            assert room.rows[0].startswith("<b>x</b> & %s {}") and cells(room.table)[0][1].startswith(
                "<b>x</b> &"
            )
            assert all(
                label.textFormat() is Qt.TextFormat.PlainText for label in room.tab.findChildren(QLabel)
            )
            assert room.tab.minimumSizeHint().width() < 800
            assert [w for w in controls(room.tab) if not w.accessibleName() and not word_on(w)] == []

    run(scenario())


# --- which one is best -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "better", "best"),
    [
        ((3.0, 1.0, None), "lower", {1}),
        ((3.0, 1.0, 3.0), "higher", {0, 2}),
        ((3.0, None), "higher", set()),
        ((3.0, 1.0), None, set()),
        ((), "lower", set()),
    ],
)
def test_the_best_needs_something_to_be_better_than(
    values: tuple[float | None, ...], better: str | None, best: set[int]
) -> None:
    assert best_of(values, better) == best


def entry(index: int, state: AnswerState = AnswerState.DONE, **metrics: Any) -> EntryView:
    target = Target(Endpoint("http://127.0.0.1:9", Engine.OPENAI), f"m{index}", f"m{index}")
    error = InvalidRequestError("No.", "Ask otherwise.") if state is AnswerState.ERROR else None
    return EntryView(index, target, state, "", "", RequestMetrics(**metrics), error, None, None, 0)


def test_broken_answers_are_not_judged() -> None:
    rows = rows_of((entry(0, ttft_s=2.0), entry(1, ttft_s=3.0), entry(2, AnswerState.ERROR, ttft_s=1.0)))

    assert [row.key for row in rows if "ttft_s" in row.best] == ["A"]


def test_speeds_from_different_counts_are_not_compared() -> None:
    """Sources of token counts are never mixed in one comparison."""
    entries = (
        entry(0, ttft_s=2.0, decode_tps=10.0, tokens_source=TokensSource.USAGE),
        entry(1, ttft_s=3.0, decode_tps=90.0, tokens_source=TokensSource.CHUNKS),
    )

    assert mixed_sources(entries)
    assert [row.best for row in rows_of(entries)] == [{"ttft_s"}, frozenset()]
