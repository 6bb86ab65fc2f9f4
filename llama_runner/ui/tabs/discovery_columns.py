"""The columns of the discovery table: what each shows, sorts by, and says on hover and to screen readers."""

from typing import Final

from PySide6.QtCore import QCoreApplication

from llama_runner.core import format
from llama_runner.core.text import visible_controls
from llama_runner.discovery.registry import ServerStatus
from llama_runner.ui.tabs.discovery_rows import (
    NAME_CHARS,
    STAR,
    ModelRow,
    abilities_of,
    ago,
    certainty_word,
    context_meaning,
    context_text,
    engine_name,
    loaded_word,
    short_address,
    source_word,
    status_kind,
    status_text,
    status_word,
)
from llama_runner.ui.theme import Theme
from llama_runner.ui.widgets.tables import Column

# Best first: what can be used now stands on top when sorted by status.
_RANKS: Final = {
    ServerStatus.ONLINE: 0,
    ServerStatus.NEEDS_KEY: 1,
    ServerStatus.NOT_CHECKED: 2,
    ServerStatus.ERROR: 3,
    ServerStatus.OFFLINE: 4,
}


def _tr(text: str) -> str:
    return QCoreApplication.translate("discovery", text)


def columns(theme: Theme) -> tuple[Column[ModelRow], ...]:
    """Those that are compared first stand left; what is left of the room goes to the models' names."""
    return (*_marks(theme), *_names(), *_abilities(), *_state())


def _marks(theme: Theme) -> tuple[Column[ModelRow], ...]:
    return (
        Column(
            STAR,
            lambda row: STAR if row.record.favourite else "",
            lambda row: not row.record.favourite,
            hint=_tr("Favourite servers; they stand on top and are asked again soon after they were away."),
            cell_hint=lambda row: _tr("Favourite") if row.record.favourite else "",
            cell_name=lambda row: _tr("Favourite") if row.record.favourite else _tr("No favourite"),
            colour=lambda row: theme.colours.warning,
            narrow=True,
        ),
        Column(
            _tr("Status"),
            lambda row: status_text(row.record),
            lambda row: _RANKS[row.record.status],
            cell_hint=lambda row: row.record.changed or row.record.problem or status_word(row.record),
            cell_name=lambda row: status_word(row.record),
            colour=lambda row: str(getattr(theme.colours, status_kind(row.record))),
        ),
    )


def _names() -> tuple[Column[ModelRow], ...]:
    return (
        Column(
            _tr("Model"),
            lambda row: row.model_name,
            lambda row: row.info.id.casefold() if row.info is not None else None,
            cell_hint=_model_hint,
            stretch=True,
        ),
        Column(
            _tr("Server"),
            lambda row: short_address(row.record.address),
            lambda row: row.record.address,
            cell_hint=lambda row: f"{row.record.base_url}\n{row.record.note}".strip(),
            hint=_tr("Host and port: what it is called by itself is not to be trusted."),
        ),
    )


def _abilities() -> tuple[Column[ModelRow], ...]:
    return (
        Column(
            _tr("Context (tokens)"),
            lambda row: context_text(row.info),
            lambda row: row.info.context_length if row.info is not None else None,
            number=True,
            cell_hint=lambda row: context_meaning(row.info),
            hint=_tr(
                "Tokens of prompt and answer together that one conversation may have: per slot, "
                "as the server runs, or as trained."
            ),
        ),
        Column(
            _tr("Engine"),
            lambda row: visible_controls(engine_name(row.record), NAME_CHARS),
            lambda row: engine_name(row.record).casefold(),
            cell_hint=lambda row: f"{engine_name(row.record)}, {certainty_word(row.record.certainty)}",
            hint=_tr("The program that serves, recognised by its answers; not by what it claims."),
        ),
        Column(
            _tr("Can also"),
            lambda row: (abilities_of(row.info) if row.info is not None else "") or format.UNKNOWN,
            hint=_tr("What the model can do beyond writing text, as far as its server says."),
        ),
    )


def _state() -> tuple[Column[ModelRow], ...]:
    return (
        Column(
            _tr("Latency"),
            lambda row: format.seconds(row.record.latency_s),
            lambda row: row.record.latency_s,
            number=True,
            hint=_tr("Time of one small request at the last check."),
        ),
        Column(
            _tr("In memory"),
            lambda row: loaded_word(row.info.loaded if row.info is not None else None),
            hint=_tr("Whether the model is loaded now; one that is not takes a while to answer first."),
        ),
        Column(
            _tr("Version"), lambda row: visible_controls(row.record.version or format.UNKNOWN, NAME_CHARS)
        ),
        Column(_tr("From"), lambda row: source_word(row.record.source)),
        Column(
            _tr("Last seen"),
            lambda row: ago(row.record.last_seen_utc),
            lambda row: row.record.last_seen_utc.timestamp() if row.record.last_seen_utc else None,
            cell_hint=lambda row: format.moment(row.record.last_seen_utc),
            hint=_tr("When it last answered."),
        ),
    )


def _model_hint(row: ModelRow) -> str:
    if row.info is not None:
        return row.info.id
    return row.record.problem or _tr("The server lists no model.")
