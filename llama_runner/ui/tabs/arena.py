"""The arena tab: the same prompt to several models, their answers side by side, their figures in a table."""

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from llama_runner.arena.manager import MAX_ENTRIES, MIN_ENTRIES, ArenaSnapshot
from llama_runner.core import format
from llama_runner.core.errors import NotFoundError, UsageError
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.arena_columns import EntryColumns
from llama_runner.ui.tabs.arena_entries import EntryPicker, candidates_of
from llama_runner.ui.tabs.arena_table import Row, make_table, mixed_sources, rows_of
from llama_runner.ui.theme import ROW_HEIGHT, SPACE_M, SPACE_S, SPACE_XS
from llama_runner.ui.widgets.figures import ANSWER_FIGURES, FiguresHelp
from llama_runner.ui.widgets.fold import FoldButton
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.polling import Poller
from llama_runner.ui.widgets.prompt_edit import PromptEdit
from llama_runner.ui.widgets.sampling import SamplingForm
from llama_runner.ui.widgets.start_stop import StartStop
from llama_runner.ui.widgets.states import StateStack
from llama_runner.ui.widgets.tables import DataTable

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

PLAN_WIDTH: Final = 280
# Of the height of the results, at most: the answers are what people read first.
TABLE_SHARE: Final = 0.4
FOOT_HEIGHT: Final = 48


class ArenaTab(QWidget):
    """Compares entries of the registry; holds its own choice, which begins with the shared target."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace = workspace
        self._arena = workspace.arena
        self._shell = shell
        self._registry_revision = -1
        self._seen: tuple[object, ...] = ()
        self._comparison_id = ""
        self._preselected = False
        self._columns_are_new = False
        self._build_plan()
        self._build_results()
        self._lay_out()
        self._escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self, self._stop)
        shell.target_changed.connect(self._preselect)
        self._follow_registry()
        self._preselect()
        self._show_running(None)
        self._poller = Poller(self, self._read)

    # --- building ------------------------------------------------------------------------------------------

    def _build_plan(self) -> None:
        theme = self._shell.theme
        self._picker = EntryPicker()
        self._picker.changed.connect(self._show_choice)
        # Not wrapped: the page around it would take its preferred height instead of the room there is.
        self._chosen = PlainLabel(muted=True)
        self._chosen.setObjectName("arena-chosen")
        self._chosen.setAccessibleName(self.tr("How many are chosen"))
        self._prompt = PromptEdit(
            name=self.tr("Prompt"),
            placeholder=self.tr("What all of them are asked. Ctrl+Enter compares."),
            lines=(3, 5),
            sends=False,
        )
        self._prompt.setObjectName("arena-prompt")
        self._prompt.submitted.connect(self._compare)
        self._prompt.textChanged.connect(self._show_choice)
        self._system = PromptEdit(
            name=self.tr("System prompt"),
            placeholder=self.tr("Told to every model first; empty tells nothing."),
            sends=False,
        )
        self._system.setObjectName("arena-system")
        self._system.setPlainText(self._workspace.settings.chat.system_prompt)
        chat = self._workspace.settings.chat
        self._sampling = SamplingForm(temperature=chat.temperature, max_tokens=chat.max_tokens)
        self._sampling.setObjectName("arena-options")
        self._sampling.edited.connect(self._show_choice)
        self._system_fold = FoldButton(self.tr("System prompt"), self._system, theme)
        self._options_fold = FoldButton(self.tr("Options"), self._sampling, theme)
        self._go = StartStop(
            theme,
            start=self.tr("Compare"),
            stop=self.tr("Stop"),
            start_icon="mdi6.play",
            names=("arena-compare", "arena-stop"),
            hints=(
                self.tr("Ask all chosen models at once (Ctrl+Enter)"),
                self.tr("Stop all answers and keep what came (Esc)"),
            ),
        )
        self._go.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self._go.started.connect(self._compare)
        self._go.stopped.connect(self._stop)

    def _build_results(self) -> None:
        theme = self._shell.theme
        self._columns = EntryColumns(theme)
        self._table: DataTable[Row] = make_table()
        self._table_note = PlainLabel(muted=True, wrap=True)
        self._table_note.setAccessibleName(self.tr("Note on the figures"))
        self._copy = QPushButton(self.tr("Copy as table"))
        self._copy.setObjectName("arena-copy")
        self._copy.setAccessibleName(self.tr("Copy as table"))
        self._copy.setProperty("flat", True)
        theme.give_icon(self._copy, "mdi6.content-copy")
        self._copy.clicked.connect(self._copy_table)
        self._help = FiguresHelp(theme, ANSWER_FIGURES)

    def _lay_out(self) -> None:
        figures = QWidget()
        column = QVBoxLayout(figures)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_XS)
        foot = QHBoxLayout()
        foot.setSpacing(SPACE_S)
        foot.addWidget(self._table_note, 1)
        foot.addWidget(self._copy)
        foot.addWidget(self._help)
        column.addLayout(foot)
        column.addWidget(self._table, 1)
        self._table.setMinimumHeight(2 * ROW_HEIGHT)
        self._halves = QSplitter(Qt.Orientation.Vertical)
        self._halves.setChildrenCollapsible(False)
        self._halves.addWidget(self._columns)
        self._halves.addWidget(figures)
        self._halves.setStretchFactor(0, 1)
        self._halves.setStretchFactor(1, 0)
        self._stack = StateStack(self._shell.theme, self._halves, icon="mdi6.compare-horizontal")
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.setChildrenCollapsible(False)
        splitter.setHandleWidth(SPACE_S)
        splitter.addWidget(self._plan_side())
        splitter.addWidget(self._stack)
        splitter.setStretchFactor(0, 0)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([PLAN_WIDTH, 10_000])
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE_M, SPACE_M, SPACE_M, SPACE_S)
        row.addWidget(splitter)

    def _plan_side(self) -> QWidget:
        form = QWidget()
        column = QVBoxLayout(form)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_S)
        column.addWidget(self._picker, 1)
        column.addWidget(self._chosen)
        column.addWidget(self._prompt)
        folds = QHBoxLayout()
        folds.addWidget(self._system_fold)
        folds.addWidget(self._options_fold)
        folds.addStretch(1)
        column.addLayout(folds)
        column.addWidget(self._system)
        column.addWidget(self._sampling)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(form)
        side = QWidget()
        outer = QVBoxLayout(side)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(SPACE_S)
        outer.addWidget(area, 1)
        outer.addWidget(self._go)
        return side

    # --- choosing ------------------------------------------------------------------------------------------

    def _follow_registry(self) -> None:
        registry = self._workspace.registry
        if registry.revision != self._registry_revision:
            self._registry_revision = registry.revision
            self._picker.candidates.set_rows(candidates_of(registry.records))
            self._preselect()

    def _preselect(self) -> None:
        """Tick the shared target once; from then on the choice is the person's."""
        target = self._shell.target
        if target is not None and not self._preselected:
            self._preselected = True
            self._picker.tick_target(target)
        self._show_choice()

    def take_model(self, server_id: str, model_id: str) -> None:
        """See `TakesModels`."""
        self._follow_registry()
        self._picker.tick_target(self._workspace.registry.target(server_id, model_id))
        self._show_choice()

    def _most(self) -> int:
        return min(self._workspace.settings.arena.max_entries, MAX_ENTRIES)

    def _why_not(self) -> str:
        """Why nothing can be compared now; empty when it can."""
        count, most = len(self._picker.ticked), self._most()
        if not MIN_ENTRIES <= count <= most:
            return self.tr("Choose {low} to {high} models.").format(low=MIN_ENTRIES, high=most)
        if not self._prompt.text.strip():
            return self.tr("Write a prompt first.")
        return "" if self._sampling.valid else self.tr("Correct the options first.")

    def _show_choice(self) -> None:
        count = len(self._picker.ticked)
        text = self.tr("{count} of {all} chosen, {low} to {high} compare")
        self._chosen.setText(
            text.format(
                count=format.count(count),
                all=format.count(len(self._picker.candidates.rows)),
                low=MIN_ENTRIES,
                high=self._most(),
            )
        )
        self._chosen.set_status("bad" if count > self._most() else "")
        why_not = self._why_not()
        self._go.set_ready(not why_not, why_not)
        if not self._comparison_id:
            self._show_empty()

    def _show_empty(self) -> None:
        if self._picker.candidates.rows:
            self._stack.show_empty(
                self.tr("Compare models"),
                self.tr("Tick two or more models, write a prompt, and see them answer side by side."),
                (self.tr("Write a prompt"), self._prompt.setFocus),
            )
            return
        self._stack.show_empty(
            self.tr("Nothing to compare yet"),
            self.tr("Load two of your own models, or find servers that already run."),
            (self.tr("Load a model"), lambda: self._shell.open_tab("models")),
            (self.tr("Find servers"), lambda: self._shell.open_tab("discovery")),
        )

    # --- comparing -----------------------------------------------------------------------------------------

    @async_slot_once
    async def _compare(self) -> None:
        if why_not := self._why_not():
            self._shell.say(why_not)
            return
        registry = self._workspace.registry
        try:
            targets = tuple(registry.target(one.server_id, one.model_id) for one in self._picker.ticked)
            # Before anything is sent: making widgets takes time that would count as the server's.
            self._begin_columns([target.label for target in targets])
            await self._arena.compare(
                self._prompt.text, targets, self._sampling.options, system_prompt=self._system.text
            )
        except (UsageError, NotFoundError) as error:
            self._shell.report(error, doing=self.tr("comparing"))

    @async_slot_once
    async def _stop(self) -> None:
        await self._arena.stop()

    def _copy_table(self) -> None:
        self._table.clearSelection()
        QGuiApplication.clipboard().setText(self._table.as_text())
        self._shell.say(self.tr("Table copied."))

    # --- showing -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        self._follow_registry()
        snapshot = self._arena.snapshot()
        seen = (
            (self._arena.running,)
            if snapshot is None
            else (snapshot.id, snapshot.revision, self._arena.running)
        )
        if seen == self._seen:
            return
        self._seen = seen
        if snapshot is not None:
            self._show(snapshot)
        self._show_running(snapshot)

    def _show(self, snapshot: ArenaSnapshot) -> None:
        if snapshot.id != self._comparison_id:
            self._comparison_id = snapshot.id
            if not self._columns_are_new:
                self._begin_columns([entry.label for entry in snapshot.entries])
            self._columns_are_new = False
        self._columns.show_entries(snapshot.entries)
        self._table.set_rows(rows_of(snapshot.entries))
        mixed = mixed_sources(snapshot.entries)
        note = self.tr("★ marks the best.")
        if mixed:
            note += " " + self.tr("Tokens were counted in different ways, so decode speeds do not compare.")
        self._table_note.setText(note)

    def _begin_columns(self, names: list[str]) -> None:
        self._columns.begin(names)
        self._columns_are_new = True
        self._stack.show_content()
        whole = self._halves.height()
        table = min((len(names) + 1) * ROW_HEIGHT + FOOT_HEIGHT, round(whole * TABLE_SHARE))
        self._halves.setSizes([whole - table, table])

    def _show_running(self, snapshot: ArenaSnapshot | None) -> None:
        running = self._arena.running
        self._go.set_running(running)
        self._escape.setEnabled(running)
        self._copy.setEnabled(snapshot is not None)
