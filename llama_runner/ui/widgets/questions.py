"""Questions and the way out to a browser: message boxes in plain text that never stop the event loop."""

import asyncio
from pathlib import Path

from PySide6.QtCore import QCoreApplication, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QIcon
from PySide6.QtWidgets import QDialogButtonBox, QMessageBox, QWidget

from llama_runner.ui.widgets.links import check_link


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
