"""Which rows are chosen, and what follows from that: why something can or cannot be done with them now."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from PySide6.QtCore import QCoreApplication

from llama_runner.backends.models import COMPLETION, EMBEDDING
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.discovery.registry import ServerRecord, ServerRegistry, ServerSource, ServerStatus
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.discovery_rows import ModelRow
from llama_runner.ui.widgets.commands import AVAILABLE, NOT_OFFERED, Availability

# An unchecked server is worth a try: it was there when the program ran last.
USABLE: Final = (ServerStatus.ONLINE, ServerStatus.NOT_CHECKED)


def _tr(text: str) -> str:
    return QCoreApplication.translate("discovery", text)


class Choice:
    """Asks for the marked rows at every use.

    Args:
        chosen: Gives them.
        registry: Knows their servers as they are now; a table is a moment behind.
    """

    def __init__(self, chosen: Callable[[], Sequence[ModelRow]], registry: ServerRegistry) -> None:
        self._chosen = chosen
        self._registry = registry

    @property
    def rows(self) -> Sequence[ModelRow]:
        """All of them."""
        return self._chosen()

    @property
    def row(self) -> ModelRow | None:
        """The one, when it is exactly one."""
        rows = self._chosen()
        return rows[0] if len(rows) == 1 else None

    @property
    def records(self) -> tuple[ServerRecord, ...]:
        """Their servers, each once."""
        shown = {row.record.id: row.record for row in self._chosen()}
        return tuple(self._registry.get(server_id) or record for server_id, record in shown.items())

    @property
    def record(self) -> ServerRecord | None:
        """The one server of all of them, None when there are several."""
        records = self.records
        return records[0] if len(records) == 1 else None

    # --- what can be done with them ------------------------------------------------------------------------

    def one_model(self) -> Availability:
        """For what takes one model that can be talked to."""
        return _choose_one() if self.row is None else usable(self.row)

    def some_models(self) -> Availability:
        """For what takes several: one that can be talked to is enough."""
        reasons = [usable(row) for row in self.rows]
        if not reasons:
            return Availability(why_not=_tr("Choose a row first."))
        return AVAILABLE if AVAILABLE in reasons else reasons[0]

    def some(self) -> Availability:
        """For what takes any rows."""
        return AVAILABLE if self.rows else Availability(why_not=_tr("Choose a row first."))

    def one_server(self) -> Availability:
        """For what takes one server, whichever."""
        return AVAILABLE if self.record is not None else _choose_one()

    def one_other_server(self) -> Availability:
        """For what takes one server that is not a model of ours."""
        if self.record is None:
            return _choose_one()
        return NOT_OFFERED if self.record.source is ServerSource.SERVICE else AVAILABLE

    def removable(self) -> Availability:
        """For taking a server off the list."""
        if self.record is not None and self.record.source is ServerSource.SERVICE:
            return Availability(why_not=_tr("It is a model loaded here: unload it in Models."))
        return self.one_server()


async def tried(shell: Shell, work: Awaitable[object], doing: str) -> bool:
    """Whether it worked; what went wrong is told."""
    try:
        await work
    except LlamaRunnerError as error:
        shell.report(error, doing=doing)
        return False
    return True


def _choose_one() -> Availability:
    return Availability(why_not=_tr("Choose one row first."))


def usable(row: ModelRow) -> Availability:
    """Whether a model can be talked to."""
    info = row.info
    if info is not None and EMBEDDING in info.capabilities and COMPLETION not in info.capabilities:
        return Availability(why_not=_tr("It makes embeddings: it writes no text."))
    return reachable(row)


def reachable(row: ModelRow) -> Availability:
    """Whether its server can be asked about a model."""
    record = row.record
    if row.info is None:
        return Availability(why_not=record.problem or _tr("The server lists no model."))
    if record.changed:
        return Availability(why_not=_tr("It may be another server than before: trust it first."))
    if record.status not in USABLE:
        return Availability(why_not=record.problem or _tr("The server is not online."))
    return AVAILABLE
