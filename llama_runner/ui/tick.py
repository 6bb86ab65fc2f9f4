"""The tick of a checked box: a style sheet that paints the box itself has to name a picture for it.

Drawn here in the theme's colours, in both sizes that screens need, into a folder that goes with the program.
"""

from typing import Final

from PySide6.QtCore import QPointF, Qt, QTemporaryDir
from PySide6.QtGui import QColor, QPainter, QPen, QPixmap, QPolygonF

# Logical pixels of the box inside its border.
SIDE: Final = 13
SCALES: Final = (1, 2)
# Shares of the side: down to the corner, then up.
POINTS: Final = ((0.18, 0.52), (0.42, 0.76), (0.84, 0.26))
WIDTH: Final = 0.15


class TickPictures:
    """Files for the style sheet, made anew for every colour."""

    def __init__(self) -> None:
        self._folder = QTemporaryDir()

    def picture(self, colour: str) -> str:
        """The path of a tick in `colour`, as a style sheet takes it; empty where it cannot be written.

        Qt finds the sharper picture beside it (`@2x`) by itself.
        """
        if not self._folder.isValid():
            return ""
        name = f"tick-{colour.lstrip('#').lower()}"
        for scale in SCALES:
            suffix = "" if scale == 1 else f"@{scale}x"
            if not _drawn(colour, SIDE * scale).save(self._folder.filePath(f"{name}{suffix}.png"), "PNG"):
                return ""
        return self._folder.filePath(f"{name}.png")


def _drawn(colour: str, side: int) -> QPixmap:
    picture = QPixmap(side, side)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    pen = QPen(QColor(colour), side * WIDTH)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    painter.setPen(pen)
    painter.drawPolyline(QPolygonF([QPointF(x * side, y * side) for x, y in POINTS]))
    painter.end()
    return picture
