"""Monitor: this machine over time, one chart per quantity, read from the telemetry's arrays while visible."""

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from llama_runner.core import format
from llama_runner.core.text import visible_controls
from llama_runner.ui.tabs import Shell
from llama_runner.ui.theme import SPACE_L, SPACE_M, SPACE_S, tooltip
from llama_runner.ui.widgets.charts import Chart, ChartSpec, Curve
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.polling import Poller
from llama_runner.ui.widgets.states import StateStack

if TYPE_CHECKING:
    from llama_runner.telemetry.sample import Sample
    from llama_runner.workspace import Workspace

GIB: Final = 1024.0**3
MIB: Final = 1024.0**2
MINUTE_S: Final = 60.0
LOOK_MS: Final = 250
COLUMNS: Final = 2
CHART_HEIGHT: Final = 190


class MonitorTab(QWidget):
    """See the module."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._telemetry, self._shell = workspace.telemetry, shell
        self._history_s = workspace.settings.monitor.history_s
        self._span_s = min(2 * MINUTE_S, self._history_s)
        self._seen_revision = -1
        self._charts: list[Chart] = []
        self._waiting: list[Chart] = []
        self._turn = QTimer(self)
        self._turn.setInterval(0)
        self._turn.timeout.connect(self._draw_next)
        self._grid = QGridLayout()
        self._grid.setSpacing(SPACE_M)
        self._pause = QPushButton(self.tr("Pause"))
        self._pause.setCheckable(True)
        self._pause.setToolTip(tooltip(self.tr("Holds the charts still; sampling goes on.")))
        self._pause.toggled.connect(self._pause_toggled)
        self._note = PlainLabel(muted=True)
        self._note.setAccessibleName(self.tr("About the readings"))
        inner = QWidget()
        inner.setLayout(self._grid)
        self._grid.setContentsMargins(0, 0, SPACE_S, 0)
        area = QScrollArea()
        area.setWidget(inner)
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setAccessibleName(self.tr("Charts"))
        self._states = StateStack(shell.theme, area, icon="mdi6.chart-line")
        self._states.show_loading(self.tr("Waiting for the first sample"))
        self._lay_out()
        self._poller = Poller(self, self._read, interval_ms=LOOK_MS)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(SPACE_S)
        row.addWidget(PlainLabel(self.tr("Last"), muted=True))
        self._ranges = QButtonGroup(self)
        for span_s in self._spans():
            button = QPushButton(format.seconds(span_s).replace(" 00 s", ""))
            button.setAccessibleName(self.tr("Show the last {time}").format(time=button.text()))
            button.setCheckable(True)
            button.setChecked(span_s == self._span_s)
            button.clicked.connect(lambda _=False, span_s=span_s: self._set_span(span_s))
            self._ranges.addButton(button)
            row.addWidget(button)
        row.addSpacing(SPACE_M)
        row.addWidget(self._pause)
        row.addStretch(1)
        row.addWidget(self._note)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_L, SPACE_M, SPACE_L, SPACE_M)
        column.setSpacing(SPACE_M)
        column.addLayout(row)
        column.addWidget(self._states, 1)

    def _spans(self) -> list[float]:
        """Range buttons that the history can fill; the whole history last."""
        usual = [span for span in (MINUTE_S, 2 * MINUTE_S, 5 * MINUTE_S) if span < self._history_s]
        return [*usual, self._history_s]

    def _set_span(self, span_s: float) -> None:
        self._span_s = span_s
        self._draw()

    def _pause_toggled(self, paused: bool) -> None:
        self._pause.setText(self.tr("Go on") if paused else self.tr("Pause"))
        self._seen_revision = -1

    def _read(self) -> None:
        telemetry = self._telemetry
        if self._pause.isChecked() or telemetry.latest is None or telemetry.revision == self._seen_revision:
            return
        self._seen_revision = telemetry.revision
        if not self._charts:
            self._build_charts(telemetry.latest)
        self._show_note()
        self._draw()

    def _draw(self) -> None:
        self._waiting = list(self._charts)
        self._turn.start()

    def _draw_next(self) -> None:
        """One chart per turn of the event loop: all at once would hold it for 20 ms."""
        if not self._waiting:
            self._turn.stop()
            return
        chart = self._waiting.pop(0)
        if chart.spec.curves:
            columns = [self._telemetry.series(curve.series) for curve in chart.spec.curves]
            # A sample may arrive between two readings.
            n = min(column.t_s.size for column in columns)
            chart.show_series(
                columns[0].t_s[:n], [column.values[:n] for column in columns], span_s=self._span_s
            )

    def _show_note(self) -> None:
        note = self._telemetry.gpu_note
        self._note.setText(self.tr("No graphics readings: {why}").format(why=note) if note else "")

    def _build_charts(self, sample: "Sample") -> None:
        specs = [*self._host_charts(sample), *self._gpu_charts(sample)]
        for number, spec in enumerate(specs):
            chart = Chart(self._shell.theme, spec)
            chart.setMinimumHeight(CHART_HEIGHT)
            self._grid.addWidget(chart, number // COLUMNS, number % COLUMNS)
            self._charts.append(chart)
        self._grid.setRowStretch(self._grid.rowCount(), 1)
        self._states.show_content()

    def _host_charts(self, sample: "Sample") -> list[ChartSpec]:
        cores = tuple(
            Curve(f"cpu_core_{n}_pct", self.tr("core {n}").format(n=n), n)
            for n in range(len(sample.cpu_per_core_pct))
        )
        return [
            ChartSpec(
                self.tr("CPU"), "%", (Curve("cpu_pct", "", 0),), format.percent, top=100.0,
                hint=self.tr("Load of all processor cores together."),
            ),
            ChartSpec(
                self.tr("CPU cores"), "%", cores, format.percent, top=100.0,
                hint=self.tr("Load of each processor core."), headline=False,
            ),
            ChartSpec(
                self.tr("Memory"), "GiB",
                (Curve("ram_used_bytes", self.tr("RAM"), 1), Curve("swap_used_bytes", self.tr("swap"), 7)),
                format.size, divide_by=GIB,
                top=None if sample.ram_total_bytes is None else sample.ram_total_bytes / GIB,
                hint=self.tr("Memory in use; what programs could still get does not count."),
            ),
            ChartSpec(
                self.tr("Disks"), "MiB/s",
                (Curve("disk_read_bps", self.tr("read"), 5), Curve("disk_write_bps", self.tr("written"), 4)),
                format.size_rate, divide_by=MIB,
                hint=self.tr("All disks together. A loading model shows here."),
            ),
            ChartSpec(
                self.tr("Network"), "MiB/s",
                (Curve("net_recv_bps", self.tr("in"), 6), Curve("net_sent_bps", self.tr("out"), 3)),
                format.size_rate, divide_by=MIB,
                hint=self.tr("All interfaces; this machine's traffic with itself does not count."),
            ),
        ]  # fmt: skip

    def _gpu_charts(self, sample: "Sample") -> list[ChartSpec]:
        specs: list[ChartSpec] = []
        for n, gpu in enumerate(sample.gpus):
            name = visible_controls(gpu.name, 40) if len(sample.gpus) == 1 else f"{n}: {gpu.name[:36]}"
            prefix = f"gpu_{n}"
            total = gpu.vram_total_bytes
            specs += [
                ChartSpec(
                    self.tr("GPU {name}").format(name=name), "%",
                    (Curve(f"{prefix}_util_pct", self.tr("computing"), 2),
                     Curve(f"{prefix}_memory_util_pct", self.tr("memory bus"), 4)),
                    format.percent, top=100.0,
                    hint=self.tr("Share of time in which it computed, and in which its memory was used."),
                ),
                ChartSpec(
                    self.tr("GPU memory"), "GiB", (Curve(f"{prefix}_vram_used_bytes", "", 3),),
                    format.size, divide_by=GIB, top=None if total is None else total / GIB,
                    hint=self.tr("Memory in use on the graphics card."),
                ),
                ChartSpec(
                    self.tr("GPU power"), "W", (Curve(f"{prefix}_power_w", "", 1),),
                    lambda value: format.quantity(value, "W"), top=gpu.power_limit_w,
                    hint=self.tr("What the card draws; the axis ends at its limit."),
                ),
                ChartSpec(
                    self.tr("GPU temperature"), "°C", (Curve(f"{prefix}_temperature_c", "", 4),),
                    lambda value: format.quantity(value, "°C"), top=110.0,
                ),
                ChartSpec(
                    self.tr("GPU clocks"), "MHz",
                    (Curve(f"{prefix}_clock_mhz", self.tr("cores"), 2),
                     Curve(f"{prefix}_memory_clock_mhz", self.tr("memory"), 3)),
                    lambda value: format.quantity(value, "MHz"),
                ),
            ]  # fmt: skip
        return specs
