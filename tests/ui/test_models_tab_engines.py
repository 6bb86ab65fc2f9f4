"""Engines in the window: added after a look, checked, used, changed, removed and brought back."""

import sys
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QLabel, QPushButton, QWidget

from llama_runner.control.values import EngineInfo
from llama_runner.core.config import load_app_config, save_app_config
from llama_runner.core.editing import replace_setting
from llama_runner.core.paths import create_folders, home_at
from llama_runner.core.settings import RuntimeSettings
from llama_runner.ui.tabs.models_engines import EnginesView
from llama_runner.ui.widgets.tables import DataTable
from tests.ui.tab_support import Stage, run, stage, until, word_on
from tests.ui.test_models_tab_routes import dialog, field, focus
from tests.ui.window_support import cells, controls, press

NAME, PROGRAM, WRONG = "Name of the engine", "Program of the engine", "Why it did not work"


@pytest.fixture
def place(home: Path) -> Path:
    """A home whose service takes any port."""
    folders = home_at(home)
    create_folders(folders)
    save_app_config(folders, replace_setting(load_app_config(folders).value, "service.control_port", 0))
    return home


@pytest.fixture
def no_engine(tmp_path: Path) -> Path:
    """A program that is no llama-server."""
    program = tmp_path / "fake"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    return program


async def opened(on: Stage) -> tuple[EnginesView, DataTable[EngineInfo]]:
    view = EnginesView(on.workspace, on.shell)
    on.show(view)
    (table,) = view.findChildren(DataTable)
    await until(lambda: states(table) == {"default": "● in use"})
    return view, table


def states(table: DataTable[EngineInfo]) -> dict[str, str]:
    """By name."""
    return {row[0]: row[1] for row in cells(table)}


def label(root: QWidget, name: str) -> str:
    (found,) = [w for w in root.findChildren(QLabel) if w.accessibleName() == name]
    return found.text()


def runtime(home: Path) -> RuntimeSettings:
    """As the file has it."""
    return load_app_config(home_at(home)).value.runtime


def button(root: QWidget, word: str) -> QPushButton:
    (found,) = [b for b in root.findChildren(QPushButton) if b.text() == word]
    return found


async def added(view: EnginesView, name: str, path: Path, *, use: bool = False) -> None:
    press(view, "Add…")
    asked = await dialog()
    QTest.keyClicks(field(asked, NAME), name)
    field(asked, PROGRAM).setText(str(path))
    (box,) = asked.findChildren(QCheckBox)
    box.setChecked(use)
    press(asked, "Add")


def test_an_engine_is_added_used_removed_and_brought_back_by_keyboard(
    place: Path, engine: Path, no_engine: Path
) -> None:
    async def scenario() -> None:
        async with stage(place) as on:
            view, table = await opened(on)
            await focus(table)
            QTest.keyClick(table, Qt.Key.Key_Insert)
            asked = await dialog()
            assert not button(asked, "Add").isEnabled()
            QTest.keyClicks(field(asked, NAME), "mine")
            QTest.keyClicks(field(asked, PROGRAM), str(no_engine))
            QTest.keyClick(field(asked, PROGRAM), Qt.Key.Key_Return)
            # F2, A6: what is no engine is not kept.
            await until(lambda: "is not a llama-server" in label(asked, WRONG))
            assert runtime(place).engines == {}
            field(asked, PROGRAM).setText(str(engine))
            assert label(asked, WRONG) == ""
            press(asked, "Check")
            await until(lambda: "tools" in label(asked, "What it can do"))
            assert runtime(place).engines == {}
            (tools,) = asked.findChildren(QComboBox)
            tools.setCurrentIndex(tools.findData(False))
            press(asked, "Add")
            await until(lambda: states(table) == {"default": "● in use", "mine": "○ ready"})
            entry = runtime(place).engines["mine"]
            assert (entry.on(sys.platform), entry.supports_tools) == (str(engine), False)

            await until(lambda: table.current is not None and table.current.name == "mine")
            await focus(table)
            QTest.keyClick(table, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
            await until(lambda: states(table) == {"default": "○ ready", "mine": "● in use"})
            assert runtime(place).engine == "mine"
            QTest.keyClick(table, Qt.Key.Key_Delete)
            await until(lambda: states(table) == {"default": "● in use"})
            assert runtime(place).engine is None
            press(view, "Undo")
            await until(lambda: states(table) == {"default": "○ ready", "mine": "● in use"})
            assert (runtime(place).engine, runtime(place).engines["mine"]) == ("mine", entry)
            assert on.shell.errors == []

    run(scenario())


def test_an_engine_that_broke_is_told_when_it_is_checked_and_not_used(
    place: Path, engine: Path, no_engine: Path
) -> None:
    async def scenario() -> None:
        async with stage(place) as on:
            view, table = await opened(on)
            program = no_engine.with_name("llama-server")
            program.symlink_to(engine)
            await added(view, "mine", program)
            await until(lambda: states(table).get("mine") == "○ ready")
            program.unlink()
            no_engine.rename(program)
            table.select_keys({"mine"})
            await until(button(view, "Check").isEnabled)
            press(view, "Check")
            await until(lambda: on.shell.said[-1] == "mine cannot be used")
            assert states(table)["mine"] == "✕ cannot be used"
            assert "is not a llama-server" in label(view, "Why the chosen engine cannot be used")
            press(view, "Use")
            await until(lambda: on.shell.errors)
            assert "is not a llama-server" in str(on.shell.errors[0])
            assert runtime(place).engine is None

    run(scenario())


def test_another_program_is_chosen_for_an_engine_and_default_is_in_the_settings(
    place: Path, engine: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with stage(place) as on:
            view, table = await opened(on)
            table.select_keys({"default"})
            assert not button(view, "Remove").isEnabled()
            assert "settings" in button(view, "Remove").accessibleDescription()
            press(view, "Change…")
            await until(lambda: on.shell.opened == ["settings"])
            await added(view, "mine", engine, use=True)
            await until(lambda: states(table).get("mine") == "● in use")
            table.select_keys({"mine"})
            press(view, "Change…")
            asked = await dialog()
            assert field(asked, NAME).isReadOnly()
            other = tmp_path / "llama-server"
            other.symlink_to(engine)
            press(asked, "Browse…")
            await until(lambda: [f for f in asked.findChildren(QFileDialog) if f.isVisible()])
            (files,) = asked.findChildren(QFileDialog)
            assert files.directory().absolutePath() == str(engine.parent)
            files.fileSelected.emit(str(other))
            files.close()
            press(asked, "Save")
            await until(lambda: runtime(place).engines["mine"].on(sys.platform) == str(other))
            await until(lambda: "Changed mine" in on.shell.said)
            press(view, "Undo")
            await until(lambda: runtime(place).engines["mine"].on(sys.platform) == str(engine))
            assert on.shell.errors == []

    run(scenario())


def test_without_a_service_the_page_says_why_nothing_is_listed(place: Path) -> None:
    async def scenario() -> None:
        async with stage(place) as on:
            await on.workspace.service.close()
            view = EnginesView(on.workspace, on.shell)
            on.show(view)
            await until(lambda: label(view, "Why the engines are not known"))
            assert "closing" in label(view, "Why the engines are not known")

    run(scenario())


def test_a_name_that_is_taken_or_none_is_told(place: Path, engine: Path) -> None:
    async def scenario() -> None:
        async with stage(place) as on:
            view, table = await opened(on)
            await added(view, "mine", engine)
            await until(lambda: "mine" in states(table))
            press(view, "Add…")
            asked = await dialog()
            field(asked, PROGRAM).setText(str(engine))
            for name, said in (("mine", "already"), ("../x", "must be a name"), ("default", "already")):
                field(asked, NAME).setText(name)
                press(asked, "Add")
                await until(lambda: label(asked, WRONG))
                assert said in label(asked, WRONG)
            unnamed = [
                w for w in (*controls(view), *controls(asked)) if not (w.accessibleName() or word_on(w))
            ]
            assert unnamed == []

    run(scenario())
