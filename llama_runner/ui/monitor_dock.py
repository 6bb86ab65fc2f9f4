"""The monitor beside every tab: small curves with the present value; folded, one line of figures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from llama_runner.core import format
from llama_runner.ui.theme import SPACE_L, SPACE_M, SPACE_S, SPACE_XS, Theme, tooltip
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.polling import Poller

if TYPE_CHECKING:
    from llama_runner.telemetry.collector import TelemetryCollector
    from llama_runner.telemetry.sample import Sample
    from llama_runner.ui.widgets.charts import Sparkline

SPAN_S: Final = 60.0
# The curve of a rate ends no lower than this: a few bytes are not worth a peak.
LEAST_RATE_BPS: Final = 1024.0**2
# Samples come once a second; four looks a second show each one soon.
LOOK_MS: Final = 250
FOLDED_HEIGHT: Final = 34
OPEN_HEIGHT: Final = 84
MAX_HEIGHT: Final = 220


@dataclass(frozen=True, slots=True)
class Gauge:
    """One small curve.

    Attributes:
        value: The present value in words, with its unit.
        top: Upper end of the curve's axis, None to follow the data down to `least_top`.
    """

    title: str
    hint: str
    series: str
    value: Callable[["Sample"], str]
    colour: int
    top: float | None = None
    least_top: float = 1.0


def _words(text: str) -> str:
    return str(QT_TRANSLATE_NOOP("MonitorDock", text))


def _gpu(sample: "Sample", name: str) -> float | None:
    return getattr(sample.gpus[0], name) if sample.gpus else None


GAUGES: Final = (
    Gauge(
        _words("CPU"), _words("Load of all processor cores together."), "cpu_pct",
        lambda s: format.percent(s.cpu_pct), 0, 100.0,
    ),
    Gauge(
        _words("RAM"), _words("Memory in use that programs cannot give back at once."), "ram_used_bytes",
        lambda s: format.size(s.ram_used_bytes), 1,
    ),
    Gauge(
        _words("GPU"), _words("Share of time in which the first graphics card was computing."),
        "gpu_0_util_pct", lambda s: format.percent(_gpu(s, "util_pct")), 2, 100.0,
    ),
    Gauge(
        _words("VRAM"), _words("Memory in use on the first graphics card."), "gpu_0_vram_used_bytes",
        lambda s: format.size(_gpu(s, "vram_used_bytes")), 3,
    ),
    Gauge(
        _words("Disk read"), _words("Bytes read per second from all disks: a loading model shows here."),
        "disk_read_bps", lambda s: format.size_rate(s.disk_read_bps), 5, least_top=LEAST_RATE_BPS,
    ),
    Gauge(
        _words("Network in"), _words("Bytes received per second, this machine's own traffic left out."),
        "net_recv_bps", lambda s: format.size_rate(s.net_recv_bps), 6, least_top=LEAST_RATE_BPS,
    ),
)  # fmt: skip


class _Card(QWidget):
    """Title and present value over the curve."""

    def __init__(self, theme: Theme, gauge: Gauge) -> None:
        super().__init__()
        self._gauge, self._theme = gauge, theme
        self._spark: Sparkline | None = None
        title = QCoreApplication.translate("MonitorDock", gauge.title)
        self.setToolTip(tooltip(QCoreApplication.translate("MonitorDock", gauge.hint)))
        self._title = PlainLabel(title, muted=True, scale=0.9)
        self._value = PlainLabel(format.UNKNOWN, mono=True, bold=True, scale=1.1)
        self._value.setAccessibleName(title)
        words = QHBoxLayout()
        words.setSpacing(SPACE_S)
        words.addWidget(self._title)
        words.addWidget(self._value)
        words.addStretch(1)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(SPACE_XS)
        self._column.addLayout(words)
        self._column.addStretch(0)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    def show_value(self, sample: "Sample", unknown: str) -> str:
        """Put the present value on; returns it with its title for the folded line."""
        value = self._gauge.value(sample)
        shown = unknown if value == format.UNKNOWN else value
        self._value.setText(shown)
        return f"{self._title.text()} {shown}"

    def show_curve(self, telemetry: "TelemetryCollector") -> None:
        """Draw the curve from the telemetry's array."""
        if self._spark is None:
            from llama_runner.ui.widgets.charts import Sparkline

            self._spark = Sparkline(
                self._theme,
                name=self._title.text(),
                colour=self._gauge.colour,
                top=self._gauge.top,
                least_top=self._gauge.least_top,
            )
            self._column.addWidget(self._spark, 1)
        series = telemetry.series(self._gauge.series)
        self._spark.show_series(series.t_s, series.values, span_s=SPAN_S)


class MonitorDock(QFrame):
    """The strip under the tabs."""

    fold_changed = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("dock")
        self._theme = theme
        self._telemetry: TelemetryCollector | None = None
        self._seen_revision = -1
        self.folded = False
        self._fold = QToolButton()
        self._fold.setProperty("flat", True)
        self._fold.clicked.connect(lambda: self.set_folded(not self.folded))
        self._line = PlainLabel(mono=True, scale=0.9)
        self._line.setAccessibleName(self.tr("This machine now"))
        self._cards = [_Card(theme, gauge) for gauge in GAUGES]
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE_S, SPACE_S, SPACE_M, SPACE_XS)
        row.setSpacing(SPACE_L)
        row.addWidget(self._fold, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._line, 1)
        for card in self._cards:
            row.addWidget(card, 1)
        self._poller = Poller(self, self._read, interval_ms=LOOK_MS)
        self.set_folded(False)

    def attach(self, telemetry: "TelemetryCollector | None") -> None:
        """Show this collector's figures; None when the workspace is gone."""
        self._telemetry = telemetry
        self._seen_revision = -1

    def set_folded(self, folded: bool) -> None:
        """One line of figures, or curves."""
        self.folded = folded
        name = self.tr("Unfold the monitor (Ctrl+M)") if folded else self.tr("Fold the monitor (Ctrl+M)")
        self._fold.setAccessibleName(name)
        self._fold.setToolTip(tooltip(name))
        self._theme.give_icon(self._fold, "mdi6.chevron-up" if folded else "mdi6.chevron-down")
        self._line.setVisible(folded)
        for card in self._cards:
            card.setVisible(not folded)
        self.setMinimumHeight(FOLDED_HEIGHT if folded else OPEN_HEIGHT)
        self.setMaximumHeight(FOLDED_HEIGHT if folded else MAX_HEIGHT)
        self._seen_revision = -1
        self.fold_changed.emit()

    def set_resting(self, resting: bool) -> None:
        """Stop reading while the window is minimised."""
        self._poller.pause(resting)

    def _read(self) -> None:
        telemetry = self._telemetry
        if telemetry is None or telemetry.revision == self._seen_revision or telemetry.latest is None:
            return
        self._seen_revision = telemetry.revision
        texts = [card.show_value(telemetry.latest, self.tr("n/a")) for card in self._cards]
        if self.folded:
            self._line.setText("   ".join(texts))
            return
        for card in self._cards:
            card.show_curve(telemetry)
