"""The discovery tab against a real server, a closed port and nonsense."""

import socket
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from PySide6.QtWidgets import QLineEdit, QMessageBox, QWidget

from llama_runner.core.config import load_app_config, save_app_config
from llama_runner.core.editing import replace_setting
from llama_runner.core.paths import create_folders, home_at
from llama_runner.discovery.registry import ServerRecord, ServerStatus
from llama_runner.ui.main_window import MainWindow
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.tables import DataTable
from tests.fakes.metronome import Metronome
from tests.ui.tab_support import open_questions, until
from tests.ui.window_support import press, use_window

W = TypeVar("W", bound=QWidget)


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


def add(tab: QWidget, url: str, key: str = "") -> None:
    by_name(tab, QLineEdit, "Address of a server to add").setText(url)
    by_name(tab, QLineEdit, "API key of the server to add").setText(key)
    press(tab, "Add")


def tab_of(window: MainWindow) -> QWidget:
    window.open_tab("discovery")
    tab = window.findChild(QWidget, "tab_discovery")
    assert tab is not None
    return tab


def records(window: MainWindow) -> tuple[ServerRecord, ...]:
    assert window.workspace is not None
    return window.workspace.registry.records


def test_a_scan_finds_a_server_and_one_click_makes_it_the_target(home: Path, metronome: Metronome) -> None:
    only_ports(home, urlsplit(metronome.url).port or 0, closed_port())

    async def work(window: MainWindow) -> None:
        tab = tab_of(window)
        assert any("No servers yet" in label.text() for label in tab.findChildren(PlainLabel))
        press(tab, "Scan this computer")
        await until(lambda: records(window))
        table = by_name(tab, DataTable, "Known servers")
        await until(lambda: table.model().rowCount() == 1)
        await until(lambda: table.isVisible())
        press(tab, "Use as target")
        assert window.target is not None
        assert window.target.endpoint.base_url == metronome.url
        table.selectAll()
        copied = table.as_text().split("\n")
        assert copied[0].startswith("Status\tAddress\tEngine")
        assert "● online" in copied[1]

    assert use_window(home, work) == 0


def test_a_server_is_added_checked_and_removed(home: Path, metronome: Metronome) -> None:
    async def work(window: MainWindow) -> None:
        tab = tab_of(window)
        add(tab, metronome.url + "/v1")
        await until(lambda: records(window))
        assert records(window)[0].base_url == metronome.url
        assert records(window)[0].status is ServerStatus.ONLINE
        await until(lambda: by_name(tab, DataTable, "Known servers").current is not None)
        press(tab, "Check")
        press(tab, "Remove")
        await until(open_questions)
        box = open_questions()[0]
        assert urlsplit(metronome.url).netloc in box.text()
        next(b for b in box.buttons() if b.text() == "Remove").click()
        await until(lambda: not records(window))

    assert use_window(home, work) == 0


def test_an_unreachable_server_is_kept_and_told(home: Path) -> None:
    async def work(window: MainWindow) -> None:
        tab = tab_of(window)
        add(tab, f"http://127.0.0.1:{closed_port()}")
        await until(lambda: records(window))
        assert records(window)[0].status is ServerStatus.OFFLINE
        problem = by_name(tab, PlainLabel, "What is wrong with the chosen server")
        await until(problem.isVisible)
        assert problem.text()

    assert use_window(home, work) == 0


def test_what_is_no_address_is_told_beside_the_field(home: Path) -> None:
    """U17, D11."""

    async def work(window: MainWindow) -> None:
        tab = tab_of(window)
        for bad in ("ftp://x", "http://user:pw@127.0.0.1:1", "http://127.0.0.1:99999", "not a url"):
            add(tab, bad)
            problem = by_name(tab, PlainLabel, "Why the server could not be added")
            await until(problem.isVisible)
            assert problem.text()
            by_name(tab, QLineEdit, "Address of a server to add").setText("")
        assert records(window) == ()
        assert window.notices.all == ()

    assert use_window(home, work) == 0


def test_a_key_is_not_sent_unencrypted_to_another_machine_without_a_yes(home: Path) -> None:
    """R11."""

    async def work(window: MainWindow) -> None:
        tab = tab_of(window)
        add(tab, "http://192.0.2.1:8080", "sk-secret")
        await until(open_questions)
        box: QMessageBox = open_questions()[0]
        assert "192.0.2.1" in box.text()
        box.reject()
        await until(lambda: not open_questions())
        assert records(window) == ()

    assert use_window(home, work) == 0
