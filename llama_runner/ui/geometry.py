"""Where the window and its splitters were, in one file of ours, checked against the screens of today."""

from pathlib import Path
from typing import Final

from PySide6.QtCore import QByteArray, QRect, QSettings
from PySide6.QtWidgets import QMainWindow, QSplitter

DEFAULT_SIZE: Final = (1280, 800)
MINIMUM_SIZE: Final = (760, 480)
# So much of the title bar must be on a screen that the window can be grabbed.
GRIP_PX: Final = 80


class WindowMemory:
    """Remembers by name. A file that says nonsense is as good as none."""

    def __init__(self, file: Path) -> None:
        self._settings = QSettings(str(file), QSettings.Format.IniFormat)

    def restore_window(self, window: QMainWindow) -> None:
        """Where it was; the default size in the middle when that is off every screen of today."""
        saved = self._settings.value("window/geometry")
        if not (isinstance(saved, QByteArray) and window.restoreGeometry(saved) and is_reachable(window)):
            place_by_default(window)

    def save_window(self, window: QMainWindow) -> None:
        """Keep its place."""
        self._settings.setValue("window/geometry", window.saveGeometry())

    def restore_splitter(self, splitter: QSplitter, name: str, default: tuple[int, ...]) -> None:
        """Its sizes, else `default`."""
        saved = self._settings.value(f"splitters/{name}")
        if not (isinstance(saved, QByteArray) and splitter.restoreState(saved)):
            splitter.setSizes(default)

    def save_splitter(self, splitter: QSplitter, name: str) -> None:
        """Keep its sizes."""
        self._settings.setValue(f"splitters/{name}", splitter.saveState())

    def text(self, name: str, default: str = "") -> str:
        """A word kept under `name`."""
        value = self._settings.value(f"values/{name}", default)
        return value if isinstance(value, str) else default

    def set_text(self, name: str, value: str) -> None:
        """Keep a word under `name`."""
        self._settings.setValue(f"values/{name}", value)

    def write(self) -> None:
        """Put it on the disk now."""
        self._settings.sync()


def is_reachable(window: QMainWindow) -> bool:
    """Whether enough of the window's upper edge is on some screen."""
    frame = window.geometry()
    edge = QRect(frame.left(), frame.top(), frame.width(), GRIP_PX // 2)
    parts = (screen.availableGeometry().intersected(edge) for screen in window.screen().virtualSiblings())
    return any(part.width() >= GRIP_PX and part.height() > 0 for part in parts)


def place_by_default(window: QMainWindow) -> None:
    """The default size, smaller on a small screen, in its middle."""
    room = window.screen().availableGeometry()
    width, height = (
        min(DEFAULT_SIZE[0], round(room.width() * 0.94)),
        min(DEFAULT_SIZE[1], round(room.height() * 0.92)),
    )
    window.resize(width, height)
    window.move(room.center().x() - width // 2, room.center().y() - height // 2)
