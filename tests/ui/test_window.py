"""The window as a whole: opens, fills, names everything, switches themes, tells errors, closes."""

import asyncio
import threading
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QApplication, QDialog, QWidget

from llama_runner.core.config import load_app_config
from llama_runner.core.errors import StorageError
from llama_runner.core.paths import home_at
from llama_runner.system.config_changes import change_app_config
from llama_runner.ui.dialogs.settings import SettingField, SettingsDialog
from llama_runner.ui.main_window import MainWindow
from llama_runner.ui.tabs import TABS, Severity
from llama_runner.ui.theme import DARK, LIGHT, ThemeMode
from llama_runner.ui.widgets.label import PlainLabel
from tests.ui.tab_support import until
from tests.ui.window_support import controls, labels, press, use_window

pytestmark = pytest.mark.usefixtures("qapp")


async def every_tab(window: MainWindow) -> None:
    """Show each tab once."""
    for entry in TABS:
        window.open_tab(entry.key)
        tab = window.findChild(QWidget, f"tab_{entry.key}")
        assert tab is not None
        await until(tab.isVisible)
        # A turn for what the tab does when it is first seen.
        await asyncio.sleep(0.05)


def test_every_control_has_a_name_and_every_label_is_plain(home: Path) -> None:
    """U15, I32, and the rule that everything has an accessible name: all tabs and all dialogs."""

    async def work(window: MainWindow) -> None:
        await every_tab(window)
        for open_dialog in (
            window.open_settings,
            window.open_log,
            window.open_about,
            window.open_notices,
        ):
            open_dialog()
        await asyncio.sleep(0.05)
        nameless = [
            f"{type(w).__name__} {w.objectName()} in {type(w.parent()).__name__}"
            for w in controls(window)
            if not (w.accessibleName() or getattr(w, "text", lambda: "")())
        ]
        assert nameless == []
        rich = [
            f"{type(label).__name__} {label.text()[:40]!r}"
            for label in labels(window)
            if label.textFormat() is not Qt.TextFormat.PlainText
        ]
        assert rich == []
        for dialog in window.findChildren(QDialog):
            dialog.close()

    assert use_window(home, work) == 0


def test_the_theme_switches_with_every_tab_open(home: Path) -> None:
    async def work(window: MainWindow) -> None:
        await every_tab(window)
        for mode, colours in ((ThemeMode.DARK, DARK), (ThemeMode.LIGHT, LIGHT), (ThemeMode.DARK, DARK)):
            window.theme.set_mode(mode)
            await asyncio.sleep(0.02)
            assert window.theme.colours is colours
            assert window.grab().toImage().pixelColor(3, 3).name().upper() == colours.surface

    assert use_window(home, work) == 0


@pytest.mark.parametrize("size", [(1024, 600), (1280, 720), (1920, 1080)])
def test_the_window_gets_as_small_as_promised(home: Path, size: tuple[int, int]) -> None:
    async def work(window: MainWindow) -> None:
        await every_tab(window)
        window.resize(*size)
        await asyncio.sleep(0.05)
        assert window.size() == QSize(*size)

    assert use_window(home, work) == 0


def test_shortcuts_lead_to_the_tabs(home: Path) -> None:
    async def work(window: MainWindow) -> None:
        keys = {action.shortcut().toString(): action for action in window.actions()}
        for number, entry in enumerate(TABS, 1):
            keys[f"Ctrl+{number}"].trigger()
            await asyncio.sleep(0)
            tab = window.findChild(QWidget, f"tab_{entry.key}")
            assert tab is not None
            assert tab.isVisible()
        for wanted in ("Ctrl+,", "Ctrl+L", "Ctrl+M", "F1", "Ctrl+Q"):
            assert wanted in keys

    assert use_window(home, work) == 0


def test_errors_anywhere_end_in_one_notice(home: Path) -> None:
    async def work(window: MainWindow) -> None:
        window.report(StorageError("The disk is full.", "Free some space."), doing="saving")

        def fails() -> None:
            raise ValueError("in a thread")

        thread = threading.Thread(target=fails)
        thread.start()
        thread.join()
        asyncio.get_running_loop().call_soon(fails)
        await until(lambda: len(window.notices.all) >= 3)
        assert [n.severity for n in window.notices.all] == [Severity.WARNING, Severity.ERROR, Severity.ERROR]
        bar = window.findChild(QWidget, "notice")
        assert bar is not None
        assert bar.isVisible()

    assert use_window(home, work) == 0


def test_geometry_tab_and_dock_come_back(home: Path) -> None:
    async def first(window: MainWindow) -> None:
        window.resize(780, 560)
        window.open_tab("monitor")
        window.dock.set_folded(True)

    async def second(window: MainWindow) -> None:
        assert (window.width(), window.height()) == (780, 560)
        assert window.dock.folded
        tab = window.findChild(QWidget, "tab_monitor")
        assert tab is not None
        assert tab.isVisible()

    use_window(home, first)
    use_window(home, second)


def test_a_broken_configuration_is_told_and_nothing_is_lost(home: Path) -> None:
    """C1, C3: the file stays as the user left it."""
    config = home / "config"
    config.mkdir(parents=True)
    broken = '{"version": 1, "stress": {"concurrency": true}, "chat": {"temperature": "warm"'
    (config / "app_config.json").write_text(broken, encoding="utf-8")

    async def work(window: MainWindow) -> None:
        assert any("app_config.json" in notice.message for notice in window.notices.all)

    assert use_window(home, work) == 0
    assert (config / "app_config.json").read_text(encoding="utf-8") == broken


def test_settings_are_checked_beside_the_field_and_saved_whole(home: Path) -> None:
    """U17."""

    async def work(window: MainWindow) -> None:
        window.open_settings()
        dialog = window.findChild(SettingsDialog)
        assert dialog is not None
        fields = {field.info.key: field for field in dialog.findChildren(SettingField)}
        concurrency, theme = fields["stress.concurrency"], fields["ui.theme"]
        for bad in ("1e9", "4097", "", "four", "1,5"):
            concurrency.set_text(bad)
            problem = concurrency.findChild(PlainLabel, "errorText")
            assert problem is not None
            assert "whole number from 1 to 4096" in problem.text()
        concurrency.set_text("8")
        theme.set_text("dark")
        press(dialog, "Save")
        await asyncio.sleep(0)
        assert window.workspace is not None
        assert window.workspace.settings.stress.concurrency == 8
        assert window.theme.colours is DARK

    assert use_window(home, work) == 0
    assert '"concurrency": 8' in home_at(home).app_config_file.read_text(encoding="utf-8")


def test_saving_settings_takes_back_nothing_that_changed_meanwhile(home: Path) -> None:
    """A command, or another window, may have changed the file since the dialog was opened."""
    config = home_at(home)

    async def work(window: MainWindow) -> None:
        window.open_settings()
        dialog = window.findChild(SettingsDialog)
        assert dialog is not None
        change_app_config(config, {"stress.requests": 99, "stress.concurrency": 2})
        fields = {field.info.key: field for field in dialog.findChildren(SettingField)}
        fields["stress.concurrency"].set_text("8")
        press(dialog, "Save")
        await asyncio.sleep(0)
        stress = load_app_config(config).value.stress
        assert (stress.concurrency, stress.requests) == (8, 99)

    assert use_window(home, work) == 0


def test_closing_leaves_no_process_thread_or_task(home: Path) -> None:
    before = set(threading.enumerate())
    children = set(psutil.Process().children())

    async def work(window: MainWindow) -> None:
        await every_tab(window)
        assert window.workspace is not None
        await window.workspace.service.ensure()
        assert set(psutil.Process().children()) > children

    assert use_window(home, work) == 0
    assert set(threading.enumerate()) <= before
    assert set(psutil.Process().children()) == children


def test_closing_twice_while_it_opens_is_harmless(home: Path) -> None:
    async def work(window: MainWindow) -> None:
        window.close()
        window.close()
        QApplication.closeAllWindows()

    assert use_window(home, work) == 0


def test_qt_ending_its_loop_early_still_closes_everything(home: Path) -> None:
    """Finding 10: no "Event loop stopped before Future completed", no task left."""
    reached: list[str] = []

    async def work(window: MainWindow) -> None:
        QApplication.quit()
        try:
            await asyncio.Event().wait()
        finally:
            reached.append("cancelled")

    with pytest.raises(asyncio.CancelledError):
        use_window(home, work)
    assert reached == ["cancelled"]
