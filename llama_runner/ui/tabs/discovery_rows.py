"""What the discovery table shows: one row for each model of each server, and one for a server without any."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from PySide6.QtCore import QCoreApplication

from llama_runner.backends.models import COMPLETION, ContextSource, ModelInfo
from llama_runner.core import format
from llama_runner.core.text import ELLIPSIS, visible_controls
from llama_runner.discovery.registry import Certainty, ServerRecord, ServerSource, ServerStatus

# A self-given name gets no wider than this in the table; the details show all of it.
NAME_CHARS: Final = 24
# As wide as an IPv4 address with its port and the scheme's usual names.
ADDRESS_CHARS: Final = 27
STAR: Final = "★"

_MARKS: Final = {
    ServerStatus.ONLINE: "●",
    ServerStatus.OFFLINE: "○",
    ServerStatus.NEEDS_KEY: "◐",
    ServerStatus.ERROR: "◑",
    ServerStatus.NOT_CHECKED: "◌",
}


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model of one server.

    Attributes:
        info: None when the server lists no model.
        number: Tells models apart that a server lists under one name.
    """

    record: ServerRecord
    info: ModelInfo | None = None
    number: int = 0

    @property
    def key(self) -> str:
        """The same for as long as the server lists it. A server's id holds no line feed."""
        return "\n".join((self.record.id, str(self.number), self.info.id if self.info is not None else ""))

    @property
    def model_name(self) -> str:
        """The model's name as it can be shown."""
        if self.info is None:
            return format.UNKNOWN
        shown = visible_controls(self.info.id)
        # A name of nothing but spaces is a name all the same (U15).
        return shown if shown.strip() else shown.replace(" ", "␠") or "␠"

    @property
    def name(self) -> str:
        """The model and its server in a sentence; the server alone when it lists none."""
        if self.info is None:
            return self.record.address
        return f"{visible_controls(self.info.id, 80)} · {self.record.address}"


def rows_of(records: Sequence[ServerRecord]) -> tuple[ModelRow, ...]:
    """A row for each model, favourite servers first, else in the registry's order."""
    ordered = sorted(records, key=lambda record: not record.favourite)
    return tuple(row for record in ordered for row in _rows_of_server(record))


def _rows_of_server(record: ServerRecord) -> list[ModelRow]:
    if not record.models:
        return [ModelRow(record)]
    seen: Counter[str] = Counter()
    rows: list[ModelRow] = []
    for info in record.models:
        rows.append(ModelRow(record, info, seen[info.id]))
        seen[info.id] += 1
    return rows


def search_text(row: ModelRow) -> str:
    """What the filter looks through."""
    record, info = row.record, row.info
    words = [record.address, engine_name(record), record.version or "", record.note, status_word(record)]
    if info is not None:
        words += [info.id, info.family or "", info.quantization or "", abilities_of(info)]
    return "\n".join(words)


# --- words -------------------------------------------------------------------------------------------------


def _tr(text: str) -> str:
    return QCoreApplication.translate("discovery", text)


def engine_name(record: ServerRecord) -> str:
    """What is known of the program that serves."""
    return record.product or record.engine.value


def short_address(address: str) -> str:
    """Host and port, a long one cut in its middle: the port tells servers on one host apart."""
    if len(address) <= ADDRESS_CHARS:
        return address
    half = (ADDRESS_CHARS - 1) // 2
    return f"{address[:half]}{ELLIPSIS}{address[-half:]}"


def status_word(record: ServerRecord) -> str:
    """How a server is."""
    if record.changed:
        return _tr("changed")
    return {
        ServerStatus.ONLINE: _tr("online"),
        ServerStatus.OFFLINE: _tr("offline"),
        ServerStatus.NEEDS_KEY: _tr("needs a key"),
        ServerStatus.ERROR: _tr("error"),
        ServerStatus.NOT_CHECKED: _tr("not checked"),
    }[record.status]


def status_text(record: ServerRecord) -> str:
    """The same with its mark: never colour alone."""
    return f"{'⚠' if record.changed else _MARKS[record.status]} {status_word(record)}"


def status_kind(record: ServerRecord) -> str:
    """Good, warning, bad or muted: the name of a colour of the theme."""
    if record.changed:
        return "warning"
    return {
        ServerStatus.ONLINE: "good",
        ServerStatus.OFFLINE: "bad",
        ServerStatus.NEEDS_KEY: "warning",
        ServerStatus.ERROR: "bad",
        ServerStatus.NOT_CHECKED: "muted",
    }[record.status]


def certainty_word(certainty: Certainty) -> str:
    """How sure the engine's name is."""
    return {
        Certainty.CERTAIN: _tr("certain"),
        Certainty.LIKELY: _tr("likely"),
        Certainty.GUESS: _tr("a guess"),
    }[certainty]


def source_word(source: ServerSource) -> str:
    """How a server came into the list."""
    return {
        ServerSource.FOUND: _tr("scan"),
        ServerSource.MANUAL: _tr("added"),
        ServerSource.SERVICE: _tr("loaded here"),
    }[source]


def abilities_of(info: ModelInfo) -> str:
    """What a model can do beyond writing, in words; empty when nothing is known."""
    return ", ".join(visible_controls(word, NAME_CHARS) for word in info.capabilities if word != COMPLETION)


def context_source_word(source: ContextSource | None) -> str:
    """Which context length it is, short."""
    if source is None:
        return ""
    return {
        ContextSource.SLOT: _tr("slot"),
        ContextSource.RUNNING: _tr("running"),
        ContextSource.TRAINED: _tr("trained"),
    }[source]


def context_text(info: ModelInfo | None) -> str:
    """Context length and where it comes from."""
    if info is None or info.context_length is None:
        return format.UNKNOWN
    return f"{format.count(info.context_length)} {context_source_word(info.context_source)}".strip()


def context_meaning(info: ModelInfo | None) -> str:
    """What the context length means, one sentence."""
    if info is None or info.context_length is None:
        return _tr("The server does not say how many tokens a conversation may have.")
    if info.context_source is None:
        return _tr("The server does not say whether this is what runs or what the model was trained for.")
    return {
        ContextSource.SLOT: _tr("What one conversation really gets: the running context, divided by slots."),
        ContextSource.RUNNING: _tr("What the server was started with."),
        ContextSource.TRAINED: _tr("What the model was trained for; the server may be running with less."),
    }[info.context_source]


def loaded_word(loaded: bool | None) -> str:
    """Whether a model is in memory."""
    return {True: _tr("yes"), False: _tr("no"), None: format.UNKNOWN}[loaded]


def ago(moment: datetime | None, *, now: datetime | None = None) -> str:
    """How long ago, roughly: "just now", "5 min ago", "3 h ago", "12 days ago"."""
    if moment is None:
        return format.UNKNOWN
    elapsed_s = ((now or datetime.now(UTC)) - moment).total_seconds()
    if elapsed_s < 90:
        return _tr("just now")
    if elapsed_s < 5400:
        return _tr("{n} min ago").format(n=round(elapsed_s / 60))
    if elapsed_s < 36 * 3600:
        return _tr("{n} h ago").format(n=round(elapsed_s / 3600))
    return _tr("{n} days ago").format(n=round(elapsed_s / 86400))
