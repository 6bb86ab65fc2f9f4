"""Where the time of a request through the proxy went: its stages in words, and a cell that paints them."""

from typing import Final

from PySide6.QtCore import QCoreApplication, QModelIndex, QPersistentModelIndex, QRectF
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QTableView

from llama_runner.control.values import ProxiedRequest
from llama_runner.core import format
from llama_runner.ui.theme import SPACE_S, Theme
from llama_runner.ui.widgets.rows_model import RowsModel
from llama_runner.ui.widgets.stacked_bar import Part, paint_parts

CELL_BAR_PX: Final = 10
# Numbers of colours: a stage looks the same in every bar.
QUEUE, LOAD, PREFILL, DECODE, OWN = 3, 4, 0, 2, 1


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


def stages(one: ProxiedRequest) -> tuple[Part, ...]:
    """The stages in the order in which they happened; those that never began are left out."""
    answer_s = None
    if one.total_s is not None and one.first_byte_s is not None:
        answer_s = max(0.0, one.total_s - one.first_byte_s)
    known = (
        (_tr("Queue"), one.queue_s, QUEUE),
        (_tr("Load"), one.load_s, LOAD),
        (_tr("Prompt"), one.upstream_s, PREFILL),
        (_tr("Our overhead"), one.own_s, OWN),
        (_tr("Answer"), answer_s, DECODE),
    )
    return tuple(
        Part(title, value, format.seconds(value), series)
        for title, value, series in known
        if value is not None
    )


def stage_words(one: ProxiedRequest) -> str:
    """The stages as one line, for those who do not see the bar."""
    return ", ".join(f"{part.title} {part.text}" for part in stages(one)) or format.UNKNOWN


def whole_s(one: ProxiedRequest) -> float:
    """What a bar over all stages stands for."""
    return max(one.total_s or 0.0, sum(part.value for part in stages(one)))


class WaterfallCell(QStyledItemDelegate):
    """Paints the stages of each row's request, all rows on one scale of time of their own."""

    def __init__(self, theme: Theme, model: RowsModel[ProxiedRequest], parent: QTableView) -> None:
        super().__init__(parent)
        self._theme, self._model = theme, model

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """The bar in place of the text, which screen readers and the clipboard still have."""
        background = QStyleOptionViewItem(option)
        self.initStyleOption(background, index)
        background.text = ""
        style = background.widget.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, background, painter, background.widget)
        one = self._model.shown[index.row()]
        room = QRectF(option.rect).adjusted(SPACE_S, 0, -SPACE_S, 0)
        room.setTop(room.center().y() - CELL_BAR_PX / 2)
        room.setHeight(CELL_BAR_PX)
        paint_parts(painter, room, stages(one), theme=self._theme, whole=whole_s(one))
