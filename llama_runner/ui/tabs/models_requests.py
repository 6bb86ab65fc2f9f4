"""The newest requests that other programs sent through the proxy, and where the time of each went."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QSplitter, QStackedWidget, QWidget

from llama_runner.control.values import ProxiedRequest
from llama_runner.core import format
from llama_runner.core.text import visible_controls
from llama_runner.ui.tabs.models_waterfall import (
    WaterfallCell,
    answer_s,
    first_token_s,
    stage_words,
    stages,
    whole_s,
)
from llama_runner.ui.theme import SPACE_M, Theme
from llama_runner.ui.widgets.facts import Fact, FactList, details_area
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.stacked_bar import StackedBar
from llama_runner.ui.widgets.tables import Column, DataTable

# More is for `llama-runner requests`; a view that is read anew every second stays small.
MOST_SHOWN: Final = 100
ERROR_CHARS: Final = 2000
WATERFALL_PX: Final = 180


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


class RequestsView(QStackedWidget):
    """A table and the details of the chosen one, or a sentence while there is nothing to show."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._nothing = PlainLabel(muted=True, wrap=True)
        self._nothing.setContentsMargins(SPACE_M, SPACE_M, SPACE_M, SPACE_M)
        self._nothing.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._nothing.setText(
            self.tr(
                "No other program has asked for anything yet. Switch on one of the APIs beside this and give "
                "its address to an editor, a chat window or a script."
            )
        )
        shown = columns(theme)
        self._table: DataTable[ProxiedRequest] = DataTable(
            shown, lambda one: str(one.number), name=self.tr("Requests of other programs")
        )
        place = next(n for n, column in enumerate(shown) if column.width_px is not None)
        cell = WaterfallCell(theme, self._table.rows_model, self._table)
        self._table.setItemDelegateForColumn(place, cell)
        self._table.chosen.connect(self._show_chosen)
        halves = QSplitter(Qt.Orientation.Vertical)
        halves.setObjectName("models-requests")
        halves.setChildrenCollapsible(False)
        halves.addWidget(self._table)
        halves.addWidget(self._details())
        halves.setStretchFactor(0, 3)
        halves.setStretchFactor(1, 1)
        self._halves = halves
        self.addWidget(self._nothing)
        self.addWidget(halves)

    def _details(self) -> QWidget:
        self._title = NameLabel()
        self._title.setAccessibleName(self.tr("Chosen request"))
        self._error = PlainLabel(wrap=True, selectable=True)
        self._error.setObjectName("errorText")
        self._error.setAccessibleName(self.tr("What went wrong with the chosen request"))
        self._bar = StackedBar(self._theme, name=self.tr("Where the time went"))
        self._facts = FactList(name=self.tr("About the request"))
        name = self.tr("Details of the chosen request")
        area = details_area(name, self._title, self._bar, self._error, self._facts)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        return area

    def show_requests(self, requests: Sequence[ProxiedRequest]) -> None:
        """Show the newest of them, the newest first."""
        self._table.set_rows(tuple(reversed(requests[-MOST_SHOWN:])))
        self.setCurrentWidget(self._halves if requests else self._nothing)
        if requests and not self._table.selected:
            self._table.select_keys({str(requests[-1].number)})
        self._show_chosen()

    def _show_chosen(self) -> None:
        one = self._table.current
        for widget in (self._bar, self._facts):
            widget.setVisible(one is not None)
        problem = "" if one is None else one.error or one.warning or ""
        self._error.setText(visible_controls(problem, ERROR_CHARS))
        self._error.setVisible(bool(problem))
        if one is None:
            self._title.set_name(self.tr("Choose a request to see where its time went"))
            return
        self._title.set_name(f"{outcome_text(one)} · {one.path} · {one.model}")
        total = self.tr("{time} in all").format(time=format.seconds(one.total_s))
        self._bar.show_parts(total, stages(one), whole=whole_s(one))
        self._facts.show_facts(request_facts(one))


def request_facts(one: ProxiedRequest) -> tuple[Fact, ...]:
    """What the bar does not say."""
    facts = [
        Fact(_tr("Asked at"), clock_text(one)),
        Fact(
            _tr("First byte after"),
            format.seconds(one.first_byte_s),
            _tr("From the request to the first byte of the answer."),
        ),
        Fact(_tr("Answer"), _tr("as a stream") if one.streamed else _tr("in one piece")),
        Fact(_tr("Prompt"), _tokens(one.prompt_tokens, one.prefill_s), _tr("As the engine counted.")),
        Fact(_tr("Output"), _tokens(one.output_tokens, one.decode_s), _tr("As the engine counted.")),
        Fact(_tr("Sent"), format.size(one.bytes_sent)),
        Fact(_tr("Status"), format.UNKNOWN if one.status is None else str(one.status)),
    ]
    if one.step is not None:
        facts.append(Fact(_tr("Answered by"), visible_controls(one.step, ERROR_CHARS)))
    tried = (f"{step.where}: {step.why}" for step in one.tried)
    facts += [Fact(_tr("Tried before"), visible_controls(text, ERROR_CHARS)) for text in tried]
    return tuple(facts)


def _tokens(count: int | None, spent_s: float | None) -> str:
    """ "128 tokens at 48.3 tok/s"."""
    if count is None:
        return format.UNKNOWN
    words = _tr("{n} tokens").format(n=format.count(count))
    if not spent_s:
        return words
    return _tr("{words} at {rate}").format(words=words, rate=format.rate(count / spent_s))


def columns(theme: Theme) -> tuple[Column[ProxiedRequest], ...]:
    """The columns of the table."""
    return (
        Column(_tr("Time"), clock_text, lambda one: one.number, number=True),
        Column(
            _tr("Outcome"),
            outcome_text,
            cell_hint=lambda one: one.error or outcome_text(one),
            colour=lambda one: _colour(one, theme),
        ),
        Column(_tr("Path"), lambda one: one.path),
        Column(_tr("Model"), lambda one: one.model, stretch=True),
        Column(
            _tr("Where the time went"),
            stage_words,
            lambda one: one.total_s,
            hint=_tr(
                "Queue, load, prefill, first token, our overhead, decode: each as its share of the whole."
            ),
            width_px=WATERFALL_PX,
        ),
        _time(_tr("First byte"), _tr("From the request to the first byte."), lambda one: one.first_byte_s),
        _time(_tr("Total"), _tr("From the request to the end of the answer."), lambda one: one.total_s),
        _time(_tr("Queue"), _tr("Waited for its turn."), lambda one: one.queue_s),
        _time(_tr("Load"), _tr("Waited for the model to be loaded."), lambda one: one.load_s),
        _time(_tr("Prefill"), _tr("The engine's own time for the prompt."), lambda one: one.prefill_s),
        _time(
            _tr("First token"),
            _tr("The engine's time before its answer begins, without the prompt."),
            first_token_s,
        ),
        _time(_tr("Decode"), _tr("While the answer was written."), answer_s),
        _time(
            _tr("Our overhead"),
            _tr("Of the time to the first byte, what neither queue, load nor engine took."),
            lambda one: one.own_s,
        ),
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


def clock_text(one: ProxiedRequest) -> str:
    """The time of day here."""
    try:
        started = datetime.fromisoformat(one.started_utc)
    except ValueError:
        return format.UNKNOWN
    return f"{started.astimezone():%H:%M:%S}"
