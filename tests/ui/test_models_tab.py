"""The models tab with the real service, engine and model."""

import sys
from pathlib import Path

import pytest
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from llama_runner.core.config import load_app_config, save_app_config
from llama_runner.core.editing import replace_setting
from llama_runner.core.paths import create_folders, home_at
from llama_runner.ui.main_window import MainWindow
from llama_runner.ui.tabs import Severity
from llama_runner.ui.widgets.label import NameLabel
from llama_runner.ui.widgets.tables import DataTable
from tests.ui.tab_support import until
from tests.ui.window_support import cells, press, use_window

LOAD_S = 40.0
TABLE = "Model files"


@pytest.fixture
def models_dir(home: Path, engine: Path, demo_model: Path) -> Path:
    """A models folder with one good file and one that is cut off."""
    folder = home / "gguf"
    (folder / "good").mkdir(parents=True)
    (folder / "bad").mkdir()
    (folder / "good" / "small.gguf").hardlink_to(demo_model)
    (folder / "bad" / "broken.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 64)
    place = home_at(home)
    create_folders(place)
    system = "windows" if sys.platform == "win32" else "linux"
    config = load_app_config(place).value
    config = replace_setting(config, f"runtime.engine_path.{system}", str(engine))
    config = replace_setting(config, f"runtime.models_dir.{system}", str(folder))
    save_app_config(place, replace_setting(config, "service.control_port", 0))
    return folder


def tab_of(window: MainWindow) -> QWidget:
    window.open_tab("models")
    tab = window.findChild(QWidget, "tab_models")
    assert tab is not None
    return tab


def table_of(tab: QWidget) -> DataTable[object]:
    return next(t for t in tab.findChildren(DataTable) if t.accessibleName() == TABLE)


def state_of(tab: QWidget, model: str) -> str:
    """The first cell of the row of `model`, empty while there is none."""
    return next((row[0] for row in cells(table_of(tab)) if row[1] == model), "")


def test_a_model_is_loaded_followed_and_unloaded(home: Path, models_dir: Path) -> None:
    """G: a damaged file is listed with what is wrong with it and cannot be loaded."""

    async def work(window: MainWindow) -> None:
        tab = tab_of(window)
        await until(lambda: state_of(tab, "small"), timeout_s=LOAD_S)
        assert state_of(tab, "broken") == "⚠ unusable"
        table_of(tab).select_keys({"small"})
        press(tab, "Load")
        await until(lambda: state_of(tab, "small") == "● ready", timeout_s=LOAD_S)
        await until(lambda: window.target is not None)
        output = next(
            view
            for view in tab.findChildren(QPlainTextEdit)
            if view.accessibleName() == "Output of the engine"
        )
        await until(lambda: "listening" in output.toPlainText())
        await until(lambda: "1 model loaded" in window.status.service_text)
        press(tab, "Unload")
        await until(lambda: state_of(tab, "small") == "○ not loaded", timeout_s=LOAD_S)
        assert window.target is None
        assert [n for n in window.notices.all if n.severity is Severity.ERROR] == []

    assert use_window(home, work) == 0


def test_a_missing_engine_is_told_in_a_sentence(
    home: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F: the program says which engine it took instead, or that there is none."""
    place = home_at(home)
    system = "windows" if sys.platform == "win32" else "linux"
    gone = str(home / "gone" / "llama-server")
    save_app_config(
        place, replace_setting(load_app_config(place).value, f"runtime.engine_path.{system}", gone)
    )

    async def work(window: MainWindow) -> None:
        tab = tab_of(window)
        await until(lambda: state_of(tab, "small"), timeout_s=LOAD_S)
        engine = next(w for w in tab.findChildren(NameLabel) if w.accessibleName() == "Engine in use")
        await until(engine.text)
        assert gone in engine.toolTip() or "✕" in engine.text()

    assert use_window(home, work) == 0
