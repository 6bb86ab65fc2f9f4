"""Discovery: every model of every known server in one table, what is known of it, and one click to use it."""

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QHideEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QSplitter, QVBoxLayout, QWidget

from llama_runner.core import format
from llama_runner.discovery.registry import ServerStatus
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.discovery_care import CareActions
from llama_runner.ui.tabs.discovery_choice import Choice
from llama_runner.ui.tabs.discovery_columns import columns
from llama_runner.ui.tabs.discovery_details import WIDTH, DetailsPanel
from llama_runner.ui.tabs.discovery_more import MoreAboutModels
from llama_runner.ui.tabs.discovery_rows import ModelRow, rows_of, search_text
from llama_runner.ui.tabs.discovery_scan import ScanBar
from llama_runner.ui.tabs.discovery_trust import TrustActions
from llama_runner.ui.tabs.discovery_use import UseActions
from llama_runner.ui.theme import SPACE_L, SPACE_M, SPACE_S
from llama_runner.ui.widgets.commands import Command, actions_of
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.polling import Poller
from llama_runner.ui.widgets.states import StateStack
from llama_runner.ui.widgets.tables import DataTable

if TYPE_CHECKING:
    from llama_runner.discovery.networks import ScanPlan
    from llama_runner.discovery.scan import ScanReport
    from llama_runner.workspace import Workspace

# The registry changes by the second at most; ten looks a second show each change at once.
LOOK_MS: Final = 100
FILTER_CHARS: Final = 24
ABOUT_WIDTH: Final = 10_000


class DiscoveryTab(QWidget):
    """Reads the registry; the actions write through the managers.

    Attributes:
        table: What is shown and chosen.
        filter: What is looked for in it.
    """

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._seen_revision = -1
        self._more = MoreAboutModels(workspace, parent=self)
        self._wanted_server = self._last_key = ""
        self._scans = ScanBar(workspace, shell)
        self._build_filter()
        self.table: DataTable[ModelRow] = DataTable(
            columns(shell.theme), lambda row: row.key, name=self.tr("Servers and models"), search=search_text
        )
        choice = Choice(lambda: self.table.selected, workspace.registry)
        self._use = UseActions(workspace, shell, choice, parent=self)
        self._care = CareActions(workspace, shell, choice, parent=self)
        trust = TrustActions(workspace, shell, choice, parent=self)
        copy = Command(
            "server-copy-details",
            self.tr("Copy details"),
            self.tr("Put all that is known of the chosen server and model on the clipboard."),
            self._copy_details,
            choice.some,
            "Ctrl+Shift+C",
        )
        commands = (*self._use.commands(), *trust.commands(), *self._care.commands(), copy)
        self._actions = actions_of(commands, self.table)
        self.table.insertActions(self.table.actions()[0], list(self._actions.values()))
        self._details = DetailsPanel(self._actions, self._use.busy)
        self._states = StateStack(shell.theme, self._content(), icon="mdi6.radar")
        self._lay_out()
        self._connect()
        self._poller = Poller(self, self._read, interval_ms=LOOK_MS)
        self._read()

    # --- building ------------------------------------------------------------------------------------------

    def _build_filter(self) -> None:
        self.filter = QLineEdit()
        self.filter.setPlaceholderText(self.tr("Filter (Ctrl+F)"))
        self.filter.setAccessibleName(self.tr("Filter servers and models"))
        self.filter.setClearButtonEnabled(True)
        self.filter.setFixedWidth(self.filter.fontMetrics().averageCharWidth() * FILTER_CHARS)
        self._count = PlainLabel(muted=True)
        self._count.setAccessibleName(self.tr("How many are shown"))

    def _content(self) -> QWidget:
        self._matches = StateStack(self._shell.theme, self.table, icon="mdi6.filter-off-outline")
        self._halves = QSplitter(Qt.Orientation.Horizontal)
        self._halves.setChildrenCollapsible(False)
        self._halves.setHandleWidth(SPACE_S)
        self._halves.addWidget(self._matches)
        self._halves.addWidget(self._details)
        self._halves.setStretchFactor(0, 1)
        self._halves.setStretchFactor(1, 0)
        self._halves.setSizes([ABOUT_WIDTH, WIDTH])
        self._halves.setFocusProxy(self.table)
        return self._halves

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(SPACE_S)
        head.addWidget(self._scans, 1)
        head.addWidget(self._count)
        head.addWidget(self.filter)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_L, SPACE_M, SPACE_L, SPACE_M)
        column.setSpacing(SPACE_S)
        column.addLayout(head)
        column.addWidget(self._care.undo)
        column.addWidget(self._states, 1)
        # As the eye goes: the table was made before what stands above it.
        undo = self._care.undo.button
        QWidget.setTabOrder(self.filter, undo)
        QWidget.setTabOrder(undo, self.table)

    def _connect(self) -> None:
        self.table.chosen.connect(self._choice_changed)
        self.table.doubleClicked.connect(lambda _: self._actions["server-chat"].trigger())
        self.filter.textChanged.connect(self._filter_changed)
        self.filter.returnPressed.connect(self._to_table)
        self._scans.ended.connect(self._scan_ended)
        self._scans.added.connect(self._select_server)
        self._care.select_wanted.connect(self._select_server)
        self._details.note_written.connect(self._care.keep_note)
        self._more.arrived.connect(self._choice_changed)
        for source in (self._use.changed, self._care.changed):
            source.connect(self._refresh_actions)
        for keys, act in (
            (QKeySequence.StandardKey.Find, self._to_filter),
            ("Ctrl+R", self._scans.scan_here),
            ("Ctrl+N", self._scans.open_add),
            (QKeySequence.StandardKey.Undo, self._care.undo.take_back),
            ("F2", self._details.go_to_note),
        ):
            # Heard in the whole window while the tab is shown: the focus is in the list of tabs at first.
            QShortcut(QKeySequence(keys), self, act)
        leave = QShortcut(QKeySequence(Qt.Key.Key_Escape), self.filter, self._leave_filter)
        leave.setContext(Qt.ShortcutContext.WidgetShortcut)

    def scan(self, plan: "ScanPlan | None" = None) -> None:
        """Look for servers: on this computer, or as planned."""
        self._scans.scan(plan)

    # --- showing -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        self._scans.follow()
        registry = self._workspace.registry
        if registry.revision == self._seen_revision:
            return
        self._seen_revision = registry.revision
        self._more.forget()
        self.table.set_rows(rows_of(registry.records))
        self._show_matches()
        if registry.records:
            self._states.show_content()
            self._select_something()
        else:
            self._show_empty()
        self._choice_changed()

    def _show_matches(self) -> None:
        model = self.table.rows_model
        if model.shown or not model.rows:
            self._matches.show_content()
            return
        self._matches.show_empty(
            self.tr("Nothing matches"),
            self.tr("The filter looks through models, servers, engines, what models can do, and notes."),
            (self.tr("Clear the filter"), self._leave_filter),
        )

    def _select_something(self) -> None:
        shown = self.table.rows_model.shown
        wanted = next((row for row in shown if row.record.id == self._wanted_server), None)
        if wanted is not None:
            self._wanted_server = ""
            self._show_row(wanted)
        elif shown and not self.table.selected:
            online = (row for row in shown if row.record.status is ServerStatus.ONLINE)
            self.table.select_keys({next(online, shown[0]).key})

    def _show_row(self, row: ModelRow) -> None:
        self.table.select_keys({row.key})
        self.table.scrollTo(self.table.currentIndex())

    def _select_server(self, server_id: str) -> None:
        """Choose it, now or as soon as it is listed."""
        self._wanted_server = server_id
        self.filter.clear()
        self._seen_revision = -1
        self._read()
        self.table.setFocus()

    def _show_empty(self) -> None:
        self._states.show_empty(
            self.tr("No servers yet"),
            self.tr(
                "Find the model servers that run on this computer, add one by its address, "
                "or load a model of your own."
            ),
            (self.tr("Scan this computer"), self._scans.scan_here),
            (self.tr("Add a server…"), self._scans.open_add),
            (self.tr("Load a model"), lambda: self._shell.open_tab("models")),
        )

    def _scan_ended(self, report: "ScanReport") -> None:
        self._read()
        if self._workspace.registry.records:
            return
        if report.stopped:
            self._show_empty()
            return
        self._states.show_empty(
            self.tr("No server answered"),
            self.tr(
                "Nothing was found on {n} ports. Start a server and scan again, add one by its address, "
                "or load a model here."
            ).format(n=format.count(report.probed)),
            (self.tr("Scan again"), self._scans.scan_here),
            (self.tr("Add a server…"), self._scans.open_add),
            (self.tr("Load a model"), lambda: self._shell.open_tab("models")),
        )

    def _choice_changed(self) -> None:
        rows = self.table.selected
        row = rows[0] if len(rows) == 1 else None
        self._last_key = row.key if row is not None else self._last_key
        has_key = row is not None and self._workspace.registry.has_key(row.record.id)
        described = self._more.about(row) if row is not None else None
        self._details.show_rows(rows, has_key=has_key, described=described)
        self._refresh_actions()
        self._show_count()

    def _refresh_actions(self) -> None:
        for action in self._actions.values():
            action.refresh()

    def _show_count(self) -> None:
        shown, rows = self.table.rows_model.shown, self.table.rows_model.rows
        models = sum(row.info is not None for row in rows)
        servers = len({row.record.id for row in rows})
        words = self.tr("Models: {models}, servers: {servers}").format(
            models=format.count(models), servers=format.count(servers)
        )
        if len(shown) < len(rows):
            words = self.tr("{shown} of {all} rows").format(
                shown=format.count(len(shown)), all=format.count(len(rows))
            )
        self._count.setText(words if rows else "")

    def _copy_details(self) -> None:
        QGuiApplication.clipboard().setText(self._details.as_text())
        self._shell.say(self.tr("Details copied"))

    # --- the keyboard --------------------------------------------------------------------------------------

    def _filter_changed(self, text: str) -> None:
        self.table.set_filter(text)
        if not self.table.selected:
            self.table.select_keys({self._last_key})
        self._show_matches()
        self._choice_changed()

    def _to_filter(self) -> None:
        self.filter.setFocus()
        self.filter.selectAll()

    def _leave_filter(self) -> None:
        self.filter.clear()
        self.table.setFocus()

    def _to_table(self) -> None:
        """Enter in the filter goes to what it found."""
        shown = self.table.rows_model.shown
        if shown and not self.table.selected:
            self.table.select_keys({shown[0].key})
        self.table.setFocus()

    def hideEvent(self, event: QHideEvent) -> None:
        """A note that is being written is kept when the person goes elsewhere."""
        super().hideEvent(event)
        self._details.keep_note()
