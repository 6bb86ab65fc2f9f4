"""Models: the GGUF files found here, loading and unloading them, and who else may use them."""

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from llama_runner.control.values import EngineInfo, ServedModel
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.tabs import Severity, Shell
from llama_runner.ui.tabs.models_actions import ModelActions
from llama_runner.ui.tabs.models_detail import ModelDetail
from llama_runner.ui.tabs.models_requests import RequestsView
from llama_runner.ui.tabs.models_rows import RUNNING, ModelLine, columns, search_text
from llama_runner.ui.tabs.models_serve import ServeStrip
from llama_runner.ui.theme import SPACE_L, SPACE_M, SPACE_S, tooltip
from llama_runner.ui.widgets.commands import CommandButton, actions_of
from llama_runner.ui.widgets.label import NameLabel
from llama_runner.ui.widgets.polling import Poller
from llama_runner.ui.widgets.states import StateStack
from llama_runner.ui.widgets.tables import DataTable
from llama_runner.workspace.service_snapshot import LinkState

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

LOOK_MS: Final = 250
# What changes without an event: idle times, requests of other programs.
ASK_MS: Final = 1000
FILTER_CHARS: Final = 24


class ModelsTab(QWidget):
    """See the module."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._files: tuple[ServedModel, ...] = ()
        self._listed = False
        self._link_state: LinkState | None = LinkState.CONNECTED
        self._engine = NameLabel(muted=True)
        self._engine.setAccessibleName(self.tr("Engine in use"))
        self._table: DataTable[ModelLine] = DataTable(
            columns(shell.theme), lambda line: line.file.id, name=self.tr("Model files"), search=search_text
        )
        self._actor = ModelActions(workspace, shell, lambda: self._table.current, parent=self)
        self._actions = actions_of(self._actor.commands(), self._table)
        self._table.insertActions(self._table.actions()[0], list(self._actions.values()))
        self._requests = RequestsView(shell.theme)
        self._detail = ModelDetail(workspace, self._requests)
        self._strip = ServeStrip(workspace, shell)
        self._build_finding()
        self._lay_out()
        self._connect()
        self._states.show_loading(self.tr("Looking for model files"))
        self._poller = Poller(self, self._read, interval_ms=LOOK_MS)
        self._asker = Poller(self, self._ask, interval_ms=ASK_MS)

    # --- building ------------------------------------------------------------------------------------------

    def _build_finding(self) -> None:
        self._refresh_button = QPushButton(self.tr("Look again"))
        self._refresh_button.setAccessibleName(self._refresh_button.text())
        self._refresh_button.setToolTip(tooltip(self.tr("Look for model files again.")))
        self._filter = QLineEdit()
        self._filter.setPlaceholderText(self.tr("Filter (Ctrl+F)"))
        self._filter.setAccessibleName(self.tr("Filter models"))
        self._filter.setClearButtonEnabled(True)
        self._filter.setMaximumWidth(self._filter.fontMetrics().averageCharWidth() * FILTER_CHARS)

    def _lay_out(self) -> None:
        splitter = QSplitter(Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(self._table)
        splitter.addWidget(self._detail)
        splitter.setStretchFactor(0, 3)
        splitter.setStretchFactor(1, 2)
        self._states = StateStack(self._shell.theme, splitter, icon="mdi6.cube-outline")
        head = QHBoxLayout()
        head.setSpacing(SPACE_S)
        for action in self._actions.values():
            head.addWidget(CommandButton(action, self))
        head.addSpacing(SPACE_M)
        head.addWidget(self._engine, 1)
        head.addWidget(self._filter)
        head.addWidget(self._refresh_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_L, SPACE_M, SPACE_L, SPACE_M)
        column.setSpacing(SPACE_S)
        column.addLayout(head)
        column.addWidget(self._strip)
        column.addWidget(self._states, 1)

    def _connect(self) -> None:
        self._table.chosen.connect(self._show_choice)
        self._table.doubleClicked.connect(self._actor.load_or_use)
        self._detail.stop_wanted.connect(self._actor.unload)
        self._filter.textChanged.connect(self._table.set_filter)
        self._filter.returnPressed.connect(self._table.setFocus)
        self._refresh_button.clicked.connect(self._list)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self, self._filter.setFocus)
        QShortcut(QKeySequence("F5"), self, self._list)

    # --- showing -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        snapshot = self._workspace.service.snapshot
        if not self._listed or (
            snapshot.state is not self._link_state and snapshot.state is LinkState.CONNECTED
        ):
            self._list()
        self._link_state = snapshot.state
        instances = {instance.model: instance for instance in snapshot.instances}
        self._table.set_rows([ModelLine(file, instances.get(file.id)) for file in self._files])
        self._strip.show_faces()
        self._show_choice()

    def _show_choice(self) -> None:
        self._detail.show_line(self._table.current)
        for action in self._actions.values():
            action.refresh()

    @async_slot_once
    async def _ask(self) -> None:
        try:
            self._requests.show_requests(await self._workspace.service.look())
        except LlamaRunnerError:
            # The service went away; the link notices and says so.
            return

    @async_slot_once
    async def _list(self) -> None:
        self._listed = True
        self._refresh_button.setEnabled(False)
        try:
            engine = await self._workspace.service.engine()
            found = await self._workspace.service.models()
        except LlamaRunnerError as error:
            self._states.show_error(
                error,
                (self.tr("Try again"), self._list),
                (self.tr("Settings"), self._shell.open_settings),
                title=self.tr("The service is not available"),
            )
            return
        finally:
            self._refresh_button.setEnabled(True)
        self._show_engine(engine)
        self._files = found.models
        for problem in found.problems:
            self._shell.notify(problem, severity=Severity.WARNING)
        if self._files:
            self._show_content()
            self._read()
            self._choose_first()
        else:
            self._show_empty()

    def _show_content(self) -> None:
        # The keyboard's focus goes along by hand: with a focus proxy on the splitter, the Tab key would go
        # round in the table and never reach what is below it.
        focus = QApplication.focusWidget()
        followed = focus is not None and not self._states.shows_content and self._states.isAncestorOf(focus)
        self._states.show_content()
        if followed:
            self._table.setFocus()

    def _choose_first(self) -> None:
        if self._table.current is None and self._files:
            loaded = {i.model for i in self._workspace.service.snapshot.instances if i.state in RUNNING}
            first = next((file.id for file in self._files if file.id in loaded), self._files[0].id)
            self._table.select_keys({first})

    def _show_empty(self) -> None:
        runtime = self._workspace.settings.runtime
        folder = runtime.models_dir.on(sys.platform) or str(self._workspace.home.data_dir / "models")
        self._states.show_empty(
            self.tr("No model files yet"),
            self.tr(
                "Put GGUF files into {folder}, each model in its own folder, or choose another folder in the "
                "settings. Without files of your own, start the program with --demo to try a small model."
            ).format(folder=folder),
            (self.tr("Look again"), self._list),
            (self.tr("Settings"), self._shell.open_settings),
        )

    def _show_engine(self, engine: EngineInfo) -> None:
        if engine.problem is not None:
            self._engine.set_name(f"✕ {engine.problem}")
            self._engine.set_status("bad")
            self._engine.setToolTip(tooltip(f"{engine.problem} {engine.hint or ''}"))
            self._shell.notify(engine.problem, severity=Severity.WARNING, details=engine.hint or "")
            return
        path = PurePath(engine.path or "")
        words = self.tr("Engine: {name} {version} ({origin})").format(
            name=path.name, version=engine.version or "", origin=engine.origin or ""
        )
        self._engine.set_status("")
        self._engine.set_name(words)
        self._engine.setToolTip(tooltip("\n".join(filter(None, (engine.path, engine.note)))))
