"""The window: header, tabs, monitor dock, status bar. Opens before anything else is ready and fills up later.

It is the `Shell` of every tab. It opens and closes nothing by itself: `ui.session` does, through `attach`,
`show_opening`, `show_failure` and the signal `closing`.
"""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QCoreApplication, QEvent, QSize, Qt, Signal
from PySide6.QtGui import QAction, QCloseEvent, QKeySequence, QPaintEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QMainWindow,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from llama_runner.backends.base import Target
from llama_runner.core.config import load_app_config
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.ui.async_slots import start_task
from llama_runner.ui.geometry import MINIMUM_SIZE, WindowMemory
from llama_runner.ui.header import Header
from llama_runner.ui.monitor_dock import FOLDED_HEIGHT, MonitorDock
from llama_runner.ui.notices import NoticeBar, Notices, NoticesDialog
from llama_runner.ui.reporter import Reporter
from llama_runner.ui.status_bar import StatusBar
from llama_runner.ui.tabs import TABS, Severity, TabEntry, TakesModels
from llama_runner.ui.theme import ICON_SIZE, Theme, ThemeMode
from llama_runner.ui.widgets.states import Action, StatePage, describe_error

if TYPE_CHECKING:
    from llama_runner.core.logs import LogHandle
    from llama_runner.core.paths import Home
    from llama_runner.workspace import Workspace

log = logging.getLogger(__name__)

NAVIGATION_WIDTH: Final = 148
DOCK_HEIGHT: Final = 108
FIRST_TAB: Final = "chat"


class MainWindow(QMainWindow):
    """The one window of the program."""

    target_changed = Signal()
    closing = Signal()
    retry_wanted = Signal()
    painted = Signal()
    filled = Signal()

    def __init__(
        self,
        *,
        theme: Theme,
        reporter: Reporter,
        memory: WindowMemory,
        home: "Home",
        logs: "LogHandle | None",
    ) -> None:
        super().__init__()
        self.theme = theme
        self.home = home
        self.notices = Notices(self)
        self.reporter = reporter
        self.logs = logs
        self.workspace: Workspace | None = None
        self._memory = memory
        self._tabs: dict[str, QWidget] = {}
        self._first_paint_seen = False
        self.setWindowTitle("Llama Runner")
        self.setMinimumSize(*MINIMUM_SIZE)
        self._build()
        reporter.noticed.connect(self._on_reported)
        theme.changed.connect(self._refresh_icons)
        memory.restore_window(self)

    # --- building ------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.header = Header(self.theme, self._menu_actions())
        self.header.picker.changed.connect(self.target_changed)
        self.header.theme_clicked.connect(self._toggle_theme)
        self.header.settings_clicked.connect(self.open_settings)
        self._navigation = self._build_navigation()
        self._stack = QStackedWidget()
        self._page = StatePage(self.theme, "mdi6.timer-sand")
        self._stack.addWidget(self._page)
        self.dock = MonitorDock(self.theme)
        self.status = StatusBar(self.theme)
        self.status.notices_clicked.connect(self.open_notices)
        self._splitter = QSplitter(Qt.Orientation.Vertical)
        self._splitter.setChildrenCollapsible(False)
        self._splitter.addWidget(self._top_half())
        self._splitter.addWidget(self.dock)
        self._splitter.setStretchFactor(0, 1)
        self._splitter.setStretchFactor(1, 0)
        self._memory.restore_splitter(self._splitter, "dock", (10_000, DOCK_HEIGHT))
        self.dock.fold_changed.connect(self._fit_dock)
        self.dock.set_folded(self._memory.text("dock_folded") == "yes")
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        bar = NoticeBar(self.notices)
        bar.list_wanted.connect(self.open_notices)
        column.addWidget(self.header)
        column.addWidget(bar)
        column.addWidget(self._splitter, 1)
        column.addWidget(self.status)
        self.setCentralWidget(centre)
        self.notices.added.connect(lambda _: self.status.set_notices(len(self.notices.all)))
        self._add_tab_shortcuts()
        self._navigation.setCurrentRow(self._row_of(self._memory.text("tab", FIRST_TAB)))
        self._navigation.setFocus()

    def _top_half(self) -> QWidget:
        half = QWidget()
        row = QHBoxLayout(half)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self._navigation)
        row.addWidget(self._stack, 1)
        return half

    def _build_navigation(self) -> QListWidget:
        navigation = QListWidget()
        navigation.setObjectName("navigation")
        navigation.setAccessibleName(self.tr("Tabs"))
        navigation.setFixedWidth(NAVIGATION_WIDTH)
        navigation.setIconSize(QSize(ICON_SIZE, ICON_SIZE))
        navigation.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        navigation.setSpacing(0)
        for number, entry in enumerate(TABS, 1):
            item = QListWidgetItem(
                self.theme.icon(entry.icon), QCoreApplication.translate("tabs", entry.title)
            )
            item.setToolTip(f"Ctrl+{number}")
            navigation.addItem(item)
        navigation.currentRowChanged.connect(self._show_tab)
        return navigation

    def _add_tab_shortcuts(self) -> None:
        for number, entry in enumerate(TABS, 1):
            action = QAction(QCoreApplication.translate("tabs", entry.title), self)
            action.setShortcut(QKeySequence(f"Ctrl+{number}"))
            action.triggered.connect(lambda _=False, key=entry.key: self.open_tab(key))
            self.addAction(action)
        settings = QAction(self.tr("Settings"), self)
        settings.setShortcut(QKeySequence("Ctrl+,"))
        settings.triggered.connect(self.open_settings)
        quit_action = QAction(self.tr("Quit"), self)
        quit_action.setShortcut(QKeySequence("Ctrl+Q"))
        quit_action.triggered.connect(self.close)
        self.addActions([settings, quit_action])

    def _menu_actions(self) -> tuple[QAction, ...]:
        log_view = QAction(self.tr("Log…"), self)
        log_view.setShortcut(QKeySequence("Ctrl+L"))
        log_view.triggered.connect(self.open_log)
        notices = QAction(self.tr("Notices…"), self)
        notices.triggered.connect(self.open_notices)
        dock = QAction(self.tr("Fold or unfold the monitor"), self)
        dock.setShortcut(QKeySequence("Ctrl+M"))
        dock.triggered.connect(lambda: self.dock.set_folded(not self.dock.folded))
        about = QAction(self.tr("About Llama Runner…"), self)
        about.setShortcut(QKeySequence(Qt.Key.Key_F1))
        about.triggered.connect(self.open_about)
        actions = (log_view, notices, dock, about)
        # In the window too: a shortcut of a closed menu would not be heard.
        self.addActions(list(actions))
        return actions

    # --- what the session tells ----------------------------------------------------------------------------

    def show_opening(self) -> None:
        """The workspace is on its way."""
        self._page.describe(
            self.tr("Starting"), self.tr("Reading settings and looking for the service."), busy=True
        )
        self._stack.setCurrentWidget(self._page)

    def show_failure(self, error: BaseException) -> None:
        """The workspace could not be opened."""
        message, hint = describe_error(error)
        actions: tuple[Action, ...] = (
            (self.tr("Try again"), self.retry_wanted.emit),
            (self.tr("Open the log"), self.open_log),
        )
        self._page.describe(message, hint, actions=actions, details=repr(error.__cause__ or ""))
        self._stack.setCurrentWidget(self._page)

    def attach(self, workspace: "Workspace") -> None:
        """Everything is there: fill the tabs, the dock and the pickers."""
        self.workspace = workspace
        self.header.picker.attach(workspace.registry)
        start_task(self, self._follow_registry(workspace), name="header follows servers")
        self.dock.attach(workspace.telemetry)
        self.status.attach(workspace)
        start_task(self, self._start_service(workspace), name="starting the service")
        self._show_tab(self._navigation.currentRow())
        workspace.discovery.start_refreshing()
        self.filled.emit()

    async def _start_service(self, workspace: "Workspace") -> None:
        await workspace.service.ensure()
        # The service reads the same settings and finds the same faults in them: said once is enough.
        told = {f"{notice.message} {notice.details}".rstrip() for notice in self.notices.all}
        for sentence in workspace.service.snapshot.notices:
            if sentence not in told:
                self.notify(sentence, severity=Severity.WARNING)
        if workspace.demo:
            self.say(self.tr("Loading the demo model"))
            target = await workspace.resolve_target()
            record = workspace.registry.at(target.endpoint.base_url)
            if record is not None:
                self.set_target(record.id, target.model_id)
                self.say(self.tr("The demo model is ready"))

    def detach(self) -> None:
        """The workspace closes: let go of everything that reads it."""
        self.workspace = None
        self.header.picker.attach(None)
        self.dock.attach(None)
        self.status.attach(None)
        self._stack.setCurrentWidget(self._page)
        for tab in self._tabs.values():
            self._stack.removeWidget(tab)
            tab.deleteLater()
        self._tabs.clear()

    async def _follow_registry(self, workspace: "Workspace") -> None:
        subscription = workspace.registry.changes.subscribe(maxlen=1)
        try:
            async for _ in subscription:
                self.header.picker.refresh()
        finally:
            subscription.close()

    # --- Shell ---------------------------------------------------------------------------------------------

    @property
    def target(self) -> Target | None:
        """See `Shell`."""
        return self.header.picker.target

    def set_target(self, server_id: str, model_id: str | None = None) -> None:
        """See `Shell`."""
        self.header.picker.pick(server_id, model_id)

    def say(self, message: str) -> None:
        """See `Shell`."""
        self.status.say(message)

    def notify(self, message: str, *, severity: Severity = Severity.INFO, details: str = "") -> None:
        """See `Shell`."""
        log.info("notice severity=%s message=%s", severity.value, message)
        self.notices.add(message, severity=severity, details=details)

    def report(self, error: BaseException, *, doing: str) -> None:
        """See `Shell`."""
        self.reporter.report(error, doing=doing)

    def open_tab(self, key: str) -> None:
        """See `Shell`."""
        self._navigation.setCurrentRow(self._row_of(key))

    def hand_over(self, key: str, server_id: str, model_id: str) -> None:
        """See `Shell`."""
        tab = self._tab(TABS[self._row_of(key)])
        if isinstance(tab, TakesModels):
            tab.take_model(server_id, model_id)

    # --- tabs ----------------------------------------------------------------------------------------------

    @staticmethod
    def _row_of(key: str) -> int:
        keys = [entry.key for entry in TABS]
        return keys.index(key) if key in keys else keys.index(FIRST_TAB)

    def _show_tab(self, row: int) -> None:
        if self.workspace is None or row < 0:
            return
        tab = self._tab(TABS[row])
        if tab is not None:
            self._stack.setCurrentWidget(tab)

    def _tab(self, entry: TabEntry) -> QWidget | None:
        """The tab, made when it is first needed; None without a workspace."""
        if self.workspace is not None and entry.key not in self._tabs:
            self._tabs[entry.key] = self._make_tab(entry, self.workspace)
            self._stack.addWidget(self._tabs[entry.key])
        return self._tabs.get(entry.key)

    def _make_tab(self, entry: TabEntry, workspace: "Workspace") -> QWidget:
        try:
            tab = entry.load()(workspace, self)
        except Exception as error:  # a broken tab must not take the window along
            log.exception("tab cannot be opened key=%s", entry.key)
            page = StatePage(self.theme, "mdi6.alert-circle-outline")
            page.describe(
                self.tr("This tab cannot be shown"),
                self.tr("The log says why. The other tabs work."),
                actions=((self.tr("Open the log"), self.open_log),),
                details=repr(error),
            )
            return page
        tab.setObjectName(f"tab_{entry.key}")
        for splitter in _named_splitters(tab):
            self._memory.restore_splitter(splitter, splitter.objectName(), tuple(splitter.sizes()))
        return tab

    # --- dialogs -------------------------------------------------------------------------------------------

    def open_settings(self) -> None:
        """The settings dialog."""
        from llama_runner.ui.dialogs.settings import SettingsDialog

        dialog = SettingsDialog(self.home, self, self)
        dialog.saved.connect(self._settings_saved)
        dialog.open()

    def _settings_saved(self) -> None:
        self._memory.set_text("theme", "")
        if self.workspace is not None:
            self.workspace.use_config(load_app_config(self.home))
            start_task(self, self._reload_service(self.workspace), name="telling the service")

    async def _reload_service(self, workspace: "Workspace") -> None:
        """Have a running service follow the settings; what does not work then is told."""
        try:
            now = await workspace.service.reload()
        except LlamaRunnerError as error:
            self.report(error, doing=self.tr("telling the service about the settings"))
            return
        for face in (now.openai, now.ollama):
            if face is not None and face.problem:
                self.notify(face.problem, severity=Severity.WARNING)

    def open_log(self) -> None:
        """The log view."""
        from llama_runner.ui.dialogs.log import LogDialog

        LogDialog(self.logs, self).show()

    def open_about(self) -> None:
        """Versions and licences."""
        from llama_runner.ui.dialogs.about import AboutDialog

        AboutDialog(self).open()

    def open_notices(self) -> None:
        """All notices."""
        NoticesDialog(self.notices, self.theme, self).show()

    # --- events --------------------------------------------------------------------------------------------

    def _fit_dock(self) -> None:
        # The splitter keeps its sizes when a limit changes; it is told to give the room to the tabs.
        wanted = FOLDED_HEIGHT if self.dock.folded else DOCK_HEIGHT
        self._splitter.setSizes([max(self._splitter.height() - wanted, 1), wanted])

    def come_to_front(self) -> None:
        """Another start of the program found this window."""
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()

    def _toggle_theme(self) -> None:
        self.theme.set_mode(ThemeMode.LIGHT if self.theme.colours.dark else ThemeMode.DARK)
        self._memory.set_text("theme", self.theme.mode.value)

    def _refresh_icons(self) -> None:
        for row, entry in enumerate(TABS):
            self._navigation.item(row).setIcon(self.theme.icon(entry.icon))
        self.theme.refresh_icons(self)

    def _on_reported(self, severity: str, message: str, hint: str) -> None:
        self.notices.add(message, severity=Severity(severity), details=hint)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Tell of the first paint: the start counts up to here."""
        super().paintEvent(event)
        if not self._first_paint_seen:
            self._first_paint_seen = True
            self.painted.emit()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Remember the place, disappear, let the session close the rest. A second close changes nothing."""
        self._memory.save_window(self)
        self._memory.save_splitter(self._splitter, "dock")
        for tab in self._tabs.values():
            for splitter in _named_splitters(tab):
                self._memory.save_splitter(splitter, splitter.objectName())
        self._memory.set_text("dock_folded", "yes" if self.dock.folded else "no")
        self._memory.set_text("tab", TABS[max(self._navigation.currentRow(), 0)].key)
        self._memory.write()
        event.accept()
        self.closing.emit()

    def changeEvent(self, event: QEvent) -> None:
        """Nothing reads the window while it is minimised: hidden tabs and dock stop by themselves."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.WindowStateChange:
            self.dock.set_resting(self.isMinimized())


def _named_splitters(tab: QWidget) -> Iterator[QSplitter]:
    """Those that remember their place; a name is unique in the window."""
    return (splitter for splitter in tab.findChildren(QSplitter) if splitter.objectName())
