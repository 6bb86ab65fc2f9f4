"""Questions and the way out to a browser: message boxes in plain text that never stop the event loop."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from PySide6.QtCore import QCoreApplication, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QIcon
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLineEdit, QMessageBox, QVBoxLayout, QWidget

from llama_runner.core.errors import UsageError
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.links import check_link

# No single line that is asked for is longer.
MAX_LINE_CHARS: Final = 256
MIN_LINE_WIDTH: Final = 360


def _message_box(parent: QWidget, title: str, text: str, details: str) -> QMessageBox:
    box = QMessageBox(parent)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setWindowTitle(title)
    # Not setInformativeText: that second text guesses its format whatever the first one was told.
    box.setText(f"{text}\n\n{details}" if details else text)
    return box


def without_icons(box: QDialogButtonBox | QMessageBox) -> None:
    """Words only: the style's own bitmaps fit neither theme."""
    for button in box.buttons():
        button.setIcon(QIcon())


async def confirm(
    parent: QWidget, *, title: str, text: str, action: str, details: str = "", dangerous: bool = True
) -> bool:
    """Ask before something that cannot be undone.

    Args:
        text: Names the thing that is affected.
        action: The word on the button that does it.
        dangerous: Whether pressing Enter means no.
    """
    box = _message_box(parent, title, text, details)
    yes = box.addButton(action, QMessageBox.ButtonRole.AcceptRole)
    no = box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(no if dangerous else yes)
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def finished(_: int) -> None:
        if not answer.done():
            answer.set_result(box.clickedButton() is yes)

    box.finished.connect(finished)
    without_icons(box)
    box.open()
    try:
        return await answer
    finally:
        if not answer.done() or answer.cancelled():
            box.close()


async def ask_line(
    parent: QWidget,
    *,
    title: str,
    text: str,
    action: str,
    check: Callable[[str], str],
    placeholder: str = "",
) -> str | None:
    """Ask for one line.

    Args:
        check: Gives the value that was meant; raises UsageError, which is told while typing.

    Returns:
        What `check` made of it; None when the person went back.
    """
    dialog = _LineDialog(parent, title, text, action, check, placeholder)
    answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def finished(result: int) -> None:
        if not answer.done():
            answer.set_result(dialog.value if result == QDialog.DialogCode.Accepted else None)

    dialog.finished.connect(finished)
    dialog.open()
    try:
        return await answer
    finally:
        if not answer.done() or answer.cancelled():
            dialog.close()


class _LineDialog(QDialog):
    """One line to type, and beside it what is wrong with it."""

    def __init__(
        self,
        parent: QWidget,
        title: str,
        text: str,
        action: str,
        check: Callable[[str], str],
        placeholder: str,
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self.value: str | None = None
        self._check = check
        self._line = QLineEdit()
        self._line.setAccessibleName(text)
        self._line.setPlaceholderText(placeholder)
        self._line.setMaxLength(MAX_LINE_CHARS)
        self._line.textChanged.connect(self._changed)
        label = PlainLabel(text, wrap=True)
        label.setBuddy(self._line)
        self._problem = PlainLabel(wrap=True)
        self._problem.setObjectName("errorText")
        self._problem.setAccessibleName(title)
        self._problem.setMinimumWidth(MIN_LINE_WIDTH)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self._do = buttons.addButton(action, QDialogButtonBox.ButtonRole.AcceptRole)
        self._do.setDefault(True)
        self._do.setEnabled(False)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        without_icons(buttons)
        column = QVBoxLayout(self)
        for widget in (label, self._line, self._problem, buttons):
            column.addWidget(widget)

    def _changed(self, typed: str) -> None:
        self.value, problem = None, ""
        try:
            self.value = self._check(typed)
        except UsageError as error:
            problem = f"{error.message} {error.hint}".strip()
        self._problem.setText(problem if typed else "")
        self._do.setEnabled(self.value is not None)


def open_external(parent: QWidget, url: str) -> QMessageBox | None:
    """Ask, then open a web page or mail address outside. The one place that leaves the program (I19).

    Returns:
        The question, which shows the address as it really is; None when the link is refused.
    """
    link = check_link(url)
    target = QUrl(link.url, QUrl.ParsingMode.StrictMode) if link is not None else QUrl()
    if link is None or not target.isValid():
        return None
    box = _message_box(
        parent,
        QCoreApplication.translate("links", "Open this link?"),
        QCoreApplication.translate("links", "This opens {host} in your browser:").format(host=link.host),
        link.url,
    )
    open_button = box.addButton(
        QCoreApplication.translate("links", "Open"), QMessageBox.ButtonRole.AcceptRole
    )
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    without_icons(box)
    box.finished.connect(
        lambda _: QDesktopServices.openUrl(target) if box.clickedButton() is open_button else None
    )
    box.open()
    return box


def open_folder(folder: Path) -> bool:
    """Show a folder of ours in the desktop's file manager. False when the desktop has none."""
    return QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
