"""The card of a model with a real service: options, command line, profiles, output, activity, routes."""

import json
from pathlib import Path

import pytest
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSplitter,
    QWidget,
)

from llama_runner.core.config import load_app_config, load_models_config, save_app_config
from llama_runner.core.editing import replace_setting
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import create_folders, home_at
from llama_runner.ui.main_window import MainWindow
from llama_runner.ui.tabs.models import ModelsTab
from llama_runner.ui.tabs.models_form import OptionsForm
from llama_runner.ui.widgets.facts import FactList
from llama_runner.ui.widgets.stacked_bar import StackedBar
from llama_runner.ui.widgets.tables import DataTable
from llama_runner.workspace.service_snapshot import LinkState
from tests.fakes.gguf_files import good_file, write_tiny_llama
from tests.ui.tab_support import Stage, run, stage, until
from tests.ui.test_models_tab_serving import LOAD_S, button, choose, column, go_to, named, text_of
from tests.ui.window_support import cells, use_window


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf", demo_model)


@pytest.fixture
def profiled(home: Path, tiny: Path, engine: Path) -> Path:
    """A model with a profile that is the default, another without, and a route."""
    place = home_at(home)
    create_folders(place)
    small = {"context_length": 256, "threads": 1}
    models = {
        "a": {
            "path": str(tiny),
            "parameters": small,
            "profiles": {"two": {"parallel": 2}},
            "default_profile": "two",
        },
        "b": {"path": str(tiny), "parameters": small},
    }
    place.models_config_file.write_text(json.dumps({"version": 1, "models": models}))
    config = load_app_config(place).value
    for key, value in (
        ("runtime.engine_path.linux", str(engine)),
        ("service.control_port", 0),
    ):
        config = replace_setting(config, key, value)
    save_app_config(place, config)
    return home


async def opened(on: Stage) -> tuple[ModelsTab, OptionsForm]:
    """The tab with the options of model a in front."""
    tab = ModelsTab(on.workspace, on.shell)
    on.show(tab)
    await until(lambda: column(tab, "Model", "a"), timeout_s=LOAD_S)
    choose(tab, "a")
    go_to(tab, "Options")
    await until(lambda: tab.findChild(OptionsForm))
    form = tab.findChild(OptionsForm)
    assert isinstance(form, OptionsForm)
    return tab, form


def profile(tab: QWidget) -> QComboBox:
    box = named(tab, "Profile")
    assert isinstance(box, QComboBox)
    return box


def command(tab: QWidget) -> str:
    line = named(tab, "Command line")
    assert isinstance(line, QLineEdit)
    return line.text()


def menu(tab: QWidget, text: str) -> QAction:
    (action,) = [one for one in tab.findChildren(QAction) if one.text() == text]
    return action


async def name_it(tab: QWidget, name: str) -> None:
    """Answer the question for a name."""

    def asked() -> list[QDialog]:
        return [one for one in tab.window().findChildren(QDialog) if one.isVisible()]

    await until(asked)
    (dialog,) = asked()
    (field,) = dialog.findChildren(QLineEdit)
    QTest.keyClicks(field, name)
    next(one for one in dialog.findChildren(QPushButton) if one.text() == "Save").click()


def test_the_default_profile_is_shown_and_what_is_typed_is_planned_at_once(profiled: Path) -> None:
    async def scenario() -> None:
        async with stage(profiled) as on:
            tab, form = await opened(on)
            await until(lambda: profile(tab).currentText() == "★ two")
            assert form.options == LoadOptions(parallel=2)
            # What counts for every load of the model stands where nothing is entered.
            context = form.rows["context_length"].control
            assert isinstance(context, QLineEdit)
            assert context.placeholderText() == "256"
            await until(lambda: "--parallel 2" in command(tab))
            assert "--ctx-size 256" in command(tab)
            QTest.keyClicks(context, "512")
            await until(lambda: "--ctx-size 512" in command(tab))
            assert "--parallel 2" in command(tab)
            assert "key" not in command(tab)
            button(tab, "Copy the command line").click()
            assert QGuiApplication.clipboard().text() == command(tab)
            bar = next(one for one in tab.findChildren(StackedBar) if one.isVisible())
            assert "free RAM" in bar.title
            assert "Weights" in bar.legend
            QTest.keyClicks(context, "x")
            await until(lambda: not button(tab, "Load").isEnabled())
            # Entered things are there again after a look at another model.
            context.setText("384")
            choose(tab, "b")
            await until(lambda: form.options == LoadOptions())
            choose(tab, "a")
            await until(lambda: form.options == LoadOptions(parallel=2, context_length=384))
            assert on.shell.errors == []

    run(scenario())


def test_a_profile_is_saved_renamed_made_default_deleted_and_brought_back(profiled: Path) -> None:
    def written() -> dict[str, LoadOptions]:
        return dict(load_models_config(home_at(profiled)).value.models["a"].profiles)

    def default() -> str | None:
        return load_models_config(home_at(profiled)).value.models["a"].default_profile

    async def scenario() -> None:
        async with stage(profiled) as on:
            tab, form = await opened(on)
            await until(lambda: profile(tab).currentText() == "★ two")
            save = button(tab, "Save the profile")
            assert not save.isEnabled()
            form.rows["threads"].set_text("2")
            assert save.isEnabled()
            save.click()
            await until(lambda: written() == {"two": LoadOptions(parallel=2, threads=2)})
            await until(lambda: not save.isEnabled())
            menu(tab, "Save as…").trigger()
            await name_it(tab, "three")
            await until(lambda: "three" in written())
            await until(lambda: profile(tab).currentText() == "three")
            menu(tab, "Make it the default").trigger()
            await until(lambda: default() == "three")
            await until(lambda: profile(tab).currentText() == "★ three")
            menu(tab, "Rename…").trigger()
            await name_it(tab, "drei")
            await until(lambda: set(written()) == {"two", "drei"})
            assert default() == "drei"
            await until(lambda: profile(tab).currentText() == "★ drei")
            menu(tab, "Delete").trigger()
            await until(lambda: set(written()) == {"two"})
            await until(lambda: profile(tab).currentText() == "none")
            assert default() is None
            button(tab, "Undo").click()
            await until(lambda: default() == "drei")
            assert written()["drei"] == LoadOptions(parallel=2, threads=2)
            await until(lambda: profile(tab).currentText() == "★ drei")
            assert on.shell.errors == []

    run(scenario())


def test_a_model_is_loaded_as_entered_and_says_what_it_does_and_writes(profiled: Path) -> None:
    async def scenario() -> None:
        async with stage(profiled) as on:
            tab, form = await opened(on)
            await until(lambda: profile(tab).currentText() == "★ two")
            form.rows["parallel"].set_text("3")
            await until(button(tab, "Load").isEnabled)
            button(tab, "Load").click()
            await until(lambda: column(tab, "State", "a") == "● ready", timeout_s=LOAD_S)
            go_to(tab, "Details")
            doing = named(tab, "What it does now")
            assert isinstance(doing, FactList)
            await until(lambda: "0 of 3 in work" in doing.as_text())
            menu(tab, "Copy details").trigger()
            copied = QGuiApplication.clipboard().text()
            assert copied.startswith("a\nSlots\t0 of 3 in work")
            assert "Architecture\tllama" in copied
            form.rows["parallel"].set_text("1")
            await until(button(tab, "Load anew").isEnabled)
            button(tab, "Load anew").click()
            await until(lambda: "0 of 1 in work" in doing.as_text(), timeout_s=LOAD_S)
            go_to(tab, "Output")
            output = named(tab, "Output of the engine")
            words = named(tab, "Filter the output")
            assert isinstance(output, QPlainTextEdit)
            assert isinstance(words, QLineEdit)
            await until(lambda: "listening" in output.toPlainText())
            everything = output.toPlainText()
            QTest.keyClicks(words, "LISTENING http")
            shown = output.toPlainText().splitlines()
            assert shown
            assert all("listening" in line for line in shown)
            button(tab, "Copy the output").click()
            assert QGuiApplication.clipboard().text() == "\n".join(shown)
            words.clear()
            assert set(everything.splitlines()) <= set(output.toPlainText().splitlines())
            follow = named(tab, "Follow the output")
            assert isinstance(follow, QCheckBox)
            follow.click()
            bar = output.verticalScrollBar()
            bar.setValue(0)
            words.setText("e")
            assert bar.value() == 0
            assert on.shell.errors == []

    run(scenario())


def test_the_last_words_of_an_engine_are_read_from_their_beginnings(home: Path, engine: Path) -> None:
    """However long the last line is, and whenever the page comes into sight for the first time."""
    place = home_at(home)
    create_folders(place)
    config = replace_setting(load_app_config(place).value, "service.control_port", 0)
    save_app_config(place, replace_setting(config, "runtime.engine_path.linux", str(engine)))
    (place.data_dir / "models").mkdir(parents=True, exist_ok=True)
    (place.data_dir / "models" / "m.gguf").write_bytes(good_file())

    async def scenario() -> None:
        async with stage(home) as on:
            tab = ModelsTab(on.workspace, on.shell)
            on.show(tab, 874, 450)
            await until(lambda: column(tab, "Model", "m"), timeout_s=LOAD_S)
            output = named(tab, "Output of the engine")
            assert isinstance(output, QPlainTextEdit)
            # It has the layers of no real model: the engine says so, and ends.
            button(tab, "Load").click()
            await until(lambda: column(tab, "State", "m") == "✕ failed", timeout_s=LOAD_S)
            await until(output.toPlainText)
            go_to(tab, "Output")
            across, down = output.horizontalScrollBar(), output.verticalScrollBar()
            await until(lambda: output.isVisible() and across.maximum() > 0)
            await until(lambda: across.value() == 0 and down.value() == down.maximum())

    run(scenario())


def test_other_names_and_where_they_lead_are_shown(profiled: Path) -> None:
    async def scenario() -> None:
        async with stage(profiled) as on:
            tab, _ = await opened(on)
            go_to(tab, "Serve")
            assert text_of(tab, "About other names").startswith("None yet.")
            place = home_at(profiled)
            document = json.loads(place.app_config_file.read_text())
            document.setdefault("proxy", {})["routes"] = {"coder": {"steps": ["a", "b@192.0.2.7:80"]}}
            place.app_config_file.write_text(json.dumps(document))
            table = named(tab, "Other names of models")
            assert isinstance(table, DataTable)
            await until(lambda: len(cells(table)) == 2)
            first, second = cells(table)
            assert first == ["coder", "1", "a", "this computer", "● ready to be asked"]
            assert second[:3] == ["coder", "2", "b@192.0.2.7:80"]
            # Nobody was asked yet: what is not known is not told.
            assert second[4] == "● ready to be asked"
            assert on.shell.errors == []

    run(scenario())


def test_a_splitter_stays_where_a_person_put_it(profiled: Path) -> None:
    """Closed and opened again, the library is as wide as it was left."""
    sizes: list[list[int]] = []

    async def move(window: MainWindow) -> None:
        halves = await splitter(window)
        halves.setSizes([halves.width() - 360, 360])
        sizes.append(halves.sizes())

    async def look(window: MainWindow) -> None:
        sizes.append((await splitter(window)).sizes())

    assert use_window(profiled, move) == 0
    assert use_window(profiled, look) == 0
    assert sizes[0] == sizes[1]


async def splitter(window: MainWindow) -> QSplitter:
    window.open_tab("models")
    found = window.findChild(QSplitter, "models-library")
    assert found is not None
    # The library comes to the front when its files are listed, and gets its width then.
    await until(lambda: found.isVisible() and sum(found.sizes()) > window.width() / 2, timeout_s=LOAD_S)
    return found


def test_a_service_that_was_stopped_is_not_started_again_by_looking(profiled: Path) -> None:
    async def scenario() -> None:
        async with stage(profiled) as on:
            tab, form = await opened(on)
            await until(lambda: profile(tab).currentText() == "★ two")
            await (await on.workspace.service.ensure()).shutdown()
            await until(lambda: on.workspace.service.snapshot.state is not LinkState.CONNECTED)
            go_to(tab, "Serve")
            looked = [0]
            again = tab._ask

            def look() -> None:
                looked[0] += 1
                again()

            tab._asker._timer.timeout.connect(look)
            form.rows["threads"].set_text("1")
            await until(lambda: looked[0] >= 2)
            assert on.workspace.service.snapshot.state is LinkState.RECONNECTING

    run(scenario())
