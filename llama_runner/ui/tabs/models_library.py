"""The model files of this machine in one table, and beside it all about the chosen one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QSplitter, QVBoxLayout, QWidget

from llama_runner.control.values import EngineInfo, Instance, ServedModel
from llama_runner.core import format
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.models_actions import ModelActions
from llama_runner.ui.tabs.models_card import ModelCard
from llama_runner.ui.tabs.models_columns import columns
from llama_runner.ui.tabs.models_rows import RUNNING, ModelLine, search_text
from llama_runner.ui.theme import SPACE_S, tooltip
from llama_runner.ui.widgets.commands import (
    AVAILABLE,
    Availability,
    Command,
    CommandButton,
    actions_of,
)
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.states import StateStack
from llama_runner.ui.widgets.tables import DataTable

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

FILTER_CHARS: Final = 22
# Of the width: the table compares, the card explains.
TABLE_SHARE: Final = 560
CARD_SHARE: Final = 480


class Library(QWidget):
    """Shows the files and instances it is told. `list_wanted`: the files are to be looked for again.

    Attributes:
        table: For the keyboard's focus.
    """

    list_wanted = Signal()

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._files: tuple[ServedModel, ...] = ()
        self._instances: tuple[Instance, ...] = ()
        self._last_key = ""
        self._filtering = False
        self.table: DataTable[ModelLine] = DataTable(
            columns(shell.theme), lambda line: line.file.id, name=self.tr("Model files"), search=search_text
        )
        self._card = ModelCard(workspace, shell)
        self._actor = ModelActions(workspace, shell, lambda: self.table.current, self._card, parent=self)
        commands = self._actor.commands()
        self._buttons = [command.name for command in commands]
        self._actions = actions_of((*commands, self._copy_command()), self.table)
        self.table.insertActions(self.table.actions()[0], list(self._actions.values()))
        self._build_finding()
        self._lay_out()
        self._connect()
        self._show_choice()

    def _copy_command(self) -> Command:
        def available() -> Availability:
            chosen = self.table.current is not None
            return AVAILABLE if chosen else Availability(why_not=self.tr("Choose a model first."))

        return Command(
            "model-copy-details",
            self.tr("Copy details"),
            self.tr("Put all that is known of the chosen model on the clipboard."),
            self._copy_details,
            available,
            keys="Ctrl+Shift+C",
        )

    def _copy_details(self) -> None:
        QGuiApplication.clipboard().setText(self._card.as_text())
        self._shell.say(self.tr("Details copied"))

    def _build_finding(self) -> None:
        self._count = PlainLabel(muted=True)
        self._count.setAccessibleName(self.tr("How many are shown"))
        self._refresh = QPushButton(self.tr("Look again"))
        self._refresh.setAccessibleName(self._refresh.text())
        self._refresh.setToolTip(tooltip(self.tr("Look for model files again (F5).")))
        self._filter = QLineEdit()
        self._filter.setPlaceholderText(self.tr("Filter (Ctrl+F)"))
        self._filter.setAccessibleName(self.tr("Filter models"))
        self._filter.setClearButtonEnabled(True)
        self._filter.setMaximumWidth(self._filter.fontMetrics().averageCharWidth() * FILTER_CHARS)

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(SPACE_S)
        for name in self._buttons:
            head.addWidget(CommandButton(self._actions[name], self))
        head.addStretch(1)
        for widget in (self._count, self._filter, self._refresh):
            head.addWidget(widget)
        self._matches = StateStack(self._shell.theme, self.table, icon="mdi6.filter-off-outline")
        halves = QSplitter(Qt.Orientation.Horizontal)
        halves.setObjectName("models-library")
        halves.setChildrenCollapsible(False)
        halves.addWidget(self._matches)
        halves.addWidget(self._card)
        halves.setStretchFactor(0, TABLE_SHARE)
        halves.setStretchFactor(1, CARD_SHARE)
        halves.setSizes([TABLE_SHARE, CARD_SHARE])
        column = QVBoxLayout(self)
        column.setContentsMargins(0, SPACE_S, 0, 0)
        column.setSpacing(SPACE_S)
        column.addLayout(head)
        column.addWidget(halves, 1)

    def _connect(self) -> None:
        self.table.chosen.connect(self._show_choice)
        self.table.doubleClicked.connect(self._actor.load_or_use)
        self._card.stop_wanted.connect(self._actor.unload)
        self._filter.installEventFilter(self)
        self._filter.textChanged.connect(self._filter_changed)
        self._filter.returnPressed.connect(self._to_table)
        self._refresh.clicked.connect(self.list_wanted)
        for keys, act in (
            (QKeySequence.StandardKey.Find, self._to_filter),
            ("F5", self.list_wanted.emit),
            ("Ctrl+D", lambda: self._card.show_page(0)),
            ("Ctrl+E", self._card.go_to_options),
            ("Ctrl+O", lambda: self._card.show_page(2)),
        ):
            QShortcut(QKeySequence(keys), self, act)
        leave = QShortcut(QKeySequence(Qt.Key.Key_Escape), self._filter, self._leave_filter)
        leave.setContext(Qt.ShortcutContext.WidgetShortcut)

    # --- showing -------------------------------------------------------------------------------------------

    def set_busy(self, busy: bool) -> None:
        """While files are being looked for."""
        self._refresh.setEnabled(not busy)

    def show_engines(self, engines: Sequence[EngineInfo]) -> None:
        """These can run them."""
        self._card.show_engines(engines)

    def show_found(self, files: Sequence[ServedModel]) -> None:
        """These were found."""
        self._files = tuple(files)
        self._show_rows()
        if self.table.current is None and self._files:
            loaded = {one.model for one in self._instances if one.state in RUNNING}
            # What runs, else what could run, in the order of the list.
            first = min(self._files, key=lambda file: (file.id not in loaded, file.problem is not None))
            self.table.select_keys({first.id})

    def show_instances(self, instances: tuple[Instance, ...]) -> None:
        """This runs now."""
        if instances is not self._instances:
            self._instances = instances
            self._show_rows()

    def _show_rows(self) -> None:
        by_model: Mapping[str, Instance] = {one.model: one for one in self._instances}
        self.table.set_rows([ModelLine(file, by_model.get(file.id)) for file in self._files])
        self._show_matches()

    def read(self) -> None:
        """Bring what changes by itself up to date."""
        self._show_choice()

    def ask(self) -> None:
        """Bring what is not told by itself up to date, while somebody looks."""
        if self.isVisible():
            self._card.ask()

    def _show_choice(self) -> None:
        if self._filtering:
            return
        line = self.table.current
        self._last_key = line.file.id if line is not None else self._last_key
        self._card.show_line(line, self._files)
        for action in self._actions.values():
            action.refresh()

    def _show_matches(self) -> None:
        model = self.table.rows_model
        shown, rows = len(model.shown), len(model.rows)
        words = self.tr("{shown} of {all}") if shown < rows else self.tr("Models: {all}")
        self._count.setText(words.format(shown=format.count(shown), all=format.count(rows)) if rows else "")
        if shown or not rows:
            self._matches.show_content()
            return
        self._matches.show_empty(
            self.tr("Nothing matches"),
            self.tr("The filter looks through names, files, architectures, quantizations and states."),
            (self.tr("Clear the filter"), self._leave_filter),
        )

    # --- the keyboard --------------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Who goes to the filter types into it next."""
        if event.type() == QEvent.Type.FocusIn:
            self.table.rows_model.search_texts.make_ahead()
        return super().eventFilter(watched, event)

    def _filter_changed(self, text: str) -> None:
        # Rows come and go and another one may be chosen: all of it is shown once, at the end.
        self._filtering = True
        self.table.set_filter(text)
        if not self.table.selected:
            self.table.select_keys({self._last_key})
        self._filtering = False
        self._show_matches()
        self._show_choice()

    def _to_filter(self) -> None:
        self._filter.setFocus()
        self._filter.selectAll()

    def _leave_filter(self) -> None:
        self._filter.clear()
        self.table.setFocus()

    def _to_table(self) -> None:
        """Enter in the filter goes to what it found."""
        shown = self.table.rows_model.shown
        if shown and not self.table.selected:
            self.table.select_keys({shown[0].file.id})
        self.table.setFocus()
