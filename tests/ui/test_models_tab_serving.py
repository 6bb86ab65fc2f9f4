"""The models tab: serving other programs, plans, pins and requests, with a real service and engines."""

import json
from pathlib import Path

import httpx
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QTabBar,
    QWidget,
)

from llama_runner.control.access_token import kept_hash
from llama_runner.core.config import load_app_config, save_app_config
from llama_runner.core.editing import replace_setting
from llama_runner.core.paths import create_folders, home_at
from llama_runner.net.credentials import hash_token
from llama_runner.ui.tabs.models import ModelsTab
from llama_runner.ui.tabs.models_token import TokenDialog
from llama_runner.ui.widgets.tables import DataTable
from tests.fakes.gguf_files import write_tiny_llama
from tests.fakes.listening import answers, occupied_port
from tests.ui.tab_support import Stage, open_questions, run, stage, until, word_on
from tests.ui.window_support import cells, controls

MIB = 1024 * 1024
LOAD_S = 40.0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf", demo_model)


@pytest.fixture
def two_models(home: Path, tiny: Path, engine: Path) -> Path:
    """Two names for one tiny model, each of which needs more than half of the memory there is."""
    place = home_at(home)
    create_folders(place)
    small = {"context_length": 256, "threads": 1, "parallel": 2}
    models = {name: {"path": str(tiny), "parameters": small} for name in ("a", "b")}
    place.models_config_file.write_text(json.dumps({"version": 1, "models": models}))
    config = load_app_config(place).value
    for key, value in (
        ("runtime.memory_limit_bytes", 70 * MIB),
        ("runtime.engine_path.linux", str(engine)),
        ("service.control_port", 0),
        ("proxy.openai_port", 0),
        ("proxy.ollama_port", 0),
    ):
        config = replace_setting(config, key, value)
    save_app_config(place, config)
    return home


def named(tab: QWidget, name: str) -> QWidget:
    """The one widget with this accessible name."""
    (found,) = [w for w in tab.findChildren(QWidget) if w.accessibleName() == name]
    return found


def text_of(tab: QWidget, name: str) -> str:
    label = named(tab, name)
    assert isinstance(label, QLabel)
    return label.text()


def switch(tab: QWidget, name: str) -> QCheckBox:
    box = named(tab, f"Serve the {name} API")
    assert isinstance(box, QCheckBox)
    return box


def port_field(tab: QWidget, name: str) -> QLineEdit:
    field = named(tab, f"Port of the {name} API")
    assert isinstance(field, QLineEdit)
    return field


def button(tab: QWidget, name: str) -> QAbstractButton:
    (found,) = [b for b in tab.findChildren(QAbstractButton) if b.accessibleName() == name and b.isVisible()]
    return found


def column(tab: QWidget, title: str, model: str) -> str:
    """A cell of the table of models."""
    table = named(tab, "Model files")
    assert isinstance(table, DataTable)
    titles = [one.title for one in table.rows_model.columns]
    row = next((row for row in cells(table) if row[titles.index("Model")] == model), None)
    return row[titles.index(title)] if row is not None else ""


def choose(tab: QWidget, model: str) -> None:
    table = named(tab, "Model files")
    assert isinstance(table, DataTable)
    table.select_keys({model})


def go_to(tab: QWidget, page: str) -> None:
    """Bring a page of the tab, or of the card, to the front."""
    for bar in tab.findChildren(QTabBar):
        for place in range(bar.count()):
            if bar.tabText(place).startswith(page):
                bar.setCurrentIndex(place)
                return
    raise AssertionError(page)


async def opened(on: Stage, page: str = "Library") -> ModelsTab:
    tab = ModelsTab(on.workspace, on.shell)
    on.show(tab)
    await until(lambda: column(tab, "Model", "a"), timeout_s=LOAD_S)
    await until(lambda: switch(tab, "Ollama").isEnabled())
    go_to(tab, page)
    return tab


def test_a_switch_serves_an_address_that_can_be_copied(two_models: Path) -> None:
    async def scenario() -> None:
        async with stage(two_models) as on:
            tab = await opened(on, "Serve")
            for name, path in (("OpenAI and LM Studio", "/v1"), ("Ollama", "")):
                address = f"Address of the {name} API"
                copy = button(tab, f"Copy the address of the {name} API")
                assert (text_of(tab, address), copy.isEnabled()) == ("○ off", False)
                switch(tab, name).setFocus()
                QTest.keyClick(switch(tab, name), Qt.Key.Key_Space)
                await until(copy.isEnabled)
                copy.click()
                url = QApplication.clipboard().text()
                assert url == text_of(tab, address)
                assert await answers(url.removesuffix(path))
            assert load_app_config(home_at(two_models)).value.proxy.ollama_enabled
            assert on.workspace.settings.proxy.openai_enabled
            url = text_of(tab, "Address of the OpenAI and LM Studio API")
            switch(tab, "OpenAI and LM Studio").click()
            # Twice more at once: what is shown at the end is what is.
            switch(tab, "OpenAI and LM Studio").click()
            switch(tab, "OpenAI and LM Studio").click()
            await until(lambda: text_of(tab, "Address of the OpenAI and LM Studio API") == "○ off")
            assert not await answers(url.removesuffix("/v1"))
            assert not load_app_config(home_at(two_models)).value.proxy.openai_enabled
            assert on.shell.errors == []

    run(scenario())


def test_a_busy_port_is_told_beside_the_switch_and_another_one_helps(two_models: Path) -> None:
    """F12, U17."""

    async def scenario() -> None:
        async with stage(two_models) as on:
            tab = await opened(on, "Serve")
            problem = "What is wrong with the Ollama API"
            with occupied_port() as port:
                switch(tab, "Ollama").click()
                field = port_field(tab, "Ollama")
                field.setFocus()
                field.selectAll()
                QTest.keyClicks(field, f"{port}\r")
                await until(lambda: named(tab, problem).isVisible())
                assert f"Port {port} is in use by " in text_of(tab, problem)
                assert text_of(tab, "Address of the Ollama API") == "✕ not served"
            button(tab, "Try again to serve the Ollama API").click()
            await until(lambda: text_of(tab, "Address of the Ollama API") == f"http://127.0.0.1:{port}")
            assert not named(tab, problem).isVisible()
            # What no port can be is not saved.
            field.selectAll()
            QTest.keyClicks(field, "70000\r")
            assert field.property("invalid") is True
            assert "65,535" in field.accessibleDescription()
            assert load_app_config(home_at(two_models)).value.proxy.ollama_port == port

    run(scenario())


def test_a_token_is_made_shown_once_and_forgotten(two_models: Path) -> None:
    """R1.6: the file keeps a hash, the window nothing."""

    def dialogs() -> list[QDialog]:
        return [w for w in QApplication.topLevelWidgets() if isinstance(w, TokenDialog) and w.isVisible()]

    async def scenario() -> None:
        async with stage(two_models) as on:
            tab = await opened(on, "Serve")
            await until(lambda: text_of(tab, "Access token").endswith("none"))
            button(tab, "Make a new access token").click()
            await until(dialogs)
            (field,) = dialogs()[0].findChildren(QLineEdit)
            assert kept_hash(home_at(two_models)) == hash_token(field.text())
            dialogs()[0].close()
            await until(lambda: "made 20" in text_of(tab, "Access token"))
            button(tab, "Forget the access token").click()
            await until(open_questions)
            answer(open_questions()[0], "Forget")
            await until(lambda: text_of(tab, "Access token").endswith("none"))
            assert kept_hash(home_at(two_models)) is None
            assert on.shell.errors == []

    run(scenario())


def test_another_programs_change_is_followed(two_models: Path) -> None:
    async def scenario() -> None:
        async with stage(two_models) as on:
            tab = await opened(on, "Serve")
            place = home_at(two_models)
            save_app_config(
                place, replace_setting(load_app_config(place).value, "proxy.ollama_enabled", True)
            )
            await until(switch(tab, "Ollama").isChecked)
            assert await answers(text_of(tab, "Address of the Ollama API"))

    run(scenario())


def test_requests_of_other_programs_are_listed_with_their_times(two_models: Path) -> None:
    async def scenario() -> None:
        async with stage(two_models) as on:
            tab = await opened(on)
            switch(tab, "OpenAI and LM Studio").click()
            address = "Address of the OpenAI and LM Studio API"
            await until(lambda: text_of(tab, address).startswith("http"))
            body = {"model": "a", "prompt": "x", "max_tokens": 2, "temperature": 0}
            async with httpx.AsyncClient(base_url=text_of(tab, address), timeout=LOAD_S) as http:
                assert (await http.post("/completions", json=body)).status_code == 200
            table = next(t for t in tab.findChildren(DataTable) if t.accessibleName().startswith("Requests"))
            # The answer is there a moment before its request counts as done.
            await until(lambda: [row[1] for row in cells(table)] == ["● done"])
            ((_, _, path, model, *times),) = cells(table)
            assert (path, model) == ("/v1/completions", "a")
            assert "–" not in times
            go_to(tab, "Requests")
            assert text_of(tab, "Chosen request") == "● done · /v1/completions · a"
            where = named(tab, "Where the time went").accessibleDescription()
            stages = ("Queue", "Load", "Prefill", "First token", "Our overhead", "Decode")
            assert [word for word in stages if word not in where] == []
            # What a request loaded leaves when nobody asks it anything.
            await until(lambda: column(tab, "State", "a") == "● ready")
            await until(lambda: column(tab, "Requests", "a") == "0")
            assert "min" in column(tab, "Leaves in", "a")

    run(scenario())


def test_who_leaves_for_a_model_is_told_and_asked_before(two_models: Path) -> None:
    """Idle ones leave after a yes; a pinned one stays, and that there is no room is told."""

    async def scenario() -> None:
        async with stage(two_models) as on:
            tab = await opened(on)
            plan = "What loading it would mean"
            choose(tab, "a")
            await until(lambda: "of memory (" in text_of(tab, plan))
            assert "leaves" not in text_of(tab, plan)
            button(tab, "Load").click()
            await until(lambda: column(tab, "State", "a") == "● ready", timeout_s=LOAD_S)
            assert open_questions() == []

            choose(tab, "b")
            await until(lambda: "a leaves: idle for" in text_of(tab, plan))
            await until(button(tab, "Load").isEnabled)
            button(tab, "Load").click()
            await until(open_questions)
            (question,) = open_questions()
            assert "a leaves: idle for" in question.text()
            answer(question, "Cancel")
            await until(lambda: on.shell.said[-1] == "b was not loaded")
            assert column(tab, "State", "a") == "● ready"

            choose(tab, "a")
            await until(button(tab, "Pin").isEnabled)
            button(tab, "Pin").click()
            await until(lambda: column(tab, "Leaves in", "a") == "pinned")
            assert button(tab, "Pin").isChecked()
            choose(tab, "b")
            await until(lambda: "There is no room for it" in text_of(tab, plan))
            assert "a stays: pinned" in text_of(tab, plan)

            choose(tab, "a")
            await until(button(tab, "Pin").isChecked)
            button(tab, "Pin").click()
            await until(lambda: column(tab, "Leaves in", "a") != "pinned")
            choose(tab, "b")
            await until(button(tab, "Load").isEnabled)
            button(tab, "Load").click()
            await until(open_questions)
            answer(open_questions()[0], "Load")
            await until(lambda: column(tab, "State", "b") == "● ready", timeout_s=LOAD_S)
            assert column(tab, "State", "a") == "○ not loaded"
            assert on.shell.errors == []

    run(scenario())


def answer(question: QMessageBox, word: str) -> None:
    next(b for b in question.buttons() if b.text().replace("&", "") == word).click()


def test_everything_has_a_name_and_is_reached_by_the_tab_key(two_models: Path) -> None:
    async def scenario() -> None:
        async with stage(two_models) as on:
            tab = await opened(on)
            assert [w for w in controls(tab) if not (w.accessibleName() or word_on(w))] == []
            tab.activateWindow()
            for page in ("Details", "Output", "Options", "Serve", "Engines"):
                go_to(tab, page)
                unreached = reachable(tab) - walked(next(iter(reachable(tab))), 3 * len(reachable(tab)))
                assert [w.accessibleName() for w in unreached] == [], page

    run(scenario())


def reachable(tab: QWidget) -> set[QWidget]:
    """What a person can operate that is in sight now."""
    return {
        w
        for w in controls(tab)
        if w.isVisible() and w.isEnabled() and w.focusPolicy() & Qt.FocusPolicy.TabFocus
    }


def walked(start: QWidget, steps: int) -> set[QWidget]:
    """What has the focus on the way of so many tab keys."""
    start.setFocus()
    seen: set[QWidget] = set()
    for _ in range(steps):
        focus = QApplication.focusWidget()
        if focus is not None:
            seen.add(focus)
            QTest.keyClick(focus, Qt.Key.Key_Tab)
    return seen
