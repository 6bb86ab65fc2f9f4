"""A name that programs may ask for, and the models asked for it, one after the other until one answers."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QCompleter,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from llama_runner.core.errors import UsageError
from llama_runner.core.serving_edits import MAX_ROUTE_STEPS, check_route_name, check_route_steps
from llama_runner.core.text import visible_controls
from llama_runner.ui.dialogs.work import WorkDialog
from llama_runner.ui.theme import SPACE_S, tooltip
from llama_runner.ui.widgets.label import PlainLabel

Save = Callable[[str, tuple[str, ...]], Awaitable[None]]
ENTER: Final = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
MAX_STEP_CHARS: Final = 1024
LIST_ROWS: Final = 5


@dataclass(frozen=True, slots=True)
class RouteForm:
    """What the dialog begins with.

    Attributes:
        steps: In the order in which they are asked.
        taken: Names that other routes have.
        models: Models of this machine.
        elsewhere: Other routes, and models of known servers as model@server.
    """

    name: str = ""
    steps: tuple[str, ...] = ()
    taken: Collection[str] = ()
    models: Sequence[str] = ()
    elsewhere: Sequence[str] = ()


class StepField(QComboBox):
    """A step to add, typed or picked.

    Args:
        choices: As they are written in the settings; shown with their controls visible.
        wanted: Called with Enter, which does not press the dialog's button.
    """

    def __init__(self, choices: Sequence[str], wanted: Callable[[], None]) -> None:
        super().__init__()
        self._wanted = wanted
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(20)
        for choice in choices:
            self.addItem(visible_controls(choice, MAX_STEP_CHARS), choice)
        self.setCurrentIndex(-1)
        completer = QCompleter(self.model(), self)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.setCompleter(completer)
        line = self.lineEdit()
        assert line is not None
        line.setMaxLength(MAX_STEP_CHARS)
        line.installEventFilter(self)
        # While the choices are open they get the keys first, and pass this one on past the filter.
        line.returnPressed.connect(self._add_unless_picking)

    @property
    def step(self) -> str:
        """What is meant; empty for nothing."""
        place = self.findText(
            self.currentText(), Qt.MatchFlag.MatchFixedString | Qt.MatchFlag.MatchCaseSensitive
        )
        return str(self.itemData(place)) if place >= 0 else self.currentText().strip()

    def forget(self) -> None:
        """Begin anew."""
        self.setCurrentIndex(-1)
        self.clearEditText()
        self._choices().hide()

    def _choices(self) -> QAbstractItemView:
        completer = self.completer()
        popup = completer.popup() if completer is not None else None
        assert popup is not None
        return popup

    def _add_unless_picking(self) -> None:
        if not self._choices().currentIndex().isValid():
            self._wanted()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Enter adds the step."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and event.key() in ENTER:
            self._wanted()
            return True
        return super().eventFilter(watched, event)


class RouteDialog(WorkDialog):
    """Adds or changes a route. `done_with`: its name.

    Args:
        save: Given the name and the steps; raises LlamaRunnerError, which is told here.
    """

    def __init__(self, parent: QWidget, form: RouteForm, save: Save) -> None:
        super().__init__(
            parent,
            title=self.tr("Change a route") if form.name else self.tr("Add a route"),
            word=self.tr("Save") if form.name else self.tr("Add"),
            busy=self.tr("Saving…"),
        )
        self._form, self._save = form, save
        self._name = QLineEdit(form.name)
        self._name.setAccessibleName(self.tr("Name that programs ask for"))
        self._name.setPlaceholderText(self.tr("Such as coder, or the name a program insists on"))
        self._note = PlainLabel(
            self.tr("A model here has this name too: programs that ask for it get the route."), muted=True
        )
        self._note.setAccessibleName(self.tr("About the name"))
        self._build_steps()
        self._lay_out()
        self._name.textChanged.connect(self._look)
        self._list.currentRowChanged.connect(self._look)
        for step in form.steps:
            self._append(step)
        self._list.setCurrentRow(0)
        self._look()
        (self._field if form.name else self._name).setFocus()

    def _build_steps(self) -> None:
        self._list = QListWidget()
        self._list.setAccessibleName(self.tr("Steps in the order in which they are asked"))
        self._list.setDragDropMode(QListWidget.DragDropMode.InternalMove)
        self._list.setMinimumHeight(LIST_ROWS * 2 * self._list.fontMetrics().lineSpacing())
        self._list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._up = self._button(
            self.tr("Move up"), self.tr("Ask it earlier (Alt+Up)"), lambda: self._move(-1)
        )
        self._down = self._button(
            self.tr("Move down"), self.tr("Ask it later (Alt+Down)"), lambda: self._move(1)
        )
        self._drop = self._button(self.tr("Remove step"), self.tr("Do not ask it (Del)"), self._remove)
        self._field = StepField((*self._form.models, *self._form.elsewhere), self._add)
        self._field.setAccessibleName(self.tr("Step to add"))
        line = self._field.lineEdit()
        assert line is not None
        line.setAccessibleName(self.tr("Step to add"))
        line.setPlaceholderText(self.tr("A model"))
        line.textChanged.connect(self._look)
        self._more = self._button(self.tr("Add step"), self.tr("Put it at the end (Enter)"), self._add)
        for keys, act in (
            ("Alt+Up", lambda: self._move(-1)),
            ("Alt+Down", lambda: self._move(1)),
            ("Del", self._remove),
        ):
            shortcut = QShortcut(QKeySequence(keys), self._list, act)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)

    def _button(self, text: str, hint: str, act: Callable[[], None]) -> QPushButton:
        button = QPushButton(text)
        button.setAccessibleName(text)
        button.setToolTip(tooltip(hint))
        button.setAutoDefault(False)
        button.clicked.connect(lambda _=False: act())
        return button

    def _lay_out(self) -> None:
        name = PlainLabel(self.tr("Name that programs ask for"))
        name.setBuddy(self._name)
        order = PlainLabel(self.tr("Asked in this order until one begins to answer"))
        order.setBuddy(self._list)
        beside = QVBoxLayout()
        for button in (self._up, self._down, self._drop):
            beside.addWidget(button)
        beside.addStretch(1)
        steps, adding = QWidget(), QWidget()
        for widget, left, right in ((steps, self._list, beside), (adding, self._field, self._more)):
            row = QHBoxLayout(widget)
            row.setContentsMargins(0, 0, 0, 0)
            row.setSpacing(SPACE_S)
            row.addWidget(left, 1)
            if isinstance(right, QVBoxLayout):
                row.addLayout(right)
            else:
                row.addWidget(right)
        hint = PlainLabel(
            self.tr(
                "A model of this machine, a model of a known server as model@host:port, or another route."
            ),
            muted=True,
            wrap=True,
        )
        self._column(name, self._name, self._note, order, steps, adding, hint)

    # --- the steps -----------------------------------------------------------------------------------------

    @property
    def _steps(self) -> tuple[str, ...]:
        items = (self._list.item(row) for row in range(self._list.count()))
        return tuple(str(item.data(Qt.ItemDataRole.UserRole)) for item in items)

    def _append(self, step: str) -> None:
        shown = visible_controls(step, MAX_STEP_CHARS)
        item = QListWidgetItem(shown, self._list)
        item.setData(Qt.ItemDataRole.UserRole, step)
        item.setToolTip(tooltip(shown))

    def _add(self) -> None:
        if self._take_typed():
            self._field.setFocus()

    def _take_typed(self) -> bool:
        """What is typed becomes the last step; whether nothing is left to take."""
        step = self._field.step
        if step:
            try:
                check_route_steps((*self._steps, step))
            except UsageError as error:
                self._show_problem(f"{error.message} {error.hint}")
                return False
            self._append(step)
            self._list.setCurrentRow(self._list.count() - 1)
            self._field.forget()
        self._clear_problem()
        self._look()
        return True

    def _move(self, by: int) -> None:
        row = self._list.currentRow()
        if row >= 0 and 0 <= row + by < self._list.count():
            self._list.insertItem(row + by, self._list.takeItem(row))
            self._list.setCurrentRow(row + by)

    def _remove(self) -> None:
        self._list.takeItem(self._list.currentRow())
        self._look()

    # --- what can be done ----------------------------------------------------------------------------------

    def _look(self) -> None:
        row, count = self._list.currentRow(), self._list.count()
        self._up.setEnabled(row > 0)
        self._down.setEnabled(0 <= row < count - 1)
        self._drop.setEnabled(row >= 0)
        typed = bool(self._field.step)
        self._more.setEnabled(typed and count < MAX_ROUTE_STEPS)
        self._do.setEnabled(bool(self._name.text().strip()) and (count > 0 or typed))
        name = self._name.text().strip()
        hides = name in self._form.models
        self._note.setText(
            self.tr("A model here has this name too: programs that ask for it get the route.")
            if hides
            else ""
        )

    def _set_busy(self, busy: bool) -> None:
        super()._set_busy(busy)
        if not busy:
            self._look()

    async def _work(self) -> str | None:
        name = check_route_name(self._name.text().strip())
        if name in self._form.taken:
            raise UsageError(self.tr("There is a route of this name already."), self.tr("Choose another."))
        if not self._take_typed():
            return None
        await self._save(name, self._steps)
        return name
