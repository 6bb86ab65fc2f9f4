"""More about a model than its server's list says: asked for once, when the model is looked at."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from llama_runner.core.errors import ServerError
from llama_runner.discovery.registry import ServerStatus
from llama_runner.ui.async_slots import async_slot
from llama_runner.ui.tabs.discovery_rows import ModelRow

if TYPE_CHECKING:
    from llama_runner.backends.models import ModelInfo
    from llama_runner.workspace import Workspace


class MoreAboutModels(QWidget):
    """Never shown itself: its tasks end with the tab. `arrived`: there is more about some model."""

    arrived = Signal()

    def __init__(self, workspace: "Workspace", *, parent: QWidget) -> None:
        super().__init__(parent)
        self.hide()
        self._workspace = workspace
        self._known: dict[str, ModelInfo] = {}

    def forget(self) -> None:
        """The servers were asked again: what was said before may be old."""
        self._known.clear()

    def about(self, row: ModelRow) -> "ModelInfo | None":
        """What is known beyond the list, None for nothing; asks if the server may be asked."""
        if row.key not in self._known and _may_be_asked(row):
            self._ask(row)
        return self._known.get(row.key)

    @async_slot
    async def _ask(self, row: ModelRow) -> None:
        if row.info is None or row.key in self._known:
            return
        # At once, so that moving back and forth asks once; what the list said stands until there is more.
        self._known[row.key] = row.info
        registry = self._workspace.registry
        revision = registry.revision
        try:
            backend = self._workspace.connect(registry.endpoint_of(row.record.id))
            info = await backend.describe(row.info.id)
        except ServerError:
            # The list said something, and the next check tells how the server is.
            return
        if registry.revision == revision:
            self._known[row.key] = info
            self.arrived.emit()


def _may_be_asked(row: ModelRow) -> bool:
    """Only servers that a person trusts are asked for more than the check asks."""
    record = row.record
    online = record.status is ServerStatus.ONLINE
    return row.info is not None and record.trusted and not record.changed and online
