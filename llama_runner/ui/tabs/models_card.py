"""The chosen model: what is known of it, how it is loaded, what its engine writes, what memory it takes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QTabWidget, QVBoxLayout, QWidget

from llama_runner.control.serving import InstanceActivity
from llama_runner.control.values import EngineInfo, Instance, Plan, ServedModel
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.text import visible_controls
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.models_facts import activity_facts, file_facts, instance_facts
from llama_runner.ui.tabs.models_follow import PlanFollower
from llama_runner.ui.tabs.models_log import LogView
from llama_runner.ui.tabs.models_options import OptionsPage
from llama_runner.ui.tabs.models_plan import memory_bars, plan_words
from llama_runner.ui.tabs.models_rows import ModelLine, problem_of, state_kind, state_text
from llama_runner.ui.theme import SPACE_M, SPACE_S, SPACE_XS
from llama_runner.ui.widgets.busy import BusyBar
from llama_runner.ui.widgets.facts import FactList, details_area
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.stacked_bar import StackedBar

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

TEXT_CHARS: Final = 2000
# Places of the pages.
DETAILS: Final = 0
# Narrower and a field of the form has no room beside its title.
LEAST_WIDTH: Final = 320


class ModelCard(QFrame):
    """Shows the line it is told. `stop_wanted`: loading is to be given up."""

    stop_wanted = Signal()

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace = workspace
        self._line: ModelLine | None = None
        self._theme = shell.theme
        self._activity: InstanceActivity | None = None
        self._title = NameLabel()
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        self._title.setAccessibleName(self.tr("Chosen model"))
        self._problem = PlainLabel(wrap=True, selectable=True)
        self._problem.setObjectName("errorText")
        self._problem.setAccessibleName(self.tr("What is wrong with the chosen model"))
        self._problem.hide()
        self._state = PlainLabel()
        self._state.setAccessibleName(self.tr("State of the chosen model"))
        self._busy = BusyBar(name=self.tr("Loading"))
        self._busy.stopped.connect(self.stop_wanted)
        self._bars: list[StackedBar] = []
        self._options = OptionsPage(workspace, shell)
        self._log = LogView(workspace, shell)
        self._plans = PlanFollower(workspace, parent=self)
        self._lay_out()
        self._options.edited.connect(self._follow_plan)
        self._plans.planned.connect(self._show_plan)
        self._plans.failed.connect(self._show_no_plan)

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(SPACE_M)
        head.addWidget(self._title, 1)
        head.addWidget(self._state)
        self._pages = QTabWidget()
        self._pages.setDocumentMode(True)
        self._pages.tabBar().setDrawBase(False)
        self._pages.setAccessibleName(self.tr("About the chosen model"))
        self._pages.tabBar().setAccessibleName(self.tr("Details, options or output"))
        self._pages.addTab(self._details_page(), self.tr("Details"))
        self._pages.addTab(self._options, self.tr("Options"))
        self._pages.addTab(self._log, self.tr("Output"))
        self._memory = QVBoxLayout()
        self._memory.setSpacing(SPACE_XS)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_S, 0, 0, 0)
        column.setSpacing(SPACE_XS)
        column.addLayout(head)
        column.addWidget(self._problem)
        column.addWidget(self._busy)
        column.addWidget(self._pages, 1)
        column.addLayout(self._memory)
        self.setMinimumWidth(LEAST_WIDTH)

    def _details_page(self) -> QWidget:
        self._plan = PlainLabel(wrap=True, selectable=True)
        self._plan.setAccessibleName(self.tr("What loading it would mean"))
        self._doing = FactList(name=self.tr("What it does now"))
        self._doing.hide()
        self._running = FactList(name=self.tr("About what runs"))
        self._file = FactList(name=self.tr("About the file"))
        name = self.tr("Details of the chosen model")
        return details_area(name, self._plan, self._doing, self._running, self._file)

    @property
    def options(self) -> LoadOptions | None:
        """How the chosen model is to be loaded; None while something entered cannot be used."""
        return self._options.options

    @property
    def profile(self) -> str | None:
        """The profile that the options start from; None for the model's own."""
        return self._options.profile

    def show_engines(self, engines: Sequence[EngineInfo]) -> None:
        """These can be chosen."""
        self._options.show_engines(engines)

    def as_text(self) -> str:
        """All details, tab-separated, to be copied."""
        lists = (self._doing, self._running, self._file)
        return "\n".join(filter(None, (self._title.text(), *(facts.as_text() for facts in lists))))

    def show_page(self, page: int) -> None:
        """Bring details, options or output to the front."""
        self._pages.setCurrentIndex(page)

    def go_to_options(self) -> None:
        """Have the keyboard's focus where options are looked for."""
        self._pages.setCurrentWidget(self._options)
        self._options.go_to_search()

    def show_line(self, line: ModelLine | None, files: Sequence[ServedModel]) -> None:
        """Another choice, or news of the same.

        Args:
            files: All model files.
        """
        another = (line.file.id if line else None) != (self._line.file.id if self._line else None)
        self._line = line
        if another:
            self._log.forget()
            self._doing.hide()
            self._activity = None
        self._pages.setEnabled(line is not None)
        self._title.set_name(
            line.file.id if line is not None else self.tr("Choose a model to see what it does")
        )
        self._state.setText(state_text(line) if line is not None else "")
        self._state.set_status(state_kind(line) if line is not None else "")
        problem = problem_of(line) if line is not None else ""
        self._problem.setText(visible_controls(problem, TEXT_CHARS))
        self._problem.setVisible(bool(problem))
        self._file.show_facts(file_facts(line) if line is not None else ())
        running = instance_facts(line) if line is not None else ()
        self._running.show_facts(running)
        self._running.setVisible(bool(running))
        instance = line.instance if line is not None else None
        self._show_progress(instance)
        self._log.show_instance(instance.id if instance is not None else None)
        self._options.show_file(line.file if line is not None else None, files)
        self._follow_plan()

    def _show_progress(self, instance: Instance | None) -> None:
        if instance is None or instance.state not in ("starting", "backoff"):
            self._busy.end()
            return
        if self._busy.isHidden():
            self._busy.begin(self.tr("Loading"))
        share = instance.progress
        words = self.tr("Loading") if share is None else self.tr("{n} % loaded").format(n=round(share * 100))
        self._busy.progress(share, words)

    # --- what the engine does ------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask what the engine is doing, while somebody looks."""
        serving = self._line.serving if self._line is not None else None
        if serving is None:
            self._activity = None
            self._doing.hide()
        elif self._pages.currentIndex() == DETAILS:
            self._ask_activity(serving.id)

    @async_slot_once
    async def _ask_activity(self, instance_id: str) -> None:
        try:
            now = await (await self._workspace.service.ensure()).activity(instance_id)
        except LlamaRunnerError:
            # It went away between the look and the question; the next look knows.
            return
        serving = self._line.serving if self._line is not None else None
        if serving is not None and serving.id == instance_id:
            self._doing.show_facts(activity_facts(now, self._activity))
            self._doing.show()
            self._activity = now

    # --- the plan ------------------------------------------------------------------------------------------

    def _follow_plan(self) -> None:
        line = self._line
        if line is None or line.file.problem is not None:
            self._plans.forget()
            self._say_plan("")
            self._show_bars(None)
            return
        connected = self._workspace.service.connected
        if connected and (options := self._options.options) is not None:
            self._plans.follow(line.file.id, options, self._options.profile)

    def _show_plan(self, plan: Plan) -> None:
        self._say_plan("" if plan.loaded else plan_words(plan))
        self._show_bars(plan)
        self._options.show_plan(plan)

    def _show_no_plan(self, error: LlamaRunnerError) -> None:
        # Said where it would be read; loading would say the same.
        self._say_plan(f"{error.message} {error.hint}".strip())
        self._show_bars(None)
        self._options.show_no_plan(error)

    def _show_bars(self, plan: Plan | None) -> None:
        bars = memory_bars(plan) if plan is not None else ()
        while len(self._bars) < len(bars):
            self._bars.append(StackedBar(self._theme, name=self.tr("Memory that loading takes")))
            self._memory.addWidget(self._bars[-1])
        for number, widget in enumerate(self._bars):
            widget.setVisible(number < len(bars))
            if number < len(bars):
                bar = bars[number]
                widget.show_parts(bar.title, bar.parts, whole=bar.whole, mark=bar.mark, status=bar.status)

    def _say_plan(self, words: str) -> None:
        self._plan.setText(words)
        self._plan.setVisible(bool(words))
