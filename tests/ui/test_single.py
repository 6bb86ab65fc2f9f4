"""One window per home, and what a second start does (R13)."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import QObject
from PySide6.QtNetwork import QLocalSocket
from pytestqt.qtbot import QtBot

from llama_runner.core.paths import create_folders, home_at
from llama_runner.ui.main_window import MainWindow
from llama_runner.ui.single import RAISE, SingleWindow
from tests.ui.window_support import use_window

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def claimed(home: Path, qtbot: QtBot) -> SingleWindow:
    place = home_at(home)
    create_folders(place)
    return SingleWindow(place)


def test_the_lock_decides_and_the_socket_tells(claimed: SingleWindow, home: Path, qtbot: QtBot) -> None:
    fronts: list[int] = []
    parent = QObject()
    assert claimed.claim()
    claimed.listen(parent, lambda: fronts.append(1))
    second = SingleWindow(home_at(home))
    assert not second.claim()
    assert second.raise_other()
    qtbot.waitUntil(lambda: fronts == [1], timeout=3000)
    claimed.release()
    assert second.claim()
    assert not second.raise_other()
    second.release()


@pytest.mark.parametrize("message", [b"open /etc/passwd\n", b"x" * 100_000, RAISE + RAISE, b""])
def test_only_the_one_message_is_understood(claimed: SingleWindow, qtbot: QtBot, message: bytes) -> None:
    fronts: list[int] = []
    parent = QObject()
    assert claimed.claim()
    claimed.listen(parent, lambda: fronts.append(1))
    socket = QLocalSocket()
    socket.connectToServer(claimed._name)
    assert socket.waitForConnected(1000)
    socket.write(message)
    socket.flush()
    qtbot.wait(50)
    assert fronts == []
    socket.abort()
    claimed.release()


def test_a_second_start_raises_the_first_window_and_ends(home: Path) -> None:
    async def work(window: MainWindow) -> None:
        window.showMinimized()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "main.py"),
            env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "DISPLAY": ":99"},
            stderr=subprocess.PIPE,
        )
        _, err = await process.communicate()
        assert process.returncode == 0
        assert b"open already" in err
        assert not window.isMinimized()

    assert use_window(home, work) == 0
