"""A run while it goes on: progress, counts, and the curve of its throughput."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from llama_runner.core import format
from llama_runner.stress.live import StressSnapshot
from llama_runner.ui.theme import SPACE_M, SPACE_S, SPACE_XS, Theme, tooltip
from llama_runner.ui.widgets.charts import Chart, ChartSpec, Curve
from llama_runner.ui.widgets.figures import metric_hint
from llama_runner.ui.widgets.label import PlainLabel

# Four a second: twenty minutes at full detail; longer runs lose every second point.
MAX_POINTS: Final = 4800
SHORTEST_SPAN_S: Final = 10.0
CHART_HEIGHT: Final = 170
FIGURES_PER_ROW: Final = 4
_STEPS: Final = 1000


class History:
    """Throughput over time, bounded: when it is full, every second point goes."""

    def __init__(self) -> None:
        self._t_s: list[float] = []
        self._tps: list[float] = []

    def clear(self) -> None:
        """A new run begins."""
        self._t_s.clear()
        self._tps.clear()

    def add(self, snapshot: StressSnapshot) -> None:
        """One more point; a gap where nothing is known."""
        if self._t_s and snapshot.elapsed_s <= self._t_s[-1]:
            return
        self._t_s.append(snapshot.elapsed_s)
        self._tps.append(np.nan if snapshot.output_tps is None else snapshot.output_tps)
        if len(self._t_s) > MAX_POINTS:
            del self._t_s[1::2], self._tps[1::2]

    def show_in(self, chart: Chart) -> None:
        """Draw the whole run."""
        t_s = np.asarray(self._t_s)
        span_s = max(SHORTEST_SPAN_S, self._t_s[-1] if self._t_s else 0.0)
        chart.show_series(t_s, [np.asarray(self._tps)], span_s=span_s)


def remaining_s(snapshot: StressSnapshot) -> float | None:
    """How long it will go on at this pace; None before the first request has ended."""
    ended = snapshot.ok + snapshot.failed + snapshot.aborted
    if snapshot.phase != "running" or ended == 0:
        return None
    return snapshot.elapsed_s * (snapshot.total - ended) / ended


class _Figure(QWidget):
    """A number with its name below."""

    def __init__(self, title: str, hint: str, name: str) -> None:
        super().__init__()
        self._value = PlainLabel(format.UNKNOWN, mono=True, bold=True, scale=1.15)
        self._value.setObjectName(name)
        self._value.setAccessibleName(title)
        word = PlainLabel(title, muted=True, scale=0.9)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._value)
        column.addWidget(word)
        self.setToolTip(tooltip(hint))

    def set_value(self, text: str) -> None:
        self._value.setText(text)


class LivePanel(QFrame):
    """Counts, progress and chart of one run."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._history = History()
        self._total = 0
        self._progress = QProgressBar()
        self._progress.setRange(0, _STEPS)
        self._progress.setTextVisible(False)
        self._progress.setAccessibleName(self.tr("Requests done"))
        self._state = PlainLabel(muted=True)
        self._state.setObjectName("stress-state")
        self._state.setAccessibleName(self.tr("State of the run"))
        self._figures = {
            "sent": _Figure(self.tr("Sent"), self.tr("Requests begun so far."), "stress-sent"),
            "ok": _Figure(self.tr("OK"), self.tr("Requests answered completely."), "stress-ok"),
            "failed": _Figure(
                self.tr("Failed"), self.tr("Requests that ended with an error."), "stress-failed"
            ),
            "in_flight": _Figure(self.tr("In flight"), metric_hint("in_flight"), "stress-in-flight"),
            "tokens": _Figure(
                self.tr("Tokens"), self.tr("Output tokens of the requests that ended."), "stress-tokens"
            ),
            "tps": _Figure(
                self.tr("Throughput so far"),
                self.tr("Tokens of the requests that ended, over the time since the start."),
                "stress-tps",
            ),
            "ttft": _Figure(self.tr("First token, median"), metric_hint("ttft_s"), "stress-ttft"),
            "elapsed": _Figure(
                self.tr("Elapsed"), self.tr("Time since the first request."), "stress-elapsed"
            ),
        }
        self._chart = Chart(
            theme,
            ChartSpec(
                title=self.tr("Output throughput since the start"),
                unit="tok/s",
                curves=(Curve("output_tps", "", 0),),
                show=format.rate,
                hint=metric_hint("output_tps"),
            ),
        )
        self._chart.setMinimumHeight(CHART_HEIGHT)
        self._lay_out()

    def _lay_out(self) -> None:
        progress = QHBoxLayout()
        progress.setSpacing(SPACE_S)
        progress.addWidget(self._progress, 1)
        progress.addWidget(self._state)
        figures = QGridLayout()
        figures.setHorizontalSpacing(SPACE_M)
        figures.setVerticalSpacing(SPACE_XS)
        for number, figure in enumerate(self._figures.values()):
            figures.addWidget(figure, number // FIGURES_PER_ROW, number % FIGURES_PER_ROW)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_S)
        column.addLayout(progress)
        column.addLayout(figures)
        column.addWidget(self._chart, 1)

    def begin(self) -> None:
        """A run was asked for; nothing is known of it yet."""
        self._history.clear()
        self._progress.setRange(0, 0)
        self._state.setText(self.tr("Checking the server"))
        for figure in self._figures.values():
            figure.set_value(format.UNKNOWN)
        self._history.show_in(self._chart)

    def show_snapshots(self, snapshots: Iterable[StressSnapshot]) -> None:
        """Draw what came since the last time."""
        last = None
        for last in snapshots:
            self._history.add(last)
        if last is None:
            return
        self._history.show_in(self._chart)
        self._show_counts(last)
        self._show_progress(last)

    def end(self, word: str) -> None:
        """It is over."""
        self._progress.setRange(0, _STEPS)
        self._state.setText(word)

    def _show_counts(self, snapshot: StressSnapshot) -> None:
        texts = {
            "sent": format.count(snapshot.sent),
            "ok": format.count(snapshot.ok),
            "failed": format.count(snapshot.failed),
            "in_flight": format.count(snapshot.in_flight),
            "tokens": format.count(snapshot.output_tokens),
            "tps": format.rate(snapshot.output_tps),
            "ttft": format.seconds(snapshot.ttft_p50_s),
            "elapsed": format.seconds(snapshot.elapsed_s),
        }
        for name, text in texts.items():
            self._figures[name].set_value(text)

    def _show_progress(self, snapshot: StressSnapshot) -> None:
        ended = snapshot.ok + snapshot.failed + snapshot.aborted
        starting = snapshot.phase == "starting"
        self._progress.setRange(0, 0 if starting else _STEPS)
        self._progress.setValue(round(_STEPS * ended / max(snapshot.total, 1)))
        words = {
            "starting": self.tr("Starting load workers"),
            "running": self._pace(snapshot, ended),
            "stopping": self.tr("Stopping"),
            "done": self.tr("Saving"),
        }
        self._state.setText(words.get(snapshot.phase, ""))

    def _pace(self, snapshot: StressSnapshot, ended: int) -> str:
        text = self.tr("{ended} of {total}").format(
            ended=format.count(ended), total=format.count(snapshot.total)
        )
        left_s = remaining_s(snapshot)
        if left_s is None:
            return text
        return text + " · " + self.tr("{time} left").format(time=format.seconds(left_s))
