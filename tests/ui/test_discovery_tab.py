"""The discovery tab against real servers, closed ports and nonsense, used as a person would."""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from PySide6.QtCore import QItemSelectionModel, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QDialog,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QWidget,
)

from llama_runner.backends.base import Engine
from llama_runner.backends.models import ContextSource, ModelInfo
from llama_runner.core.config import load_app_config, save_app_config
from llama_runner.core.editing import replace_setting
from llama_runner.core.paths import create_folders, home_at
from llama_runner.discovery.networks import plan_scan
from llama_runner.discovery.registry import Certainty, ServerRecord, ServerSource, ServerStatus
from llama_runner.ui.async_slots import TaskBag
from llama_runner.ui.main_window import MainWindow
from llama_runner.ui.tabs.discovery import DiscoveryTab
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.tables import DataTable
from tests.fakes.metronome import Metronome, start_metronome
from tests.ui.tab_support import Stage, open_questions, run, stage, until
from tests.ui.window_support import cells, press, use_window

W = TypeVar("W", bound=QWidget)

TABLE = "Servers and models"


def only_ports(home: Path, *ports: int) -> None:
    """Let a scan look at these ports only."""
    place = home_at(home)
    create_folders(place)
    config = load_app_config(place).value
    save_app_config(place, replace_setting(config, "discovery.ports", ports))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def by_name(root: QWidget, kind: type[W], name: str) -> W:
    return next(w for w in root.findChildren(kind) if w.accessibleName() == name)


def table_of(tab: QWidget) -> "DataTable[object]":
    return by_name(tab, DataTable, TABLE)


def dialog_of(tab: QWidget) -> QDialog:
    return next(d for d in tab.findChildren(QDialog) if d.isVisible())


async def add(tab: QWidget, url: str, key: str = "", *, place: str = "") -> QDialog:
    """Fill in the dialog and press Add."""
    press(tab, "Add a server…")
    dialog = dialog_of(tab)
    fill(dialog, url, key, place=place)
    press(dialog, "Add")
    return dialog


def fill(dialog: QDialog, url: str, key: str = "", *, place: str = "") -> None:
    by_name(dialog, QLineEdit, "Address of a server to add").setText(url)
    by_name(dialog, QLineEdit, "API key").setText(key)
    if place:
        by_name(dialog, QComboBox, "Where the key is kept").setCurrentText(place)


def tab_of(window: MainWindow) -> QWidget:
    window.open_tab("discovery")
    tab = window.findChild(QWidget, "tab_discovery")
    assert tab is not None
    return tab


def records(owner: MainWindow | Stage) -> tuple[ServerRecord, ...]:
    assert owner.workspace is not None
    return owner.workspace.registry.records


def use_tab(home: Path, work: Callable[[Stage, DiscoveryTab], Awaitable[None]]) -> None:
    """The tab alone: no window, no service, nobody asked in the background."""

    async def played() -> None:
        async with stage(home) as found:
            tab = DiscoveryTab(found.workspace, found.shell)
            found.show(tab)
            await work(found, tab)

    run(played())


async def quiet(tab: QWidget) -> None:
    """Until nothing that was started in the tab runs any more: a second click meanwhile does nothing."""
    await until(lambda: not any(bag.tasks for bag in tab.findChildren(TaskBag)))


def outcome(window: MainWindow) -> str:
    return by_name(window, PlainLabel, "Outcome of the last action").text()


def lan_server(**changes: object) -> ServerRecord:
    """A server that a scan found on another machine; nothing answers there, and nothing asks."""
    record = ServerRecord(
        id="http://192.0.2.7:8080",
        base_url="http://192.0.2.7:8080",
        engine=Engine.OLLAMA,
        product="ollama",
        certainty=Certainty.CERTAIN,
        status=ServerStatus.ONLINE,
        source=ServerSource.FOUND,
        version="0.9.1",
        latency_s=0.0123,
        checked_utc=datetime.now(UTC),
        models=(
            ModelInfo("qwen3:8b", context_length=8192, context_source=ContextSource.SLOT),
            ModelInfo("llava", capabilities=("completion", "vision"), loaded=True),
        ),
    )
    return replace(record, **changes)  # type: ignore[arg-type]  # names of its fields


def put(owner: MainWindow | Stage, *added: ServerRecord) -> None:
    """Known servers; as just asked they are left alone."""
    assert owner.workspace is not None
    for record in added:
        owner.workspace.registry.upsert(record)


# --- finding -----------------------------------------------------------------------------------------------


def test_a_scan_finds_a_server_and_one_click_makes_it_the_target(home: Path, metronome: Metronome) -> None:
    only_ports(home, urlsplit(metronome.url).port or 0, closed_port())

    async def work(window: MainWindow) -> None:
        tab = tab_of(window)
        assert any("No servers yet" in label.text() for label in tab.findChildren(PlainLabel))
        press(tab, "Scan this computer")
        await until(lambda: records(window))
        table = table_of(tab)
        await until(lambda: table.model().rowCount() == 1)
        await until(table.isVisible)
        await quiet(tab)
        press(tab, "Use as target")
        await until(lambda: "Target:" in outcome(window))
        assert window.target is not None
        assert window.target.endpoint.base_url == metronome.url
        assert tab.isVisible()
        table.selectAll()
        copied = table.as_text().split("\n")
        assert copied[0].startswith("★\tStatus\tModel\tServer\tContext")
        assert "● online\tmetronome\t" in copied[1]
        press(tab, "Chat")
        await until(lambda: not tab.isVisible())

    assert use_window(home, work) == 0


def test_nothing_runs_then_a_server_is_started_and_found(home: Path) -> None:
    port = closed_port()
    only_ports(home, port)

    async def work(room: Stage, tab: QWidget) -> None:
        press(tab, "Scan this computer")
        await until(lambda: any("No server answered" in x.text() for x in tab.findChildren(PlainLabel)))
        metronome = start_metronome(port=port)
        try:
            press(tab, "Scan again")
            await until(lambda: table_of(tab).isVisible())
            assert cells(table_of(tab))[0][1] == "● online"
        finally:
            metronome.close()
        press(tab, "Check")
        await until(lambda: cells(table_of(tab))[0][1] == "○ offline")
        problem = by_name(tab, PlainLabel, "What is wrong with the chosen server")
        await until(problem.isVisible)
        assert "Start the server" in problem.text()

    use_tab(home, work)


# --- adding ------------------------------------------------------------------------------------------------


def test_a_server_is_added_checked_removed_and_brought_back(home: Path, metronome: Metronome) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        await add(tab, metronome.url + "/v1")
        table = table_of(tab)
        await until(lambda: table.current is not None)
        assert records(room)[0].base_url == metronome.url
        assert records(room)[0].status is ServerStatus.ONLINE
        press(tab, "Check")
        press(tab, "Remove")
        await until(lambda: not records(room))
        await quiet(tab)
        assert any(metronome.url.partition("//")[2] in x.text() for x in tab.findChildren(NameLabel))
        press(tab, "Undo")
        await until(lambda: records(room))
        await until(lambda: table.current is not None)

    use_tab(home, work)


def test_an_unreachable_server_is_kept_and_told(home: Path) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        await add(tab, f"http://127.0.0.1:{closed_port()}")
        await until(lambda: records(room))
        assert records(room)[0].status is ServerStatus.OFFLINE
        problem = by_name(tab, PlainLabel, "What is wrong with the chosen server")
        await until(problem.isVisible)
        assert problem.text()
        chat = by_name(tab, QPushButton, "Chat")
        assert not chat.isEnabled()
        assert "Nothing listens" in chat.toolTip() or "offline" in chat.toolTip() or chat.toolTip()

    use_tab(home, work)


def test_what_is_no_address_is_told_beside_the_field(home: Path) -> None:
    """U17, D11."""

    async def work(room: Stage, tab: QWidget) -> None:
        press(tab, "Add a server…")
        dialog = dialog_of(tab)
        problem = by_name(dialog, PlainLabel, "Why it did not work")
        for bad in ("ftp://x", "http://user:pw@127.0.0.1:1", "http://127.0.0.1:99999", "not a url", ""):
            fill(dialog, bad)
            press(dialog, "Add")
            await until(problem.text)
            fill(dialog, "x")
            assert problem.text() == ""
        assert records(room) == ()
        assert room.shell.notices == [] and room.shell.errors == []
        QTest.keyClick(dialog, Qt.Key.Key_Escape)
        await until(lambda: not tab.findChildren(QDialog))

    use_tab(home, work)


def test_a_server_that_wants_a_key_says_so_and_takes_it(home: Path) -> None:
    metronome = start_metronome(api_key="sk-right")

    async def work(room: Stage, tab: QWidget) -> None:
        await add(tab, metronome.url)
        table = table_of(tab)
        await until(lambda: table.model().rowCount() == 1)
        await until(lambda: cells(table)[0][1] == "◐ needs a key")
        await until(lambda: not tab.findChildren(QDialog))
        for key, status in (("sk-wrong", "◐ needs a key"), ("sk-right", "● online")):
            press(tab, "API key…")
            dialog = dialog_of(tab)
            by_name(dialog, QLineEdit, "API key").setText(key)
            by_name(dialog, QComboBox, "Where the key is kept").setCurrentText(
                "Memory, until the program ends"
            )
            press(dialog, "Use this key")
            await until(lambda: not tab.findChildren(QDialog))
            await until(lambda: cells(table)[0][1] == status)  # noqa: B023
        press(tab, "API key…")
        press(dialog_of(tab), "Forget the key")
        await until(lambda: cells(table)[0][1] == "◐ needs a key")
        assert "sk-right" not in repr(records(room))

    try:
        use_tab(home, work)
    finally:
        metronome.close()


def test_a_key_is_not_sent_unencrypted_to_another_machine_without_a_yes(home: Path) -> None:
    """R11."""

    async def work(room: Stage, tab: QWidget) -> None:
        dialog = await add(tab, "http://192.0.2.1:8080", "sk-secret")
        await until(open_questions)
        box = open_questions()[0]
        assert "192.0.2.1" in box.text()
        box.reject()
        await until(lambda: not open_questions())
        assert records(room) == ()
        dialog.reject()

    use_tab(home, work)


# --- using -------------------------------------------------------------------------------------------------


def test_another_computer_is_used_only_after_one_yes_that_is_remembered(home: Path) -> None:
    """R11: confirmed once, then trusted; a no leaves everything as it is."""

    async def work(room: Stage, tab: QWidget) -> None:
        put(room, lan_server(status=ServerStatus.NOT_CHECKED))
        table = table_of(tab)
        await until(lambda: table.model().rowCount() == 2)
        for word in ("Cancel", "Use it"):
            press(tab, "Use as target")
            await until(open_questions)
            box = open_questions()[0]
            assert "192.0.2.7:8080" in box.text() and "unencrypted" in box.text()
            next(b for b in box.buttons() if b.text().replace("&", "") == word).click()
            await quiet(tab)
        await until(lambda: records(room)[0].trusted)
        assert room.shell.picked == [("http://192.0.2.7:8080", "qwen3:8b")]
        press(tab, "Add to arena")
        assert open_questions() == []

    use_tab(home, work)


def test_several_models_go_to_the_arena_at_once_and_one_to_the_load_test(home: Path) -> None:
    async def work(window: MainWindow) -> None:
        tab = tab_of(window)
        put(window, lan_server(trusted=True, status=ServerStatus.NOT_CHECKED))
        table = table_of(tab)
        await until(lambda: table.model().rowCount() == 2)
        table.selectAll()
        press(tab, "Add to arena")
        await until(lambda: window.findChild(QWidget, "tab_arena") is not None)
        assert tab.isVisible()
        arena = window.findChild(QWidget, "tab_arena")
        assert arena is not None
        chosen = arena.findChild(PlainLabel, "arena-chosen")
        assert chosen is not None
        assert chosen.text().startswith("2 of 2 chosen")
        table.selectRow(1)
        press(tab, "Load test")
        await until(lambda: not tab.isVisible())
        assert window.target is not None
        assert window.target.model_id == "llava"

    assert use_window(home, work) == 0


def test_a_changed_server_is_not_used_before_it_is_trusted(home: Path, metronome: Metronome) -> None:
    """D13: the warning stands in the details, and one button ends it."""

    async def work(room: Stage, tab: QWidget) -> None:
        await add(tab, metronome.url)
        await until(lambda: records(room))
        room.workspace.registry.edit(records(room)[0].id, changed="It was vllm and now is ollama.")
        warning = by_name(tab, PlainLabel, "Warning about the chosen server")
        await until(warning.isVisible)
        assert "It was vllm" in warning.text()
        assert cells(table_of(tab))[0][1] == "⚠ changed"
        assert not by_name(tab, QPushButton, "Chat").isEnabled()
        press(tab, "Trust it")
        await until(lambda: not warning.isVisible())
        await until(lambda: cells(table_of(tab))[0][1] == "● online")

    use_tab(home, work)


# --- the table ---------------------------------------------------------------------------------------------


def test_rows_show_what_is_known_and_the_filter_looks_through_all_of_it(home: Path) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        put(room, lan_server(), lan_server(id="b", base_url="http://192.0.2.8:1", models=(), note="attic"))
        table = table_of(tab)
        await until(lambda: table.model().rowCount() == 3)
        first = cells(table)[0]
        assert first[1:5] == ["● online", "qwen3:8b", "192.0.2.7:8080", "8,192 slot"]
        assert first[5:8] == ["ollama", "–", "12.3 ms"]
        assert cells(table)[1][6] == "vision"
        assert cells(table)[2][2] == "–"
        field = by_name(tab, QLineEdit, "Filter servers and models")
        for text, shown in (("VISION ollama", 1), ("attic", 1), ("192.0.2", 3), ("nothing", 0), ("", 3)):
            field.setText(text)
            assert table.model().rowCount() == shown
        count = by_name(tab, PlainLabel, "How many are shown")
        assert count.text() == "Models: 2, servers: 2"

    use_tab(home, work)


def test_a_favourite_stands_on_top_and_a_note_is_kept_by_itself(home: Path) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        put(room, lan_server(), lan_server(id="b", base_url="http://192.0.2.8:1"))
        table = table_of(tab)
        await until(lambda: table.model().rowCount() == 4)
        table.selectRow(2)
        press(tab, "Favourite")
        await until(lambda: cells(table)[0][0] == "★")
        assert cells(table)[0][3] == "192.0.2.8:1"
        note = by_name(tab, QPlainTextEdit, "Note about the server")
        note.setPlainText("belongs to <b>Ann</b>")
        await until(lambda: room.workspace.registry.known("b").note)
        note.setPlainText("gone on to the next row")
        table.selectRow(3)
        table.selectRow(2)
        await until(lambda: "next row" in room.workspace.registry.known("b").note)

    use_tab(home, work)


def test_two_thousand_models_with_names_from_hell_are_shown_and_found(home: Path) -> None:
    """D5, D7, U15."""
    odd = "<img src=file:///x>\u202e\n" + "x" * 10_000
    names = [" ", *(f"model-{n}" for n in range(1997)), odd, "model-0"]

    async def work(room: Stage, tab: QWidget) -> None:
        put(room, lan_server(models=tuple(ModelInfo(name) for name in names)))
        table = table_of(tab)
        await until(lambda: table.model().rowCount() == 2000)
        assert cells(table)[0][2] == "␠"
        by_name(tab, QLineEdit, "Filter servers and models").setText("<img")
        assert table.model().rowCount() == 1
        shown = cells(table)[0][2]
        assert shown.startswith("<img src=file:///x>⟨U+202E⟩␊") and len(shown) <= 256
        table.selectRow(0)
        title = by_name(tab, NameLabel, "Chosen model")
        assert title.text().startswith("<img") and title.textFormat() is Qt.TextFormat.PlainText

    use_tab(home, work)


def test_the_whole_tab_works_by_keyboard_alone(home: Path, metronome: Metronome) -> None:
    only_ports(home, urlsplit(metronome.url).port or 0)

    async def work(window: MainWindow) -> None:
        tab = tab_of(window)
        QTest.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
        await until(lambda: table_of(tab).isVisible())
        table = table_of(tab)
        QTest.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
        field = by_name(tab, QLineEdit, "Filter servers and models")
        await until(field.hasFocus)
        QTest.keyClicks(field, "metro")
        QTest.keyClick(field, Qt.Key.Key_Return)
        assert table.hasFocus() and table.current is not None
        QTest.keyClick(table, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
        await until(lambda: records(window)[0].favourite)
        QTest.keyClick(table, Qt.Key.Key_Delete)
        await until(lambda: not records(window))
        await quiet(tab)
        focus = QApplication.focusWidget()
        assert focus is not None and tab.isAncestorOf(focus)
        QTest.keyClick(focus, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        await until(lambda: records(window))
        await until(lambda: table.current is not None)
        table.setFocus()
        QTest.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        assert "metronome" in QGuiApplication.clipboard().text()
        QTest.keyClick(table, Qt.Key.Key_Return)
        await until(lambda: not tab.isVisible())
        assert window.target is not None

    assert use_window(home, work) == 0


def test_all_found_servers_are_removed_and_brought_back_at_once(home: Path) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        marked = lan_server(id="http://192.0.2.8:1", base_url="http://192.0.2.8:1", favourite=True)
        third = lan_server(id="http://192.0.2.9:1", base_url="http://192.0.2.9:1")
        put(room, lan_server(), marked, third)
        table = table_of(tab)
        await until(lambda: table.model().rowCount() == 6)
        before = cells(table)
        next(a for a in table.actions() if a.text() == "Remove all found servers").trigger()
        await until(lambda: table.model().rowCount() == 2)
        assert cells(table)[0][0] == "★"
        await quiet(tab)
        press(tab, "Undo")
        await until(lambda: table.model().rowCount() == 6)
        assert cells(table) == before

    use_tab(home, work)


def test_every_action_is_in_the_context_menu_and_disabled_ones_say_why(home: Path) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        put(room, lan_server(status=ServerStatus.OFFLINE, problem="Nothing listens there."))
        table = table_of(tab)
        await until(lambda: table.model().rowCount() == 2)
        table.selectionModel().select(table.model().index(0, 0), QItemSelectionModel.SelectionFlag.Clear)
        table.clearSelection()
        names = [action.text() for action in table.actions()]
        assert names[0] == "Chat" and "Remove" in names and names[-1] == "Copy rows"
        chat = table.actions()[0]
        assert not chat.isEnabled() and "Choose one row first." in chat.toolTip()
        table.selectRow(0)
        assert "Nothing listens there." in chat.toolTip()
        put(room, lan_server(models=(ModelInfo("embed", capabilities=("embedding",)),)))
        await until(lambda: table.model().rowCount() == 1)
        table.selectRow(0)
        assert "It makes embeddings" in chat.toolTip() and not chat.isEnabled()

    use_tab(home, work)


def test_the_keyboard_goes_through_the_tab_as_the_eye_does(home: Path) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        put(room, lan_server())
        await until(lambda: table_of(tab).model().rowCount() == 2)
        first = by_name(tab, QPushButton, "Scan this computer")
        first.setFocus()
        names: list[str] = []
        while QApplication.focusWidget() is not first or not names:
            focus = QApplication.focusWidget()
            assert focus is not None
            names.append(focus.accessibleName())
            QTest.keyClick(focus, Qt.Key.Key_Tab)
        assert names == [
            "Scan this computer",
            "Scan a network…",
            "Add a server…",
            "Filter servers and models",
            "Servers and models",
            "Chat",
            "Add to arena",
            "Load test",
            "Use as target",
            "Check",
            "Load",
            "Unload",
            "API key…",
            "Favourite",
            "Copy address",
            "Remove",
            "Note about the server",
        ]
        table_of(tab).setFocus()
        QTest.keyClick(
            table_of(tab),
            Qt.Key.Key_C,
            Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier,
        )
        # Qt remembers the keys held down at the last event, for all that follows.
        QTest.keyClick(table_of(tab), Qt.Key.Key_Home)
        copied = QGuiApplication.clipboard().text()
        assert "Context\t8,192 slot" in copied and "Address\thttp://192.0.2.7:8080" in copied

    use_tab(home, work)


def test_a_scan_shows_how_far_it_is_and_stops_at_once(home: Path) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        hosts = [f"127.0.3.{n}" for n in range(1, 255)]
        assert isinstance(tab, DiscoveryTab)
        by_name(tab, QPushButton, "Scan this computer").setFocus()
        tab.scan(plan_scan(room.workspace.settings.discovery, hosts=hosts))
        stop = by_name(tab, QPushButton, "Stop: Scan")
        await until(stop.isVisible)
        assert stop.hasFocus() and not by_name(tab, QPushButton, "Scan this computer").isVisible()
        await until(lambda: any("of 4,064, 0 found" in x.text() for x in tab.findChildren(PlainLabel)))
        stop.click()
        await quiet(tab)
        assert room.shell.said[-1].startswith("Scan stopped: 0 found on ")
        assert by_name(tab, QPushButton, "Scan this computer").hasFocus()

    use_tab(home, work)
