"""Models: the files found here, loading and unloading them, who else may use them, and what runs them."""

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QHBoxLayout, QStackedWidget, QTabBar, QVBoxLayout, QWidget

from llama_runner.control.values import EngineInfo
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.tabs import Severity, Shell
from llama_runner.ui.tabs.models_engines import EnginesView
from llama_runner.ui.tabs.models_library import Library
from llama_runner.ui.tabs.models_requests import RequestsView
from llama_runner.ui.tabs.models_serve import ServePage
from llama_runner.ui.theme import SPACE_L, SPACE_M, SPACE_S, SPACE_XS, tooltip
from llama_runner.ui.widgets.label import NameLabel
from llama_runner.ui.widgets.polling import Poller
from llama_runner.ui.widgets.states import StateStack
from llama_runner.workspace.service_snapshot import LinkState

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

LOOK_MS: Final = 250
# What changes without an event: idle times, requests of other programs.
ASK_MS: Final = 1000


class ModelsTab(QWidget):
    """Four pages: the library, serving it to other programs, what those asked for, and the engines."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._listed = False
        self._link_state: LinkState | None = LinkState.CONNECTED
        self._known_engines: tuple[EngineInfo, ...] = ()
        self._engine = NameLabel(muted=True)
        self._engine.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._engine.setAccessibleName(self.tr("Engine in use"))
        self._library = Library(workspace, shell)
        self._serve = ServePage(workspace, shell)
        self._requests = RequestsView(shell.theme)
        self._engines = EnginesView(workspace, shell)
        self._states = StateStack(shell.theme, self._library, icon="mdi6.cube-outline")
        self._lay_out()
        self._library.list_wanted.connect(self._list)
        self._engines.arrived.connect(self._show_engines)
        self._states.show_loading(self.tr("Looking for model files"))
        self._poller = Poller(self, self._read, interval_ms=LOOK_MS)
        self._asker = Poller(self, self._ask, interval_ms=ASK_MS)

    def _lay_out(self) -> None:
        self._bar = QTabBar()
        self._bar.setAccessibleName(self.tr("Library, serving, requests or engines"))
        self._bar.setDrawBase(False)
        self._bar.setExpanding(False)
        self._pages = QStackedWidget()
        for title, page in (
            (self.tr("Library"), self._states),
            (self.tr("Serve to other programs"), self._serve),
            (self.tr("Requests"), self._requests),
            (self.tr("Engines"), self._engines),
        ):
            self._bar.addTab(title)
            self._pages.addWidget(page)
        self._bar.currentChanged.connect(self._pages.setCurrentIndex)
        head = QHBoxLayout()
        head.setSpacing(SPACE_M)
        head.addWidget(self._bar)
        head.addWidget(self._engine, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_L, SPACE_S, SPACE_L, SPACE_S)
        column.setSpacing(SPACE_XS)
        column.addLayout(head)
        column.addWidget(self._pages, 1)

    # --- showing -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        snapshot = self._workspace.service.snapshot
        if not self._listed or (
            snapshot.state is not self._link_state and snapshot.state is LinkState.CONNECTED
        ):
            self._list()
        self._link_state = snapshot.state
        self._library.show_instances(snapshot.instances)
        self._library.read()
        self._serve.show_faces()
        self._bar.setTabText(
            1, self.tr("Serve to other programs ({state})").format(state=self._serve.state_word)
        )

    def _ask(self) -> None:
        # Asking would start a service that somebody has just stopped.
        if not self._workspace.service.connected:
            return
        self._ask_for_requests()
        self._serve.ask()
        self._library.ask()

    @async_slot_once
    async def _ask_for_requests(self) -> None:
        try:
            requests = await self._workspace.service.look()
        except LlamaRunnerError:
            # The service went away; the link notices and says so.
            return
        self._requests.show_requests(requests)
        running = sum(one.outcome == "running" for one in requests)
        self._bar.setTabText(
            2, self.tr("Requests ({n} running)").format(n=running) if running else self.tr("Requests")
        )

    @async_slot_once
    async def _list(self) -> None:
        self._listed = True
        self._library.set_busy(True)
        try:
            engines = await self._workspace.service.engines()
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
            self._library.set_busy(False)
        self._engines.show_engines(engines)
        self._show_engines(engines)
        for problem in found.problems:
            self._shell.notify(problem, severity=Severity.WARNING)
        if found.models:
            self._show_content()
            self._library.show_instances(self._workspace.service.snapshot.instances)
            self._library.show_found(found.models)
        else:
            self._show_empty()

    def _show_content(self) -> None:
        # The keyboard's focus goes along by hand: with a focus proxy on the splitter, the Tab key would go
        # round in the table and never reach what is below it.
        focus = QApplication.focusWidget()
        followed = focus is not None and not self._states.shows_content and self._states.isAncestorOf(focus)
        self._states.show_content()
        if followed:
            self._library.table.setFocus()

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

    def _show_engines(self, engines: tuple[EngineInfo, ...]) -> None:
        # Told anew, an engine that does not work would be one more notice of the same.
        if engines != self._known_engines:
            self._known_engines = engines
            self._library.show_engines(engines)
            self._show_engine(next((one for one in engines if one.used), engines[0]))

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
