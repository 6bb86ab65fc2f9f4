"""Routes in the window: added, reordered, renamed, tested and removed with a real service and server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog, QLabel, QLineEdit, QListWidget, QPushButton, QWidget

from llama_runner.core.config import load_app_config, save_app_config
from llama_runner.core.editing import replace_setting
from llama_runner.core.paths import create_folders, home_at
from llama_runner.core.serving_edits import MAX_ROUTE_STEPS, with_route
from llama_runner.ui.dialogs.route import RouteDialog, RouteForm, StepField
from llama_runner.ui.tabs.models_route_lines import StepLine
from llama_runner.ui.tabs.models_routes import RoutesView
from llama_runner.ui.widgets.tables import DataTable
from tests.fakes.metronome import Metronome, start_metronome
from tests.ui.tab_support import Stage, run, stage, until, word_on
from tests.ui.window_support import cells, controls, press

STEPS = "Steps in the order in which they are asked"


@pytest.fixture
def place(home: Path) -> Path:
    """A home whose service takes any port, with one route."""
    folders = home_at(home)
    create_folders(folders)
    config = replace_setting(load_app_config(folders).value, "service.control_port", 0)
    save_app_config(folders, with_route(config, "kept", ["m", "n@192.0.2.7:80"]))
    return home


@pytest.fixture
def server() -> Iterator[Metronome]:
    found = start_metronome(engine="openai-compatible", models=("big",))
    yield found
    found.close()


async def opened(on: Stage) -> tuple[RoutesView, DataTable[StepLine]]:
    view = RoutesView(on.workspace, on.shell)
    on.show(view)
    view.ask()
    (table,) = view.findChildren(DataTable)
    await until(lambda: len(cells(table)) == 2)
    return view, table


async def dialog() -> QDialog:
    def found() -> list[QDialog]:
        return [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog) and w.isVisible()]

    await until(found)
    return found()[0]


async def focus(widget: QWidget) -> None:
    """Without a window manager nothing brings a window back to the front when a dialog closes."""

    def focused() -> bool:
        # Again and again: a dialog that is just opening takes it once more.
        if not widget.hasFocus():
            widget.window().activateWindow()
            widget.setFocus()
        return widget.hasFocus()

    await until(focused)


def field(asked: QWidget, name: str) -> QLineEdit:
    (found,) = [w for w in asked.findChildren(QLineEdit) if w.accessibleName() == name]
    return found


def listed(asked: QDialog) -> list[str]:
    (steps,) = asked.findChildren(QListWidget)
    return [steps.item(row).text() for row in range(steps.count())]


def label(root: QWidget, name: str) -> str:
    (found,) = [w for w in root.findChildren(QLabel) if w.accessibleName() == name]
    return found.text() if found.isVisible() else ""


def routes(home: Path) -> dict[str, tuple[str, ...]]:
    """As the file has them."""
    return {name: entry.steps for name, entry in load_app_config(home_at(home)).value.proxy.routes.items()}


def test_a_route_is_added_reordered_renamed_and_brought_back_by_keyboard(place: Path) -> None:
    async def scenario() -> None:
        async with stage(place) as on:
            view, table = await opened(on)
            await focus(table)
            QTest.keyClick(table, Qt.Key.Key_Insert)
            asked = await dialog()
            QTest.keyClicks(field(asked, "Name that programs ask for"), "coder")
            step = field(asked, "Step to add")
            for words in ("first", "second", "third@box:1"):
                # Enter adds a step; the dialog stays.
                QTest.keyClicks(step, f"{words}\r")
            assert listed(asked) == ["first", "second", "third@box:1"]
            (steps,) = asked.findChildren(QListWidget)
            await focus(steps)
            QTest.keyClick(steps, Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
            QTest.keyClick(steps, Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
            QTest.keyClick(steps, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
            assert listed(asked) == ["first", "third@box:1", "second"]
            QTest.keyClick(steps, Qt.Key.Key_Delete)
            assert listed(asked) == ["first", "second"]
            # What is typed and not yet added counts too.
            QTest.keyClicks(step, "fourth")
            press(asked, "Add")
            await until(lambda: len(cells(table)) == 5)
            assert routes(place)["coder"] == ("first", "second", "fourth")
            assert [row[:3] for row in cells(table)[2:]] == [
                ["coder", "1", "first"],
                ["coder", "2", "second"],
                ["coder", "3", "fourth"],
            ]
            await until(lambda: [one.name for one in table.selected] == ["coder"])

            await focus(table)
            QTest.keyClick(table, Qt.Key.Key_F2)
            asked = await dialog()
            name = field(asked, "Name that programs ask for")
            name.selectAll()
            QTest.keyClicks(name, "writer")
            press(asked, "Save")
            await until(lambda: tuple(routes(place)) == ("kept", "writer"))
            await until(lambda: [one.name for one in table.selected] == ["writer"])
            await focus(table)
            QTest.keyClick(table, Qt.Key.Key_Delete)
            await until(lambda: tuple(routes(place)) == ("kept",))
            await until(lambda: len(cells(table)) == 2)
            press(view, "Undo")
            await until(lambda: len(cells(table)) == 5)
            assert routes(place)["writer"] == ("first", "second", "fourth")
            assert on.shell.said == ["Added coder", "Changed writer", "Removed writer"]
            assert on.shell.errors == []

    run(scenario())


def test_a_test_says_which_steps_could_answer(place: Path, server: Metronome) -> None:
    async def scenario() -> None:
        async with stage(place) as on:
            view, table = await opened(on)
            record = await on.workspace.discovery.add(server.url)
            press(view, "Add…")
            asked = await dialog()
            (choices,) = asked.findChildren(StepField)
            offered = [choices.itemText(place) for place in range(choices.count())]
            assert {"kept", f"big@{record.address}"} <= set(offered)
            QTest.keyClicks(field(asked, "Name that programs ask for"), "away")
            for words in (f"big@{record.address}", "nowhere"):
                QTest.keyClicks(field(asked, "Step to add"), f"{words}\r")
            press(asked, "Add")
            await until(lambda: len(cells(table)) == 4)
            table.select_keys({"1 away"})

            def tested() -> bool:
                # The service looks once a second whether there is a new server.
                (button,) = [b for b in view.findChildren(QPushButton) if b.text() == "Test"]
                button.click()
                return on.shell.said[-1] == "away: 1 of 2 steps could answer"

            await until(tested)
            await until(lambda: cells(table)[2][4].startswith("● answered in "))
            assert cells(table)[3][4] == "✕ cannot answer"
            table.select_keys({"2 away"})
            assert label(view, "Why the chosen step cannot answer") == "There is no such model here."
            # A test of other steps says nothing.
            table.select_keys({"1 away"})
            press(view, "Change…")
            asked = await dialog()
            (steps,) = asked.findChildren(QListWidget)
            await focus(steps)
            QTest.keyClick(steps, Qt.Key.Key_Delete)
            press(asked, "Save")
            await until(lambda: [row[2:] for row in cells(table)[2:]] == [
                ["nowhere", "this computer", "● ready to be asked"]
            ])  # fmt: skip
            assert on.shell.errors == []

    run(scenario())


def test_a_servers_models_are_offered_and_not_any_more(place: Path) -> None:
    async def scenario() -> None:
        async with stage(place) as on:
            view, _ = await opened(on)
            await on.workspace.edit_settings(
                lambda config: replace_setting(config, "proxy.servers", ("http://192.0.2.9:1",))
            )
            press(view, "Offered servers…")
            asked = await dialog()
            (servers,) = asked.findChildren(QListWidget)
            assert servers.item(0).text() == "http://192.0.2.9:1   not in the list of servers"
            QTest.keyClick(servers, Qt.Key.Key_Space)
            press(asked, "Save")
            await until(lambda: load_app_config(home_at(place)).value.proxy.servers == ())
            await until(lambda: [b for b in view.findChildren(QPushButton, "undo") if b.isVisible()])
            press(view, "Undo")
            await until(lambda: "http://192.0.2.9:1" in label(view, "About other names"))
            assert on.workspace.settings.proxy.servers == ("http://192.0.2.9:1",)

    run(scenario())


def test_what_cannot_be_saved_is_told_and_stays_to_be_mended(place: Path) -> None:
    """C1: settings that broke are not written over."""

    async def scenario() -> None:
        async with stage(place) as on:
            view, _ = await opened(on)
            press(view, "Add…")
            asked = await dialog()
            name = field(asked, "Name that programs ask for")
            QTest.keyClicks(name, "kept")
            QTest.keyClicks(field(asked, "Step to add"), "m\r")
            press(asked, "Add")
            await until(lambda: "of this name already" in label(asked, "Why it did not work"))
            QTest.keyClicks(name, "2")
            home_at(place).app_config_file.write_text("{")
            press(asked, "Add")
            await until(lambda: "Mend the file" in label(asked, "Why it did not work"))
            assert asked.isVisible()
            assert home_at(place).app_config_file.read_text() == "{"

    run(scenario())


def test_a_step_that_is_none_is_refused_and_there_are_not_too_many(qapp: QApplication) -> None:
    parent = QWidget()
    asked = RouteDialog(parent, RouteForm(models=("coder",), steps=("m",) * (MAX_ROUTE_STEPS - 1)), nothing)
    asked.show()
    step = field(asked, "Step to add")
    QTest.keyClicks(step, "@box:1\r")
    assert "each must be" in label(asked, "Why it did not work")
    step.clear()
    QTest.keyClicks(step, "m\r")
    assert label(asked, "Why it did not work") == ""
    QTest.keyClicks(step, "m\r")
    assert len(listed(asked)) == MAX_ROUTE_STEPS
    assert "at most 8 steps" in label(asked, "Why it did not work")
    QTest.keyClicks(field(asked, "Name that programs ask for"), "coder")
    assert "A model here has this name" in label(asked, "About the name")
    parent.deleteLater()


def test_everything_about_routes_has_a_name(place: Path) -> None:
    async def scenario() -> None:
        async with stage(place) as on:
            view, table = await opened(on)
            table.select_keys({"1 kept"})
            for word in ("Add…", "Change…", "Offered servers…"):
                press(view, word)
                asked = await dialog()
                unnamed = [w for root in (view, asked) for w in controls(root) if not named(w)]
                assert unnamed == [], word
                asked.close()
                await until(lambda: not any(w.isVisible() for w in QApplication.topLevelWidgets()
                                            if isinstance(w, QDialog)))  # fmt: skip

    run(scenario())


def named(control: QWidget) -> str:
    return control.accessibleName() or word_on(control)


async def nothing(name: str, steps: tuple[str, ...]) -> None:
    """Saves nothing."""


def test_a_name_from_outside_cannot_pretend(qapp: QApplication) -> None:
    """I17: a model's name that turns the text around is shown with that in sight, and meant whole."""
    parent, name = QWidget(), "a\u202eb@box:1"
    asked = RouteDialog(parent, RouteForm(name="x", steps=("m",), elsewhere=(name,)), nothing)
    (choices,) = asked.findChildren(StepField)
    assert "\u202e" not in choices.itemText(0)
    choices.setCurrentIndex(0)
    assert choices.step == name
    parent.deleteLater()
