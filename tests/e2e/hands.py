"""What a person does to the window: finds a thing by its name, clicks, types, waits until something shows."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QTableView, QWidget

W = TypeVar("W", bound=QWidget)

# A loaded two-core machine takes its time over a real model; nothing here waits longer than it has to.
PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.05


class Hands:
    """Works one window.

    Args:
        pictures: Where `picture` puts its files.
    """

    def __init__(self, window: QWidget, pictures: Path) -> None:
        self.window = window
        self._pictures = pictures

    def find(self, kind: type[W], name: str, *, within: QWidget | None = None) -> W:
        """The visible thing with this object name or accessible name. Raises LookupError without one."""
        for root in (within,) if within is not None else (self.window, *QApplication.topLevelWidgets()):
            for widget in root.findChildren(kind):
                if name in (widget.objectName(), widget.accessibleName()) and widget.isVisible():
                    return widget
        raise LookupError(f"no visible {kind.__name__} called {name!r}")

    async def until(self, true: Callable[[], bool], what: str, *, patience_s: float = PATIENCE_S) -> None:
        """Look at the window until `true` says so; a LookupError counts as not yet."""
        give_up = time.monotonic() + patience_s
        while not _holds(true):
            if time.monotonic() > give_up:
                self.picture(f"gave-up-{what.replace(' ', '-')}")
                raise TimeoutError(f"waited {patience_s:g} s for: {what}")
            await asyncio.sleep(LOOK_S)

    async def click(self, name: str, *, within: QWidget | None = None) -> None:
        """Click a button once it can be clicked."""

        def ready() -> bool:
            return self.find(QAbstractButton, name, within=within).isEnabled()

        await self.until(ready, f"button {name}")
        QTest.mouseClick(self.find(QAbstractButton, name, within=within), Qt.MouseButton.LeftButton)
        await asyncio.sleep(0)

    async def write(self, name: str, text: str) -> None:
        """Click into a field, replace what it holds by `text`."""
        await self.until(lambda: self.find(QWidget, name).isEnabled(), f"field {name}")
        field = self.find(QWidget, name)
        field.setFocus()
        QTest.keyClick(field, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
        QTest.keyClicks(field, text)
        await asyncio.sleep(0)

    async def press(
        self, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
    ) -> None:
        """Press a key wherever the keyboard's focus is."""
        QTest.keyClick(QApplication.focusWidget() or self.window, key, modifier)
        await asyncio.sleep(0)

    async def tab(self, number: int) -> None:
        """Bring a tab to the front by its shortcut."""
        await self.press(Qt.Key(Qt.Key.Key_0 + number), Qt.KeyboardModifier.ControlModifier)

    async def choose_row(self, table_name: str, holding: str) -> None:
        """Click the row of a table that holds this text."""
        await self.until(lambda: self.row_of(table_name, holding) is not None, f"row {holding}")
        row = self.row_of(table_name, holding)
        assert row is not None
        table = self.find(QTableView, table_name)
        spot = table.visualRect(table.model().index(row, 1)).center()
        QTest.mouseClick(
            table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, QPoint(spot)
        )
        await asyncio.sleep(0)

    def row_of(self, table_name: str, holding: str) -> int | None:
        """The number of the first row with a cell that holds this text, None when there is none."""
        rows = self.cells(table_name)
        return next((n for n, row in enumerate(rows) if any(holding in cell for cell in row)), None)

    def cells(self, table_name: str) -> list[list[str]]:
        """All a table shows, row by row."""
        model = self.find(QTableView, table_name).model()
        columns = range(model.columnCount())
        return [[str(model.index(row, c).data()) for c in columns] for row in range(model.rowCount())]

    def picture(self, name: str, *, of: QWidget | None = None) -> None:
        """Save what the window, or another one, looks like now."""
        (of or self.window).grab().save(str(self._pictures / f"{name}.png"))


def _holds(true: Callable[[], bool]) -> bool:
    try:
        return bool(true())
    except LookupError:
        return False


def text_of(widget: Any) -> str:
    """What a text view or a label shows."""
    return str(widget.toPlainText() if hasattr(widget, "toPlainText") else widget.text())
