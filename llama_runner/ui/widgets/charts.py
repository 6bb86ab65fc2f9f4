"""Live charts over telemetry arrays: a gap where data is missing, never a line to zero.

Imported late: pyqtgraph costs a quarter of a second that the first paint does not wait for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QAction, QColor, QEnterEvent
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from llama_runner.core import format
from llama_runner.ui.theme import SPACE_M, SPACE_S, Theme, tooltip
from llama_runner.ui.widgets.label import PlainLabel, Swatch

FloatArray = NDArray[np.float64]
PEN_WIDTH: Final = 1.6
FILL_ALPHA: Final = 40
# Above the highest value, so that the curve does not touch the edge.
HEADROOM: Final = 1.15


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart.

    Attributes:
        series: Name in the telemetry.
        title: As in the legend; empty for a chart with one line.
        colour: Number of its colour.
    """

    series: str
    title: str
    colour: int


@dataclass(frozen=True, slots=True)
class ChartSpec:
    """What a chart shows.

    Attributes:
        unit: Of the axis, after `divide_by`.
        show: How a value (as it comes) is printed.
        divide_by: From the value as it comes to the axis.
        top: Fixed upper end of the axis, None to follow the data.
        least_top: The axis that follows the data ends no lower, so that noise does not fill the chart.
        hint: What is measured, for the tooltip.
        headline: Whether the first curve's present value stands above the chart.
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]
    show: Callable[[float | None], str]
    divide_by: float = 1.0
    top: float | None = None
    least_top: float = 1.0
    hint: str = ""
    headline: bool = True


class _SecondsAxis(pg.AxisItem):
    """Seconds before now, with their unit."""

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        """Such as: -20 s, now."""
        return [self.tr("now") if value == 0 else f"{value:g} s" for value in values]


def _last(values: FloatArray) -> float | None:
    return None if values.size == 0 or not np.isfinite(values[-1]) else float(values[-1])


class _Plot(pg.PlotWidget):
    """A plot that leaves the wheel to the page it stands in, and opens no menu of pyqtgraph's."""

    def __init__(self, *, name: str) -> None:
        super().__init__(background=None, axisItems={"bottom": _SecondsAxis("bottom")})
        self.setAccessibleName(name)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.setMouseEnabled(x=False, y=False)
        self.setFrameShape(pg.PlotWidget.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.getPlotItem().getViewBox().setDefaultPadding(0.0)

    def wheelEvent(self, event: QEvent) -> None:
        """Not ours: scrolling goes on."""
        event.ignore()


class Sparkline(QWidget):
    """A small curve without axes."""

    def __init__(
        self, theme: Theme, *, name: str, colour: int, top: float | None, least_top: float = 1.0
    ) -> None:
        super().__init__()
        self._theme, self._colour, self._top, self._least_top = theme, colour, top, least_top
        self._plot = _Plot(name=name)
        self._plot.hideAxis("left")
        self._plot.hideAxis("bottom")
        self._plot.setMinimumSize(40, 20)
        self._plot.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._curve = self._plot.plot(connect="finite", skipFiniteCheck=False)
        self._curve.setFillLevel(0)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._plot)
        theme.changed.connect(self._paint_theme)
        self._paint_theme()

    def show_series(self, t_s: FloatArray, values: FloatArray, *, span_s: float) -> None:
        """Show the last `span_s` seconds."""
        if t_s.size == 0:
            return
        self._curve.setData(t_s - t_s[-1], values)
        self._plot.setXRange(-span_s, 0.0, padding=0)
        self._plot.setYRange(0.0, upper_end(values, self._top, least=self._least_top), padding=0)

    def _paint_theme(self) -> None:
        colour = QColor(self._theme.series_colour(self._colour))
        self._curve.setPen(pg.mkPen(colour, width=PEN_WIDTH))
        fill = QColor(colour)
        fill.setAlpha(FILL_ALPHA)
        self._curve.setBrush(pg.mkBrush(fill))


def upper_end(values: FloatArray, top: float | None, *, least: float = 1.0) -> float:
    """Upper end of the axis: fixed, or a little above the highest value and never below `least`."""
    if top is not None:
        return top
    finite = values[np.isfinite(values)]
    return max(float(finite.max()) * HEADROOM if finite.size else 0.0, least)


class Chart(QWidget):
    """Title with unit, present value, axes, a read-out under the mouse. Right-click saves it as a picture."""

    def __init__(self, theme: Theme, spec: ChartSpec) -> None:
        super().__init__()
        self.setObjectName("card")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.spec = spec
        self._theme = theme
        self._t_s: FloatArray = np.empty(0)
        self._values: list[FloatArray] = []
        self._hover_s: float | None = None
        self._build()
        theme.changed.connect(self._paint_theme)
        self._paint_theme()

    def _build(self) -> None:
        spec = self.spec
        title = PlainLabel(f"{spec.title} ({spec.unit})", muted=True)
        title.setToolTip(tooltip(spec.hint))
        self._now = PlainLabel(format.UNKNOWN, mono=True, bold=True, scale=1.3)
        self._now.setAccessibleName(self.tr("{title} now").format(title=spec.title))
        self._read_out = PlainLabel("", mono=True, scale=0.9)
        self._read_out.setAccessibleName(self.tr("{title} under the pointer").format(title=spec.title))
        self._plot = _Plot(name=spec.title)
        self._plot.setMinimumHeight(110)
        self._plot.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        for side in ("left", "bottom"):
            axis = self._plot.getAxis(side)
            axis.enableAutoSIPrefix(False)
            axis.setStyle(tickLength=-3, maxTickLevel=0)
        self._plot.getAxis("left").setWidth(44)
        self._plot.showGrid(x=False, y=True, alpha=0.25)
        self._lines = [self._plot.plot(connect="finite") for _ in spec.curves]
        self._cursor = pg.InfiniteLine(angle=90, movable=False)
        self._cursor.hide()
        self._plot.addItem(self._cursor, ignoreBounds=True)
        self._plot.scene().sigMouseMoved.connect(self._hover)
        self._legend = [PlainLabel() for curve in spec.curves if curve.title]
        head = QHBoxLayout()
        head.setSpacing(SPACE_S)
        head.addWidget(title)
        head.addStretch(1)
        head.addWidget(self._read_out)
        head.addWidget(self._now)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_M, SPACE_S, SPACE_M, SPACE_S)
        column.setSpacing(SPACE_S)
        column.addLayout(head)
        column.addWidget(self._plot, 1)
        if self._legend and len(self._legend) <= 4:
            column.addLayout(self._legend_row())
        save = QAction(self.tr("Save as picture…"), self)
        save.triggered.connect(self._save)
        self.addAction(save)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)

    def _legend_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(SPACE_M)
        named = (curve for curve in self.spec.curves if curve.title)
        for label, curve in zip(self._legend, named, strict=True):
            row.addWidget(Swatch(self._theme, curve.colour))
            row.addWidget(label)
        row.addStretch(1)
        return row

    def show_series(self, t_s: FloatArray, values: Sequence[FloatArray], *, span_s: float) -> None:
        """Show the last `span_s` seconds of each curve; all share `t_s`."""
        self._t_s = t_s - t_s[-1] if t_s.size else t_s
        self._values = list(values)
        for line, one in zip(self._lines, values, strict=True):
            line.setData(self._t_s, one / self.spec.divide_by)
        self._plot.setXRange(-span_s, 0.0, padding=0)
        seen = np.concatenate([one[self._t_s >= -span_s] for one in values]) if t_s.size else np.empty(0)
        top = upper_end(seen / self.spec.divide_by, self.spec.top, least=self.spec.least_top)
        self._plot.setYRange(0.0, top, padding=0)
        self._show_present()

    def _show_present(self) -> None:
        presents = [self.spec.show(_last(one)) for one in self._values]
        known = [text for text in presents if text != format.UNKNOWN]
        self._now.setText((presents[0] if self.spec.headline else "") if known else self.tr("n/a"))
        for label, curve, text in zip(self._legend, self.spec.curves, presents, strict=False):
            label.setText(f"{curve.title} {text}")
        self._show_hover()

    def _hover(self, position: QPointF) -> None:
        box = self._plot.getPlotItem().getViewBox()
        inside = box.sceneBoundingRect().contains(position)
        self._hover_s = box.mapSceneToView(position).x() if inside else None
        self._show_hover()

    def leaveEvent(self, event: QEvent) -> None:
        """The pointer left: no read-out."""
        self._hover_s = None
        self._show_hover()
        super().leaveEvent(event)

    def enterEvent(self, event: QEnterEvent) -> None:
        """Let the plot hear the pointer without a button pressed."""
        self._plot.setMouseTracking(True)
        super().enterEvent(event)

    def _show_hover(self) -> None:
        if self._hover_s is None or self._t_s.size == 0:
            self._cursor.hide()
            self._read_out.setText("")
            return
        at = int(np.abs(self._t_s - self._hover_s).argmin())
        texts = [
            f"{curve.title} {self.spec.show(_finite(one[at]))}".strip()
            for curve, one in zip(self.spec.curves[:4], self._values, strict=False)
        ]
        self._read_out.setText(f"{self._t_s[at]:.0f} s: {' · '.join(texts)}")
        self._cursor.setPos(float(self._t_s[at]))
        self._cursor.show()

    def _save(self) -> None:
        picture = self.grab()
        dialog = QFileDialog(self, self.tr("Save the chart"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("png")
        dialog.setNameFilter(self.tr("Pictures (*.png)"))
        dialog.fileSelected.connect(lambda path: picture.save(path, "PNG"))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _paint_theme(self) -> None:
        colours = self._theme.colours
        for side in ("left", "bottom"):
            axis = self._plot.getAxis(side)
            axis.setPen(pg.mkPen(colours.border))
            axis.setTextPen(pg.mkPen(colours.muted))
        self._cursor.setPen(pg.mkPen(colours.muted, style=Qt.PenStyle.DashLine))
        for line, curve in zip(self._lines, self.spec.curves, strict=True):
            line.setPen(pg.mkPen(self._theme.series_colour(curve.colour), width=PEN_WIDTH))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
