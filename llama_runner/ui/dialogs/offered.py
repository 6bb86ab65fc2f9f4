"""Which known servers' models programs may ask for, as model@server beside those of this machine."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QWidget

from llama_runner.core.text import visible_controls
from llama_runner.discovery.registry import ServerRecord
from llama_runner.ui.dialogs.work import WorkDialog
from llama_runner.ui.theme import ROW_HEIGHT, tooltip
from llama_runner.ui.widgets.label import PlainLabel

Save = Callable[[tuple[str, ...]], Awaitable[None]]
ADDRESS_CHARS: Final = 200


class OfferedServersDialog(WorkDialog):
    """Marks servers in the list of known ones.

    Args:
        known: Servers that are not this program's own.
        chosen: Addresses that are offered now, known or not.
        save: Given the addresses; raises LlamaRunnerError, which is told here.
    """

    def __init__(
        self, parent: QWidget, known: Sequence[ServerRecord], chosen: Collection[str], save: Save
    ) -> None:
        super().__init__(
            parent, title=self.tr("Offered servers"), word=self.tr("Save"), busy=self.tr("Saving…")
        )
        self._save = save
        self._list = QListWidget()
        self._list.setAccessibleName(self.tr("Servers whose models are offered"))
        self._list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        addresses = {record.base_url for record in known}
        for record in known:
            words = self.tr("{address}   {product}, models: {n}").format(
                address=record.address, product=record.product, n=len(record.models)
            )
            self._append(record.base_url, words, record.base_url in chosen)
        for address in chosen:
            if address not in addresses:
                words = self.tr("{address}   not in the list of servers").format(address=address)
                self._append(address, words, True)
        self._list.setCurrentRow(0)
        about = PlainLabel(
            self.tr(
                "Programs may ask for every model of a marked server as model@server. What they ask is sent "
                "there, with the server's own key."
            )
            if self._list.count()
            else self.tr("No servers are known yet. Add one in Discovery, then mark it here."),
            muted=True,
            wrap=True,
        )
        about.setAccessibleName(self.tr("About offered servers"))
        self._do.setEnabled(self._list.count() > 0)
        self._column(about, self._list)
        (self._list if self._list.count() else self._buttons).setFocus()

    def _append(self, address: str, words: str, marked: bool) -> None:
        item = QListWidgetItem(visible_controls(words, ADDRESS_CHARS), self._list)
        item.setData(Qt.ItemDataRole.UserRole, address)
        item.setToolTip(tooltip(visible_controls(address, ADDRESS_CHARS)))
        item.setSizeHint(QSize(0, ROW_HEIGHT))
        item.setCheckState(Qt.CheckState.Checked if marked else Qt.CheckState.Unchecked)

    async def _work(self) -> str | None:
        items = [self._list.item(row) for row in range(self._list.count())]
        marked = (item for item in items if item.checkState() is Qt.CheckState.Checked)
        chosen = tuple(str(item.data(Qt.ItemDataRole.UserRole)) for item in marked)
        await self._save(chosen)
        return str(len(chosen))
