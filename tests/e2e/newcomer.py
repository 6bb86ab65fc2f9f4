"""Somebody who starts the program for the first time and looks for servers, by keyboard alone."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QComboBox, QDialog, QLabel, QLineEdit, QWidget

from llama_runner.ui.main_window import MainWindow
from tests.e2e.hands import Hands, text_of
from tests.fakes.metronome import Metronome, start_metronome

Report = dict[str, Any]
CTRL: Final = Qt.KeyboardModifier.ControlModifier
SHIFT: Final = Qt.KeyboardModifier.ShiftModifier
TABLE: Final = "Servers and models"
KEY: Final = "sk-of-the-newcomer"
NAME: Final = "box.localhost"


async def newcomer(hands: Hands, window: MainWindow, report: Report) -> None:
    """Nothing runs; a server is started later; a wrong address; a key; a name that leads elsewhere."""
    assert window.workspace is not None
    port = window.workspace.settings.discovery.ports[0]
    await hands.tab(1)
    await hands.until(lambda: "No servers yet" in _all_text(window), "the empty page")
    await hands.press(Qt.Key.Key_R, CTRL)
    await hands.until(lambda: "No server answered" in _all_text(window), "nothing is found")
    hands.picture("nothing-runs")
    open_server = await asyncio.to_thread(start_metronome, port=port)
    locked_server = await asyncio.to_thread(start_metronome, api_key=KEY)
    try:
        await hands.press(Qt.Key.Key_R, CTRL)
        await hands.until(lambda: _status(hands, str(port)) == "online", "the server is found")
        hands.picture("started-later")
        await _wrong_addresses(hands, report)
        await _key_needed(hands, report, locked_server)
        await _name_that_moves(hands, report, open_server)
        await _remove_and_bring_back(hands, report)
        await _chat_with(hands, window, report, str(port))
    finally:
        for server in (open_server, locked_server):
            await asyncio.to_thread(server.close)


async def _wrong_addresses(hands: Hands, report: Report) -> None:
    said = report["wrong"] = {}
    dialog = await _open_dialog(hands, Qt.Key.Key_N, CTRL)
    for address in ("http:/127.0.0.1:8080", "http://127.0.0.1:808080"):
        await _type(hands, dialog, "Address of a server to add", address)
        await hands.press(Qt.Key.Key_Return)
        await hands.until(lambda: bool(_text(dialog, "Why it did not work")), "the reason")
        said[address] = _text(dialog, "Why it did not work")
    hands.picture("wrong-address", of=dialog)
    await _type(hands, dialog, "Address of a server to add", "http://127.0.0.1:1")
    await hands.press(Qt.Key.Key_Return)
    await hands.until(lambda: _status(hands, "127.0.0.1:1") == "offline", "it is listed as offline")
    await hands.until(lambda: not _dialogs(), "the dialog is closed")
    await hands.until(lambda: "127.0.0.1:1" in _text(hands.window, "Chosen model"), "it is chosen")
    said["closed"] = _text(hands.window, "What is wrong with the chosen server")
    hands.picture("nobody-there")


async def _key_needed(hands: Hands, report: Report, server: Metronome) -> None:
    dialog = await _open_dialog(hands, Qt.Key.Key_N, CTRL)
    await _type(hands, dialog, "Address of a server to add", server.url)
    await hands.press(Qt.Key.Key_Return)
    address = server.url.removeprefix("http://")
    await hands.until(lambda: _status(hands, address) == "needs a key", "it wants a key")
    await hands.until(lambda: not _dialogs(), "the dialog is closed")
    await hands.until(lambda: address in _text(hands.window, "Chosen model"), "it is chosen")
    report["key"] = _text(hands.window, "What is wrong with the chosen server")
    hands.picture("key-needed")
    hands.find(QWidget, TABLE).setFocus()
    dialog = await _open_dialog(hands, Qt.Key.Key_K, CTRL | SHIFT)
    await _type(hands, dialog, "API key", KEY)
    place = hands.find(QComboBox, "Where the key is kept", within=dialog)
    place.setFocus()
    await hands.press(Qt.Key.Key_M)
    hands.picture("key", of=dialog)
    hands.find(QLineEdit, "API key", within=dialog).setFocus()
    await hands.press(Qt.Key.Key_Return)
    await hands.until(lambda: _status(hands, address) == "online", "the key opens it")


async def _name_that_moves(hands: Hands, report: Report, server: Metronome) -> None:
    """D12: a name that means this machine leads elsewhere, until whoever gives out names is put right."""
    port = server.url.rpartition(":")[2]
    with _names() as point:
        point("192.0.2.66")
        dialog = await _open_dialog(hands, Qt.Key.Key_N, CTRL)
        await _type(hands, dialog, "Address of a server to add", f"http://{NAME}:{port}")
        await hands.press(Qt.Key.Key_Return)
        await hands.until(lambda: _status(hands, NAME) == "offline", "the name leads elsewhere")
        await hands.until(lambda: not _dialogs(), "the dialog is closed")
        await hands.until(lambda: NAME in _text(hands.window, "Chosen model"), "it is chosen")
        report["elsewhere"] = _text(hands.window, "What is wrong with the chosen server")
        hands.picture("name-elsewhere")
        point("127.0.0.1")
        await hands.press(Qt.Key.Key_F5)
        await hands.until(lambda: _status(hands, NAME) == "online", "the name is right again")


async def _remove_and_bring_back(hands: Hands, report: Report) -> None:
    rows = len(hands.cells(TABLE))
    await hands.press(Qt.Key.Key_Delete)
    await hands.until(lambda: len(hands.cells(TABLE)) == rows - 1, "it is removed")
    await hands.until(lambda: hands.find(QWidget, "undo").isVisible(), "it can be undone")
    hands.picture("removed")
    await hands.press(Qt.Key.Key_Z, CTRL)
    await hands.until(lambda: len(hands.cells(TABLE)) == rows, "it is back")


async def _chat_with(hands: Hands, window: MainWindow, report: Report, port: str) -> None:
    await hands.press(Qt.Key.Key_F, CTRL)
    for key in ("1", "2", "7", ".", "0", ".", "0", ".", "1", ":", *port):
        await hands.press(Qt.Key(ord(key)))
    await hands.until(lambda: len(hands.cells(TABLE)) == 1, "one row is left")
    await hands.press(Qt.Key.Key_Return)
    await hands.until(lambda: hands.find(QWidget, TABLE).hasFocus(), "the table has the focus")
    await hands.press(Qt.Key.Key_Return)
    await hands.until(lambda: hands.find(QWidget, "chat-input").isVisible(), "the chat is in front")
    assert window.target is not None
    report["target"] = window.target.endpoint.base_url


# --- what a person sees and does ---------------------------------------------------------------------------


def _all_text(root: QWidget) -> str:
    return "\n".join(label.text() for label in root.findChildren(QLabel) if label.isVisible())


def _text(root: QWidget, name: str) -> str:
    found = [w for w in root.findChildren(QLabel) if w.accessibleName() == name and w.isVisible()]
    return text_of(found[0]) if found else ""


def _status(hands: Hands, holding: str) -> str:
    row = hands.row_of(TABLE, holding)
    return "" if row is None else hands.cells(TABLE)[row][1].partition(" ")[2]


def _dialogs() -> list[QDialog]:
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog) and w.isVisible()]


async def _open_dialog(hands: Hands, key: Qt.Key, modifier: Qt.KeyboardModifier) -> QDialog:
    await hands.press(key, modifier)
    await hands.until(lambda: bool(_dialogs()) and _dialogs()[0].isActiveWindow(), "a dialog")
    return _dialogs()[0]


async def _type(hands: Hands, dialog: QDialog, field: str, text: str) -> None:
    await hands.until(lambda: hands.find(QLineEdit, field, within=dialog).isEnabled(), field)
    await hands.write(field, text)


@contextmanager
def _names() -> Iterator[Callable[[str], None]]:
    """A name service for one name: there is none to be had on one machine without changing it."""
    real = socket.getaddrinfo
    points_to = ["127.0.0.1"]

    def lookup(host: Any, *args: Any, **options: Any) -> Any:
        return real(points_to[0] if host == NAME else host, *args, **options)

    def point(address: str) -> None:
        points_to[0] = address

    socket.getaddrinfo = lookup
    try:
        yield point
    finally:
        socket.getaddrinfo = real
