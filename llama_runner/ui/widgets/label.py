"""Labels that show text as it is: Qt's own guesses at rich text, which reads files and can freeze (I32)."""

from typing import Final

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QLabel, QSizePolicy, QStyle, QStyleOption, QWidget

from llama_runner.core.text import visible_controls
from llama_runner.ui.theme import Theme, mono_font, text_font, tooltip

SWATCH_PX: Final = 10


class PlainLabel(QLabel):
    """A label in plain text, always.

    Args:
        muted: Secondary text.
        scale: Size relative to the system's font.
        wrap: Long text goes on in the next line.
        mono: Tabular figures, for numbers.
        selectable: Can be marked and copied, by keyboard too.
    """

    def __init__(
        self,
        text: str = "",
        parent: QWidget | None = None,
        *,
        muted: bool = False,
        bold: bool = False,
        scale: float = 1.0,
        wrap: bool = False,
        mono: bool = False,
        selectable: bool = False,
    ) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(wrap)
        self.setProperty("muted", muted)
        if mono or bold or scale != 1.0:
            self.setFont((mono_font if mono else text_font)(scale, bold=bold))
        if selectable:
            self.setTextInteractionFlags(
                Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
            )
        self.setText(text)

    def set_status(self, status: str) -> None:
        """Colour by meaning: "good", "warning", "bad", "muted" or "" (the word beside it says the same)."""
        if self.property("status") != status:
            self.setProperty("status", status)
            self.style().unpolish(self)
            self.style().polish(self)


class NameLabel(PlainLabel):
    """One line for a name from outside: controls visible, cut with an ellipsis to the room there is."""

    def __init__(self, text: str = "", parent: QWidget | None = None, *, muted: bool = False) -> None:
        super().__init__(parent=parent, muted=muted)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.set_name(text)

    def set_name(self, text: str) -> None:
        """Show `text`; the whole of it is in the tooltip."""
        shown = visible_controls(text)
        if shown != self.text():
            self.setText(shown)
            self.setToolTip(tooltip(shown))

    def minimumSizeHint(self) -> QSize:
        """As narrow as a few letters."""
        return QSize(self.fontMetrics().averageCharWidth() * 6, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Paint anew: the ellipsis moves with the width."""
        super().resizeEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the text elided in the middle: names often differ at their ends."""
        painter = QPainter(self)
        option = QStyleOption()
        option.initFrom(self)
        self.style().drawPrimitive(QStyle.PrimitiveElement.PE_Widget, option, painter, self)
        shown = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideMiddle, self.width())
        self.style().drawItemText(
            painter, self.rect(), int(self.alignment()), self.palette(), self.isEnabled(), shown,
            self.foregroundRole(),
        )  # fmt: skip
        painter.end()


class Swatch(QWidget):
    """A small square in a series' colour, for legends."""

    def __init__(self, theme: Theme, series: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme, self._series = theme, series
        self.setFixedSize(SWATCH_PX, SWATCH_PX)
        theme.changed.connect(self.update)

    def set_series(self, series: int) -> None:
        """It stands for another one now."""
        if series != self._series:
            self._series = series
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Fill it."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._theme.series_colour(self._series)))
        painter.end()
