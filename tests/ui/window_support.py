"""The whole window in this process, used by a coroutine in place of a person."""

import argparse
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QTextEdit,
    QWidget,
)

from llama_runner.ui.app import run_window
from llama_runner.ui.main_window import MainWindow

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
)


def use_window(home: Path, work: Callable[[MainWindow], Awaitable[None]], *, demo: bool = False) -> int:
    """Open the window, do `work` with it, close it, return the exit code. What `work` raises is raised."""
    failures: list[BaseException] = []

    async def drive(window: MainWindow) -> None:
        try:
            await work(window)
        except BaseException as error:
            failures.append(error)
            raise

    options = argparse.Namespace(home=home, demo=demo, debug=False)
    code = run_window(options, drive=drive)
    if failures:
        raise failures[0]
    return code


def controls(root: QWidget) -> Iterator[QWidget]:
    """What a person can operate below `root`, without the parts that Qt builds its own controls from."""
    for widget in root.findChildren(QWidget):
        if isinstance(widget, CONTROLS) and not _is_part(widget):
            yield widget


def _is_part(widget: QWidget) -> bool:
    if widget.objectName().startswith("qt_"):
        return True
    kind = widget.metaObject().className()
    if kind in ("QTableCornerButton", "QLineEditIconButton", "QComboBoxListView", "QTabBar", "QHeaderView"):
        return True
    parent: QObject | None = widget.parent()
    return isinstance(parent, QComboBox | QAbstractSpinBox)


def labels(root: QWidget) -> Iterator[QLabel]:
    """Every label below `root`."""
    yield from root.findChildren(QLabel)


def press(root: QWidget, text: str) -> None:
    """Click the visible button with this word."""
    found = [b for b in root.findChildren(QPushButton) if b.text() == text and b.isVisible()]
    assert found, f"no button {text!r}"
    found[0].click()


def cells(table: QAbstractItemView) -> list[list[str]]:
    """What a table shows, row by row."""
    model = table.model()
    return [
        [str(model.index(row, column).data()) for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]
