"""A bar made of parts that follow each other, with their words beside it: memory, or where a time went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from llama_runner.ui.theme import SPACE_XS, Theme
from llama_runner.ui.widgets.flow import FlowLayout
from llama_runner.ui.widgets.label import PlainLabel, Swatch

BAR_HEIGHT: Final = 10
RADIUS: Final = 3
# What is there and would be too thin to be seen.
LEAST_PX: Final = 2.0


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar.

    Attributes:
        title: What it is.
        value: How much, in the unit of the whole bar.
        text: How much, in words.
        series: Number of its colour.
    """

    title: str
    value: float
    text: str
    series: int


def widths(values: Sequence[float], whole: float, room: float) -> tuple[float, ...]:
    """Pixels for each value on a bar of `room` pixels that stands for `whole`.

    What is more than nothing gets at least two pixels as long as there is room; together they never get
    more than `room`.
    """
    if whole <= 0 or room <= 0:
        return tuple(0.0 for _ in values)
    wanted = [max(value / whole * room, LEAST_PX) if value > 0 else 0.0 for value in values]
    shrink = min(1.0, room / total) if (total := sum(wanted)) > 0 else 1.0
    return tuple(width * shrink for width in wanted)


def paint_parts(
    painter: QPainter,
    rect: QRectF,
    parts: Sequence[Part],
    *,
    theme: Theme,
    whole: float,
    mark: float | None = None,
) -> None:
    """Paint the track, the parts from its left end, and a line at `mark`.

    Args:
        whole: What the bar's length stands for.
        mark: A limit on the same scale; None for none.
    """
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(theme.colours.hover))
    painter.drawRoundedRect(rect, RADIUS, RADIUS)
    left = rect.left()
    for part, width in zip(parts, widths([p.value for p in parts], whole, rect.width()), strict=True):
        painter.fillRect(
            QRectF(left, rect.top(), width, rect.height()), QColor(theme.series_colour(part.series))
        )
        left += width
    if mark is not None and 0 <= mark < whole:
        x = rect.left() + mark / whole * rect.width()
        painter.setPen(QPen(QColor(theme.colours.bad), 2))
        painter.drawLine(int(x), int(rect.top()) - 1, int(x), int(rect.bottom()) + 1)
    painter.restore()


class Bar(QWidget):
    """The bar alone."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._parts: tuple[Part, ...] = ()
        self._whole = 0.0
        self._mark: float | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme.changed.connect(self.update)

    def show_parts(self, parts: Sequence[Part], whole: float, mark: float | None) -> None:
        """Show these."""
        wanted = (tuple(parts), whole, mark)
        if wanted != (self._parts, self._whole, self._mark):
            self._parts, self._whole, self._mark = wanted
            self.update()

    def sizeHint(self) -> QSize:
        """Flat and as wide as it gets."""
        return QSize(120, BAR_HEIGHT + 2)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint it."""
        painter = QPainter(self)
        rect = QRectF(0, 1, self.width(), BAR_HEIGHT)
        paint_parts(painter, rect, self._parts, theme=self._theme, whole=self._whole, mark=self._mark)
        painter.end()


class StackedBar(QWidget):
    """A heading, the bar, and a legend with the numbers.

    Args:
        name: What a screen reader calls it; its description holds all the numbers.
    """

    def __init__(self, theme: Theme, *, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setAccessibleName(name)
        self._title = PlainLabel()
        self._bar = Bar(theme)
        self._legend = QWidget()
        self._legend.setLayout(FlowLayout())
        self._entries: list[tuple[QWidget, Swatch, PlainLabel]] = []
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_XS)
        for widget in (self._title, self._bar, self._legend):
            column.addWidget(widget)

    @property
    def title(self) -> str:
        """The heading."""
        return self._title.text()

    @property
    def legend(self) -> str:
        """All that the legend says, in its order."""
        return " · ".join(label.text() for holder, _, label in self._entries if not holder.isHidden())

    def show_parts(
        self, title: str, parts: Sequence[Part], *, whole: float, mark: float | None = None, status: str = ""
    ) -> None:
        """Show these.

        Args:
            whole: What the bar's length stands for.
            mark: A limit on the same scale.
            status: Colour of the heading by meaning, as labels know it.
        """
        self._title.setText(title)
        self._title.set_status(status)
        self._bar.show_parts(parts, whole, mark)
        while len(self._entries) < len(parts):
            self._add_entry()
        for number, (holder, swatch, label) in enumerate(self._entries):
            holder.setVisible(number < len(parts))
            if number < len(parts):
                swatch.set_series(parts[number].series)
                label.setText(f"{parts[number].title} {parts[number].text}")
        # One part is what the heading is about.
        self._legend.setVisible(len(parts) > 1)
        self.setAccessibleDescription(f"{title} {self.legend}".strip())

    def _add_entry(self) -> None:
        holder = QWidget(self._legend)
        swatch, label = Swatch(self._theme, 0, holder), PlainLabel(muted=True, scale=0.9)
        row = QHBoxLayout(holder)
        row.setContentsMargins(0, 0, SPACE_XS, 0)
        row.setSpacing(SPACE_XS)
        row.addWidget(swatch)
        row.addWidget(label)
        layout = self._legend.layout()
        assert layout is not None
        layout.addWidget(holder)
        self._entries.append((holder, swatch, label))
