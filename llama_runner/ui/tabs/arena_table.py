"""The figures of a comparison in one table, the best of each column marked by a star."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QCoreApplication

from llama_runner.arena.manager import EntryView
from llama_runner.backends.live import AnswerState
from llama_runner.core import format
from llama_runner.core.metrics import METRICS
from llama_runner.core.trace import RequestMetrics, TokensSource
from llama_runner.ui.tabs.arena_columns import letter_of
from llama_runner.ui.widgets.figures import metric_hint, tokens_text
from llama_runner.ui.widgets.tables import Column, DataTable

STAR: Final = "★"
# Only these are better or worse: how long an answer is, and so how long it takes in all, is not.
JUDGED: Final = ("ttft_s", "decode_tps")
# Their values depend on how tokens were counted.
COUNTED: Final = ("decode_tps",)


@dataclass(frozen=True, slots=True)
class Row:
    """One entry.

    Attributes:
        best: Names of the metrics in which no other entry is better.
    """

    key: str
    label: str
    metrics: RequestMetrics
    best: frozenset[str]


def _value(metrics: RequestMetrics, name: str) -> float | None:
    value: float | None = getattr(metrics, name)
    return value


def best_of(values: Sequence[float | None], better: str | None) -> frozenset[int]:
    """Places of the best known values; none when fewer than two are known or neither way is better."""
    known = [value for value in values if value is not None]
    if better is None or len(known) < 2:
        return frozenset()
    best = min(known) if better == "lower" else max(known)
    return frozenset(place for place, value in enumerate(values) if value == best)


def mixed_sources(entries: Sequence[EntryView]) -> bool:
    """Whether tokens were counted in different ways: then figures that rest on counts do not compare."""
    sources = {e.metrics.tokens_source for e in _complete(entries)}
    return len(sources - {None}) > 1


def _complete(entries: Sequence[EntryView]) -> tuple[EntryView, ...]:
    return tuple(entry for entry in entries if entry.state is AnswerState.DONE)


def rows_of(entries: Sequence[EntryView]) -> tuple[Row, ...]:
    """The rows of the table. Only complete answers are judged: a broken one is soon over."""
    judged = [name for name in JUDGED if not (name in COUNTED and mixed_sources(entries))]
    best = {name: best_of(_judged_values(entries, name), METRICS[name].better) for name in judged}
    return tuple(
        Row(
            letter_of(entry.index),
            entry.label,
            entry.metrics,
            frozenset(name for name, places in best.items() if place in places),
        )
        for place, entry in enumerate(entries)
    )


def _judged_values(entries: Sequence[EntryView], name: str) -> list[float | None]:
    return [_value(e.metrics, name) if e.state is AnswerState.DONE else None for e in entries]


def _tokens(row: Row) -> str:
    count = format.count(row.metrics.output_tokens)
    chunks = row.metrics.tokens_source is TokensSource.CHUNKS
    return _tr("{count} chunks").format(count=count) if chunks else count


def _tr(text: str) -> str:
    return QCoreApplication.translate("ArenaTable", text)


def _measured(name: str, title: str, text: Callable[[float | None], str]) -> Column[Row]:
    def cell(row: Row) -> str:
        shown = text(_value(row.metrics, name))
        return f"{STAR} {shown}" if name in row.best else shown

    def hint(row: Row) -> str:
        if _value(row.metrics, name) is None:
            return _tr("Unknown. {explanation}").format(explanation=METRICS[name].help)
        return _tr("The best of this comparison.") if name in row.best else cell(row)

    return Column(
        title=title,
        text=cell,
        sort=lambda row: _value(row.metrics, name),
        number=True,
        hint=metric_hint(name),
        cell_hint=hint,
    )


def make_table() -> DataTable[Row]:
    """The table, empty."""
    columns: tuple[Column[Row], ...] = (
        Column(_tr("Entry"), lambda row: row.key),
        Column(_tr("Model"), lambda row: row.label, stretch=True),
        _measured("ttft_s", _tr("First token"), format.seconds),
        _measured("decode_tps", _tr("Decode"), format.rate),
        Column(
            _tr("Tokens"),
            _tokens,
            cell_hint=lambda row: tokens_text(row.metrics),
            sort=lambda row: row.metrics.output_tokens,
            number=True,
            hint=metric_hint("output_tokens") + " " + metric_hint("tokens_source"),
        ),
        _measured("e2e_s", _tr("Total"), format.seconds),
    )
    table = DataTable(columns, lambda row: row.key, name=_tr("Figures of the comparison"))
    table.setObjectName("arena-table")
    return table
