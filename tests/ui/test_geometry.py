"""The window comes back where it was, and never where nobody can reach it."""

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMainWindow, QSplitter, QWidget
from pytestqt.qtbot import QtBot

from llama_runner.ui.geometry import WindowMemory, is_reachable


def window(qtbot: QtBot) -> QMainWindow:
    made = QMainWindow()
    qtbot.addWidget(made)
    return made


def test_place_and_splitters_come_back(qtbot: QtBot, tmp_path: Path) -> None:
    first = window(qtbot)
    first.resize(500, 400)
    first.move(20, 30)
    splitter = QSplitter(Qt.Orientation.Horizontal)
    qtbot.addWidget(splitter)
    for _ in range(2):
        splitter.addWidget(QWidget())
    splitter.resize(600, 100)
    splitter.setSizes([450, 150])
    memory = WindowMemory(tmp_path / "window.ini")
    memory.save_window(first)
    memory.save_splitter(splitter, "main")
    memory.set_text("tab", "arena")
    memory.write()

    again = WindowMemory(tmp_path / "window.ini")
    second = window(qtbot)
    again.restore_window(second)
    assert (second.width(), second.height()) == (500, 400)
    state = splitter.saveState()
    splitter.setSizes([300, 300])
    again.restore_splitter(splitter, "main", (1, 1))
    assert splitter.saveState() == state
    assert again.text("tab") == "arena"


def test_a_place_off_every_screen_is_not_used(qtbot: QtBot, tmp_path: Path) -> None:
    lost = window(qtbot)
    lost.resize(500, 400)
    lost.move(50_000, 50_000)
    assert not is_reachable(lost)
    memory = WindowMemory(tmp_path / "window.ini")
    memory.save_window(lost)
    found = window(qtbot)
    memory.restore_window(found)
    assert is_reachable(found)


def test_a_file_of_nonsense_is_as_good_as_none(qtbot: QtBot, tmp_path: Path) -> None:
    file = tmp_path / "window.ini"
    file.write_bytes(b"\x00\xff[window]\ngeometry=@ByteArray(rubbish)\n[values]\ntab=@Invalid()\n")
    memory = WindowMemory(file)
    found = window(qtbot)
    memory.restore_window(found)
    assert is_reachable(found)
    assert memory.text("missing", "chat") == "chat"
