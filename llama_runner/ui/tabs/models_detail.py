"""The chosen model: what it does, what loading it would mean, and what its engine writes."""

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPlainTextEdit, QTabWidget, QVBoxLayout

from llama_runner.control.values import Instance
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.text import visible_controls
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.tabs.models_plan import plan_words
from llama_runner.ui.tabs.models_requests import RequestsView
from llama_runner.ui.tabs.models_rows import ModelLine, summary_of
from llama_runner.ui.theme import SPACE_M, SPACE_S, SPACE_XS, mono_font
from llama_runner.ui.widgets.busy import BusyBar
from llama_runner.ui.widgets.label import NameLabel, PlainLabel

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

LOG_LINES: Final = 1000
LINE_CHARS: Final = 2000
# What a plan depends on: of every instance.
PlanKey = tuple[str, tuple[tuple[str, str, bool, bool], ...]]


class ModelDetail(QFrame):
    """Shows the line it is told. `stop_wanted`: loading is to be given up."""

    stop_wanted = Signal()

    def __init__(self, workspace: "Workspace", requests: RequestsView) -> None:
        super().__init__()
        self._workspace = workspace
        self._log_of: str | None = None
        self._log_next = 0
        self._planned: PlanKey | None = None
        self._line: ModelLine | None = None
        self._title = NameLabel()
        self._title.setAccessibleName(self.tr("Chosen model"))
        self._busy = BusyBar(name=self.tr("Loading"))
        self._busy.stopped.connect(self.stop_wanted)
        self._summary = PlainLabel(muted=True, wrap=True, selectable=True)
        self._summary.setAccessibleName(self.tr("State of the chosen model"))
        self._plan = PlainLabel(wrap=True, selectable=True)
        self._plan.setAccessibleName(self.tr("What loading it would mean"))
        self._build_log()
        self._lay_out(requests)

    def _build_log(self) -> None:
        self._log = QPlainTextEdit()
        self._log.setReadOnly(True)
        self._log.setFont(mono_font(0.9))
        self._log.setMaximumBlockCount(LOG_LINES)
        self._log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._log.setTabChangesFocus(True)
        self._log.setAccessibleName(self.tr("Output of the engine"))
        self._log.setPlaceholderText(self.tr("What the engine writes while it runs this model appears here."))

    def _lay_out(self, requests: RequestsView) -> None:
        head = QHBoxLayout()
        head.setSpacing(SPACE_M)
        head.addWidget(self._title, 1)
        head.addWidget(self._busy, 2)
        views = QTabWidget()
        views.setDocumentMode(True)
        views.setAccessibleName(self.tr("Output and requests"))
        views.tabBar().setAccessibleName(self.tr("Output or requests"))
        views.addTab(self._log, self.tr("Output of the engine"))
        views.addTab(requests, self.tr("Requests of other programs"))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, SPACE_S, 0, 0)
        column.setSpacing(SPACE_XS)
        column.addLayout(head)
        column.addWidget(self._summary)
        column.addWidget(self._plan)
        column.addWidget(views, 1)

    def show_line(self, line: ModelLine | None) -> None:
        """Another choice, or news of the same."""
        self._line = line
        instance = line.instance if line is not None else None
        self._choose_log(instance.id if instance is not None else None)
        if line is None:
            self._title.set_name(self.tr("Choose a model to see what it does"))
            self._summary.setText("")
            self._busy.end()
            self._say_plan("")
            return
        self._title.set_name(line.file.name or line.file.id)
        self._summary.setText(visible_controls(summary_of(line), LINE_CHARS))
        self._summary.set_status("bad" if line.at_fault else "")
        self._show_progress(instance)
        self._follow_plan(line)
        if instance is not None:
            self._read_log(instance.id)

    def _show_progress(self, instance: Instance | None) -> None:
        if instance is None or instance.state not in ("starting", "backoff"):
            self._busy.end()
            return
        if self._busy.isHidden():
            self._busy.begin(self.tr("Loading"))
        self._busy.progress(instance.progress)

    # --- the plan ------------------------------------------------------------------------------------------

    def _follow_plan(self, line: ModelLine) -> None:
        """Ask for it anew whenever it may have become another one."""
        if line.running or line.file.problem is not None:
            self._planned = None
            self._say_plan("")
            return
        residents = self._workspace.service.snapshot.instances
        key = (
            line.file.id,
            tuple((one.id, one.state, one.pinned, bool(one.in_flight)) for one in residents),
        )
        if key != self._planned:
            self._ask_plan(key)

    @async_slot_once
    async def _ask_plan(self, key: PlanKey) -> None:
        try:
            words = plan_words(await self._workspace.service.plan(key[0]))
        except LlamaRunnerError as error:
            # Said where it would be read; loading would say the same.
            words = f"{error.message} {error.hint}".strip()
        self._planned = key
        if self._line is not None and self._line.file.id == key[0] and not self._line.running:
            self._say_plan(words)

    def _say_plan(self, words: str) -> None:
        self._plan.setText(words)
        self._plan.setVisible(bool(words))

    # --- the log -------------------------------------------------------------------------------------------

    def _choose_log(self, instance_id: str | None) -> None:
        if instance_id != self._log_of:
            self._log_of, self._log_next = instance_id, 0
            self._log.clear()

    @async_slot_once
    async def _read_log(self, instance_id: str) -> None:
        try:
            chunk = await self._workspace.service.log(instance_id, after=self._log_next)
        except LlamaRunnerError:
            # It went away between the look and the question; the next look knows.
            return
        if instance_id == self._log_of and chunk.lines:
            self._log_next = chunk.next
            text = "\n".join(visible_controls(text, LINE_CHARS) for text in chunk.lines)
            self._log.appendPlainText(text)
