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
QUEUE, LOAD, PREFILL, FIRST, DECODE, OWN = 3, 4, 0, 5, 2, 1


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


def stages(one: ProxiedRequest) -> tuple[Part, ...]:
    """The stages in the order in which they happened; those that never began are left out.

    Prefill and decode are the engine's own figures. Where it gives none, all of its time before the answer
    counts as the first token's, and all of the answer's as decoding.
    """
    known = (
        (_tr("Queue"), one.queue_s, QUEUE),
        (_tr("Load"), one.load_s, LOAD),
        (_tr("Prefill"), one.prefill_s, PREFILL),
        (_tr("First token"), first_token_s(one), FIRST),
        (_tr("Our overhead"), one.own_s, OWN),
        (_tr("Decode"), answer_s(one), DECODE),
    )
    return tuple(
        Part(title, value, format.seconds(value), series)
        for title, value, series in known
        if value is not None
    )


def first_token_s(one: ProxiedRequest) -> float | None:
    """Of the engine's time before the head of its answer, what was neither prefill nor decoding."""
    if one.upstream_s is None:
        return None
    # An answer in one piece has its head only when all of it is there.
    decoded_s = 0.0 if one.streamed else one.decode_s or 0.0
    return max(0.0, one.upstream_s - (one.prefill_s or 0.0) - decoded_s)


def answer_s(one: ProxiedRequest) -> float | None:
    """How long the answer took to be written."""
    if one.total_s is None or one.first_byte_s is None:
        return None
    if not one.streamed:
        return one.decode_s
    return max(0.0, one.total_s - one.first_byte_s)


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
