"""The stress tab: a plan on the left; the run while it goes on and its result on the right."""

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QSizePolicy, QSplitter, QVBoxLayout, QWidget

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.stress.plan import BurstPlan
from llama_runner.stress.report import StressReport, Verdict
from llama_runner.ui.async_slots import async_slot_once, is_running
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.stress_live import LivePanel
from llama_runner.ui.tabs.stress_plan import PlanForm, in_numbers
from llama_runner.ui.tabs.stress_result import ResultPanel
from llama_runner.ui.theme import SPACE_M, SPACE_S, SPACE_XS
from llama_runner.ui.widgets.polling import Poller
from llama_runner.ui.widgets.questions import confirm
from llama_runner.ui.widgets.start_stop import StartStop
from llama_runner.ui.widgets.states import StateStack

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

PLAN_WIDTH: Final = 280
# Snapshots come four times a second.
READ_MS: Final = 125
# What can be waited for while the tab is hidden: ten minutes of the curve.
HIDDEN_SNAPSHOTS: Final = 2400


class StressTab(QWidget):
    """Loads the shared target. One run at a time; closing the tab ends it."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._stress = workspace.stress
        self._shell = shell
        self._snapshots = self._stress.snapshots.subscribe(HIDDEN_SNAPSHOTS)
        self.destroyed.connect(self._snapshots.close)
        self._form = PlanForm(workspace.settings.stress)
        self._go = StartStop(
            shell.theme,
            start=self.tr("Start"),
            stop=self.tr("Stop"),
            start_icon="mdi6.play",
            names=("stress-start", "stress-stop"),
            hints=(self.tr("Start the run"), self.tr("End the run now and keep what was measured (Esc)")),
        )
        self._go.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self._live = LivePanel(shell.theme)
        self._result = ResultPanel(shell.theme)
        self._result.hide()
        self._lay_out()
        self._form.edited.connect(self._show_buttons)
        self._form.submitted.connect(self._start)
        self._go.started.connect(self._start)
        self._go.stopped.connect(self._stop)
        self._result.said.connect(shell.say)
        self._escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self, self._stop)
        shell.target_changed.connect(self._show_target)
        self._show_target()
        self._show_empty()
        self._poller = Poller(self, self._read, interval_ms=READ_MS)

    def _lay_out(self) -> None:
        plan = QWidget()
        left = QVBoxLayout(plan)
        left.setContentsMargins(0, 0, 0, 0)
        left.setSpacing(SPACE_S)
        left.addWidget(self._form, 1)
        left.addWidget(self._go)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(SPACE_XS, 0, SPACE_XS, 0)
        column.setSpacing(SPACE_M)
        # The result on top: in a low window it is what is seen without scrolling.
        column.addWidget(self._result)
        column.addWidget(self._live, 1)
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setAccessibleName(self.tr("The run"))
        self._area.setWidget(page)
        self._stack = StateStack(self._shell.theme, self._area, icon="mdi6.speedometer")
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.setChildrenCollapsible(False)
        splitter.setHandleWidth(SPACE_S)
        splitter.addWidget(plan)
        splitter.addWidget(self._stack)
        splitter.setStretchFactor(0, 0)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([PLAN_WIDTH, 10_000])
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE_M, SPACE_M, SPACE_M, SPACE_S)
        row.addWidget(splitter)

    # --- running -------------------------------------------------------------------------------------------

    @async_slot_once
    async def _start(self) -> None:
        if self._stress.running:
            return
        if why_not := self._form.why_not():
            self._shell.say(why_not)
            return
        plan = self._form.plan(agreed=True)
        if plan is None or not await self._agreed(plan):
            return
        self._snapshots.drain()
        self._live.begin()
        self._result.hide()
        self._stack.show_content()
        try:
            await self._run(plan)
        finally:
            self._show_buttons()

    async def _agreed(self, plan: BurstPlan) -> bool:
        """Ask before a load that others may feel: what it will do is said in numbers first."""
        question = self._form.question(plan)
        return not question or await confirm(
            self,
            title=self.tr("Start the load test?"),
            text=question,
            action=self.tr("Start"),
            details=in_numbers(self._form, plan),
        )

    async def _run(self, plan: BurstPlan) -> None:
        try:
            report = await self._stress.run(plan)
        except LlamaRunnerError as error:
            self._live.end(self.tr("Not started"))
            self._stack.show_error(error, (self.tr("Try again"), self._start))
            return
        self._live.show_snapshots(self._snapshots.drain())
        self._show_report(report)

    @async_slot_once
    async def _stop(self) -> None:
        await self._stress.stop()

    # --- showing -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        self._live.show_snapshots(self._snapshots.drain())
        self._show_buttons()

    def _show_report(self, report: StressReport) -> None:
        words = {
            Verdict.COMPLETED: self.tr("Done"),
            Verdict.STOPPED: self.tr("Stopped"),
            Verdict.FAILED: self.tr("Broke off"),
        }
        self._live.end(words[report.verdict])
        self._result.show_report(report)
        self._result.show()
        self._shell.say(self.tr("Load test: {verdict}.").format(verdict=words[report.verdict].lower()))

    def _show_target(self) -> None:
        self._form.set_target(self._shell.target)
        if self._result.report is None and not self._stress.running:
            self._show_empty()

    def _show_empty(self) -> None:
        if self._shell.target is not None:
            self._stack.show_empty(
                self.tr("Nothing measured yet"),
                self.tr("A run keeps a number of requests in flight and measures the answers."),
                (self.tr("Start"), self._start),
            )
            return
        self._stack.show_empty(
            self.tr("Choose a model to load"),
            self.tr("Load one of your own models, or find a server that runs."),
            (self.tr("Load a model"), lambda: self._shell.open_tab("models")),
            (self.tr("Find servers"), lambda: self._shell.open_tab("discovery")),
        )

    def _show_buttons(self) -> None:
        running = self._stress.running
        self._go.set_running(running)
        self._escape.setEnabled(running)
        asking = is_running(self, "StressTab._start") and not running
        why_not = self.tr("Being started.") if asking else self._form.why_not()
        self._go.set_ready(not why_not, why_not)
