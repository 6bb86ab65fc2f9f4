"""The newest requests that other programs sent through the proxy, and where their time went."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QStackedWidget

from llama_runner.control.values import ProxiedRequest
from llama_runner.core import format
from llama_runner.ui.theme import SPACE_M, Theme
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.tables import Column, DataTable

# More is for `llama-runner requests`; a view that is read anew every second stays small.
MOST_SHOWN: Final = 100


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


class RequestsView(QStackedWidget):
    """A table, or a sentence while there is nothing to show."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._nothing = PlainLabel(muted=True, wrap=True)
        self._nothing.setContentsMargins(SPACE_M, SPACE_M, SPACE_M, SPACE_M)
        self._nothing.setText(
            self.tr(
                "No other program has asked for anything yet. Switch on one of the APIs above and give its "
                "address to an editor, a chat window or a script."
            )
        )
        self._table: DataTable[ProxiedRequest] = DataTable(
            columns(theme), lambda one: str(one.number), name=self.tr("Requests of other programs")
        )
        self.addWidget(self._nothing)
        self.addWidget(self._table)

    def show_requests(self, requests: Sequence[ProxiedRequest]) -> None:
        """Show the newest of them, the newest first."""
        self._table.set_rows(tuple(reversed(requests[-MOST_SHOWN:])))
        self.setCurrentWidget(self._table if requests else self._nothing)


def columns(theme: Theme) -> tuple[Column[ProxiedRequest], ...]:
    """The columns of the table."""
    return (
        Column(_tr("Time"), _clock, lambda one: one.number, number=True),
        Column(
            _tr("Outcome"),
            outcome_text,
            cell_hint=lambda one: one.error or outcome_text(one),
            colour=lambda one: _colour(one, theme),
        ),
        Column(_tr("Path"), lambda one: one.path),
        Column(_tr("Model"), lambda one: one.model, stretch=True),
        _time(_tr("Queue"), _tr("Waited for its turn."), lambda one: one.queue_s),
        _time(_tr("Load"), _tr("Waited for the model to be loaded."), lambda one: one.load_s),
        _time(
            _tr("Engine"),
            _tr("From asking the engine to the head of its answer."),
            lambda one: one.upstream_s,
        ),
        _time(
            _tr("First byte"),
            _tr("From the request to the first byte of the answer."),
            lambda one: one.first_byte_s,
        ),
        _time(_tr("Total"), _tr("From the request to the end of the answer."), lambda one: one.total_s),
    )


def _time(title: str, hint: str, value: Callable[[ProxiedRequest], float | None]) -> Column[ProxiedRequest]:
    return Column(title, lambda one: format.seconds(value(one)), value, number=True, hint=hint)


def outcome_text(one: ProxiedRequest) -> str:
    """How it went, as a mark and a word."""
    words = {
        "running": _tr("◌ running"),
        "done": _tr("● done"),
        "failed": _tr("✕ failed"),
        "refused": _tr("✕ refused"),
        "client left": _tr("○ client left"),
    }
    text = words.get(one.outcome, one.outcome)
    return text if one.status is None or one.status < 400 else f"{text} ({one.status})"


def _colour(one: ProxiedRequest, theme: Theme) -> str | None:
    colours = theme.colours
    known = {
        "done": colours.good,
        "failed": colours.bad,
        "refused": colours.bad,
        "client left": colours.muted,
    }
    return known.get(one.outcome)


def _clock(one: ProxiedRequest) -> str:
    """The time of day here."""
    try:
        started = datetime.fromisoformat(one.started_utc)
    except ValueError:
        return format.UNKNOWN
    return f"{started.astimezone():%H:%M:%S}"
