"""Models: the GGUF files found here, loading and unloading them, and what the engine says meanwhile."""

import sys
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from llama_runner.control.values import EngineInfo, Instance, ServedModel
from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.text import visible_controls
from llama_runner.ui.async_slots import async_slot, async_slot_once, is_running
from llama_runner.ui.tabs import Severity, Shell
from llama_runner.ui.theme import SPACE_L, SPACE_M, SPACE_S, mono_font, tooltip
from llama_runner.ui.widgets.busy import BusyBar
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.polling import Poller
from llama_runner.ui.widgets.questions import confirm
from llama_runner.ui.widgets.states import StateStack
from llama_runner.ui.widgets.tables import Column, DataTable
from llama_runner.workspace.service_link import LinkState

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

LOOK_MS: Final = 250
LOG_LINES: Final = 1000
RUNNING: Final = frozenset({"starting", "ready", "degraded", "backoff"})


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model file and the instance that runs it, if one does (or last did)."""

    file: ServedModel
    instance: Instance | None

    @property
    def running(self) -> bool:
        """Whether it is loaded or on its way."""
        return self.instance is not None and self.instance.state in RUNNING


class ModelsTab(QWidget):
    """See the module."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._files: tuple[ServedModel, ...] = ()
        self._listed = False
        self._link_state: LinkState | None = LinkState.CONNECTED
        self._log_of: str | None = None
        self._log_next = 0
        self._engine = NameLabel(muted=True)
        self._engine.setAccessibleName(self.tr("Engine in use"))
        self._table: DataTable[ModelLine] = DataTable(
            self._columns(), lambda line: line.file.id, name=self.tr("Model files")
        )
        self._build_actions()
        self._build_detail()
        splitter = QSplitter(Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(self._table)
        splitter.addWidget(self._detail)
        splitter.setStretchFactor(0, 3)
        splitter.setStretchFactor(1, 2)
        self._states = StateStack(shell.theme, splitter, icon="mdi6.cube-outline")
        self._lay_out()
        self._table.chosen.connect(self._choice_changed)
        self._table.doubleClicked.connect(self._load_or_use)
        self._states.show_loading(self.tr("Looking for model files"))
        self._poller = Poller(self, self._read, interval_ms=LOOK_MS)

    # --- building ------------------------------------------------------------------------------------------

    def _columns(self) -> tuple[Column[ModelLine], ...]:
        return (
            Column(
                self.tr("State"),
                self._state_text,
                cell_hint=self._state_hint,
                colour=self._state_colour,
            ),
            Column(
                self.tr("Model"),
                lambda line: line.file.id,
                cell_hint=lambda line: line.file.path,
                stretch=True,
            ),
            Column(self.tr("Architecture"), lambda line: line.file.architecture or format.UNKNOWN),
            Column(
                self.tr("Quantization"),
                lambda line: line.file.quantization or format.UNKNOWN,
                hint=self.tr(
                    "How the weights were shortened: fewer bits take less memory and lose precision."
                ),
            ),
            Column(
                self.tr("Context (tokens)"),
                lambda line: format.count(line.file.context_length),
                lambda line: line.file.context_length,
                number=True,
                hint=self.tr("The longest conversation it was trained for."),
            ),
            Column(
                self.tr("File size"),
                lambda line: format.size(line.file.size_bytes),
                lambda line: line.file.size_bytes,
                number=True,
            ),
            Column(
                self.tr("RAM"),
                lambda line: format.size(line.instance.ram_bytes if line.instance else None),
                lambda line: line.instance.ram_bytes if line.instance else None,
                number=True,
                hint=self.tr("Memory that its process uses now."),
            ),
            Column(self.tr("From"), lambda line: line.file.origin),
        )

    def _build_actions(self) -> None:
        self._load_button = QPushButton(self.tr("Load"))
        self._load_button.setProperty("primary", True)
        self._load_button.setToolTip(tooltip(self.tr("Start an engine with the chosen model.")))
        self._unload_button = QPushButton(self.tr("Unload"))
        self._unload_button.setToolTip(tooltip(self.tr("Stop the engine of the chosen model.")))
        self._target_button = QPushButton(self.tr("Use as target"))
        self._target_button.setToolTip(tooltip(self.tr("Talk to the chosen model in every tab.")))
        self._refresh_button = QPushButton(self.tr("Look again"))
        self._refresh_button.setToolTip(tooltip(self.tr("Look for model files again.")))
        self._filter = QLineEdit()
        self._filter.setPlaceholderText(self.tr("Filter"))
        self._filter.setAccessibleName(self.tr("Filter models"))
        self._filter.setClearButtonEnabled(True)
        self._filter.textChanged.connect(self._table.set_filter)
        for button in (self._load_button, self._unload_button, self._target_button, self._refresh_button):
            button.setAccessibleName(button.text())
        self._load_button.clicked.connect(self._load)
        self._unload_button.clicked.connect(self._unload)
        self._target_button.clicked.connect(self._use_as_target)
        self._refresh_button.clicked.connect(self._list)

    def _build_detail(self) -> None:
        self._title = NameLabel()
        self._title.setAccessibleName(self.tr("Chosen model"))
        self._summary = PlainLabel(muted=True, wrap=True, selectable=True)
        self._summary.setAccessibleName(self.tr("State of the chosen model"))
        self._busy = BusyBar(name=self.tr("Loading"))
        self._busy.stopped.connect(self._unload)
        self._log = QPlainTextEdit()
        self._log.setReadOnly(True)
        self._log.setFont(mono_font(0.9))
        self._log.setMaximumBlockCount(LOG_LINES)
        self._log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._log.setTabChangesFocus(True)
        self._log.setAccessibleName(self.tr("Output of the engine"))
        self._log.setPlaceholderText(self.tr("What the engine writes while it runs this model appears here."))
        self._detail = QFrame()
        column = QVBoxLayout(self._detail)
        column.setContentsMargins(0, SPACE_S, 0, 0)
        column.setSpacing(SPACE_S)
        head = QHBoxLayout()
        head.setSpacing(SPACE_M)
        head.addWidget(self._title, 1)
        head.addWidget(self._busy, 2)
        column.addLayout(head)
        column.addWidget(self._summary)
        column.addWidget(self._log, 1)

    def _lay_out(self) -> None:
        actions = QHBoxLayout()
        actions.setSpacing(SPACE_S)
        for button in (self._load_button, self._unload_button, self._target_button):
            actions.addWidget(button)
        actions.addSpacing(SPACE_M)
        actions.addWidget(self._engine, 1)
        actions.addWidget(self._filter)
        actions.addWidget(self._refresh_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_L, SPACE_M, SPACE_L, SPACE_M)
        column.setSpacing(SPACE_S)
        column.addLayout(actions)
        column.addWidget(self._states, 1)

    # --- showing -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        state = self._workspace.service.snapshot.state
        if not self._listed or (state is not self._link_state and state is LinkState.CONNECTED):
            self._list()
        self._link_state = state
        instances = {instance.model: instance for instance in self._workspace.service.snapshot.instances}
        self._table.set_rows([ModelLine(file, instances.get(file.id)) for file in self._files])
        self._show_detail()
        line = self._table.current
        if line is not None and line.instance is not None:
            self._follow_log(line.instance.id)

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
            self._states.show_content()
            self._read()
            self._choose_first()
        else:
            self._show_empty()

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

    def _choice_changed(self) -> None:
        self._show_detail()
        line = self._table.current
        instance = line.instance if line is not None else None
        if (instance.id if instance else None) != self._log_of:
            self._log_of, self._log_next = (instance.id if instance else None), 0
            self._log.clear()

    def _show_detail(self) -> None:
        line = self._table.current
        running = line is not None and line.running
        loading = is_running(self, "ModelsTab._load")
        usable = line is not None and line.file.problem is None
        self._load_button.setEnabled(usable and not running and not loading)
        self._unload_button.setEnabled(running)
        self._target_button.setEnabled(
            line is not None and line.instance is not None and line.instance.state == "ready"
        )
        if line is None:
            self._title.set_name(self.tr("Choose a model to see what it does"))
            self._summary.setText("")
            self._busy.end()
            return
        self._title.set_name(line.file.name or line.file.id)
        self._summary.setText(self._summary_of(line))
        self._summary.set_status("bad" if line.file.problem or _failed(line) else "")
        self._show_progress(line.instance)

    def _show_progress(self, instance: Instance | None) -> None:
        if instance is None or instance.state not in ("starting", "backoff"):
            self._busy.end()
            return
        if self._busy.isHidden():
            self._busy.begin(self.tr("Loading"))
        self._busy.progress(instance.progress)

    def _summary_of(self, line: ModelLine) -> str:
        if line.file.problem is not None:
            return line.file.problem
        instance = line.instance
        if instance is None or instance.state == "stopped":
            return line.file.path
        if instance.error is not None:
            return f"{instance.error} {instance.advice or ''}".strip()
        parts = [self._state_text(line)]
        if instance.load_s is not None:
            parts.append(self.tr("loaded in {time}").format(time=format.seconds(instance.load_s)))
        if instance.port is not None:
            parts.append(self.tr("port {port}").format(port=instance.port))
        if instance.pid is not None:
            parts.append(self.tr("process {pid}").format(pid=instance.pid))
        return " · ".join(parts)

    def _state_text(self, line: ModelLine) -> str:
        if line.file.problem is not None:
            return self.tr("⚠ unusable")
        state = line.instance.state if line.instance is not None else "stopped"
        words = {
            "stopped": self.tr("○ not loaded"),
            "starting": self.tr("◌ loading"),
            "ready": self.tr("● ready"),
            "degraded": self.tr("◑ degraded"),
            "stopping": self.tr("◌ stopping"),
            "backoff": self.tr("◌ waiting to retry"),
            "failed": self.tr("✕ failed"),
        }
        progress = line.instance.progress if line.instance is not None else None
        share = f" {format.percent(round(progress * 100))}" if state == "starting" and progress else ""
        return words[state] + share

    def _state_hint(self, line: ModelLine) -> str:
        return self._summary_of(line)

    def _state_colour(self, line: ModelLine) -> str | None:
        colours = self._shell.theme.colours
        if line.file.problem is not None:
            return colours.warning
        state = line.instance.state if line.instance is not None else "stopped"
        known = {"ready": colours.good, "failed": colours.bad, "degraded": colours.warning}
        return known.get(state, colours.muted if state == "stopped" else None)

    # --- doing ---------------------------------------------------------------------------------------------

    def _load_or_use(self) -> None:
        line = self._table.current
        if line is not None and line.instance is not None and line.instance.state == "ready":
            self._use_as_target()
        else:
            self._load()

    @async_slot_once
    async def _load(self) -> None:
        line = self._table.current
        if line is None or line.file.problem is not None:
            return
        name = visible_controls(line.file.id, 80)
        self._shell.say(self.tr("Loading {model}").format(model=name))
        try:
            instance = await self._workspace.service.ensure_ready(line.file.id)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("loading {model}").format(model=name))
            self._shell.say(self.tr("{model} was not loaded").format(model=name))
            return
        self._shell.say(
            self.tr("{model} is ready after {time}").format(model=name, time=format.seconds(instance.load_s))
        )
        self._make_target(instance)

    @async_slot_once
    async def _unload(self) -> None:
        line = self._table.current
        if line is None or line.instance is None:
            return
        name = visible_controls(line.file.id, 80)
        if line.instance.in_flight and not await confirm(
            self,
            title=self.tr("Unload while it answers?"),
            text=self.tr("{model} is answering {n} requests; they end now.").format(
                model=name, n=line.instance.in_flight
            ),
            action=self.tr("Unload"),
        ):
            return
        await self._workspace.service.unload(line.instance.id)
        self._shell.say(self.tr("Unloaded {model}").format(model=name))

    def _use_as_target(self) -> None:
        line = self._table.current
        if line is not None and line.instance is not None and line.instance.state == "ready":
            self._make_target(line.instance)

    def _make_target(self, instance: Instance) -> None:
        record = self._workspace.registry.at(instance.url or "")
        if record is not None:
            self._shell.set_target(record.id, instance.model)

    def _follow_log(self, instance_id: str) -> None:
        if not is_running(self, "ModelsTab._read_log"):
            self._read_log(instance_id)

    @async_slot
    async def _read_log(self, instance_id: str) -> None:
        if instance_id != self._log_of:
            self._log_of, self._log_next = instance_id, 0
            self._log.clear()
        try:
            chunk = await self._workspace.service.log(instance_id, after=self._log_next)
        except LlamaRunnerError:
            # It went away between the look and the question; the next look knows.
            return
        if instance_id == self._log_of and chunk.lines:
            self._log_next = chunk.next
            text = "\n".join(visible_controls(text, 2000) for text in chunk.lines)
            self._log.appendPlainText(text)


def _failed(line: ModelLine) -> bool:
    return line.instance is not None and line.instance.error is not None
