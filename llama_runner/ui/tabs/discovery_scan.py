"""Looking for servers: this computer at a click, a network after a dialog; progress, stop, results."""

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QApplication, QHBoxLayout, QPushButton, QWidget
from shiboken6 import isValid

from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.text import visible_controls
from llama_runner.discovery.networks import ScanPlan
from llama_runner.ui.async_slots import async_slot, async_slot_once
from llama_runner.ui.dialogs.scan import ScanDialog
from llama_runner.ui.dialogs.server import AddServerDialog
from llama_runner.ui.tabs import Shell
from llama_runner.ui.theme import SPACE_S, tooltip
from llama_runner.ui.widgets.busy import BusyBar

if TYPE_CHECKING:
    from llama_runner.discovery.scan import ScanReport
    from llama_runner.workspace import Workspace

MAX_NAMED: Final = 20


class ScanBar(QWidget):
    """The buttons that find and add servers. `ended`: a scan is over; `added`: the id of a new server."""

    ended = Signal(object)
    added = Signal(str)

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        theme = shell.theme
        self._here = self._button(
            self.tr("Scan this computer"),
            self.tr("Looks at the known ports of this computer and at nothing else. (Ctrl+R)"),
            primary=True,
        )
        self._network = self._button(
            self.tr("Scan a network…"),
            self.tr("Shows first which hosts and ports would be tried. Asks nobody before you agree."),
        )
        self._add = self._button(
            self.tr("Add a server…"), self.tr("By its address, with a key if it wants one. (Ctrl+N)")
        )
        for button, icon in (
            (self._here, "mdi6.radar"),
            (self._network, "mdi6.lan"),
            (self._add, "mdi6.plus"),
        ):
            theme.give_icon(button, icon)
        self._here.clicked.connect(self.scan_here)
        self._network.clicked.connect(self.open_scan)
        self._add.clicked.connect(self.open_add)
        self._busy = BusyBar(name=self.tr("Scan"))
        self._busy.stopped.connect(self._stop)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(SPACE_S)
        row.addWidget(self._here)
        row.addWidget(self._network)
        row.addWidget(self._busy, 1)
        row.addWidget(self._add)
        row.addStretch(0)

    def _button(self, text: str, hint: str, *, primary: bool = False) -> QPushButton:
        button = QPushButton(text)
        button.setAccessibleName(text)
        button.setToolTip(tooltip(hint))
        button.setProperty("primary", primary)
        return button

    def open_add(self) -> None:
        """Ask for the address of a server."""
        dialog = AddServerDialog(self._workspace, self)
        dialog.done_with.connect(self.added)
        dialog.open()

    def open_scan(self) -> None:
        """Ask which network is to be scanned."""
        dialog = ScanDialog(self._workspace, self)
        dialog.planned.connect(self.scan)
        dialog.open()

    def scan_here(self) -> None:
        """Scan this computer."""
        self.scan(None)

    @async_slot_once
    async def scan(self, plan: ScanPlan | None) -> None:
        """Scan, unless a scan runs."""
        discovery = self._workspace.discovery
        if discovery.scanning:
            return
        self._show_running(True)
        try:
            report = await discovery.scan(plan)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("scanning"))
        else:
            self._tell(report)
            self.ended.emit(report)
        finally:
            if isValid(self):
                self._show_running(False)

    def _show_running(self, running: bool) -> None:
        """Progress and stop stand where the start is; the keyboard's focus follows."""
        buttons = (self._here, self._network)
        leaving = buttons if running else (self._busy,)
        focus = QApplication.focusWidget()
        had_focus = focus is not None and any(w is focus or w.isAncestorOf(focus) for w in leaving)
        if running:
            self._busy.begin(self.tr("Looking at known ports"))
        for button in buttons:
            button.setVisible(not running)
        if had_focus:
            (self._busy if running else self._here).setFocus()
        if not running:
            self._busy.end()

    @async_slot
    async def _stop(self) -> None:
        await self._workspace.discovery.stop()

    def follow(self) -> None:
        """Show how far the scan is."""
        discovery = self._workspace.discovery
        progress = discovery.progress.latest
        if not discovery.scanning or progress is None or progress.phase == "done":
            return
        words = (
            self.tr("{done} of {total}, {found} found")
            if progress.phase == "connect"
            else self.tr("{done} of {total} asked, {found} found")
        )
        self._busy.progress(
            progress.done / progress.total if progress.total else None,
            words.format(
                done=format.count(progress.done),
                total=format.count(progress.total),
                found=format.count(progress.found),
            ),
        )

    def _tell(self, report: "ScanReport") -> None:
        words = self.tr("{found} found on {probed} ports in {time}").format(
            found=format.count(len(report.found)),
            probed=format.count(report.probed),
            time=format.seconds(report.elapsed_s),
        )
        self._shell.say(self.tr("Scan stopped: {words}").format(words=words) if report.stopped else words)
        if report.rejected:
            self._shell.notify(
                self.tr("Not model servers, or not ones that are known: {n} open ports").format(
                    n=format.count(len(report.rejected))
                ),
                details=rejected_words(report),
            )


def rejected_words(report: "ScanReport") -> str:
    """What was open and is no model server, and why, in one line: a notice shows no more."""
    named = [f"{one.url}: {visible_controls(one.reason)}" for one in report.rejected[:MAX_NAMED]]
    return " ".join(named)
