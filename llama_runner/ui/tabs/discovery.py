"""Discovery: every known server in one table, ways to find and add more, and one click to talk to one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from llama_runner.backends.models import ModelInfo
from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError, UsageError
from llama_runner.core.text import visible_controls
from llama_runner.discovery.registry import ServerRecord, ServerSource, ServerStatus
from llama_runner.net.addresses import is_loopback, parse_server_url
from llama_runner.ui.async_slots import async_slot, async_slot_once
from llama_runner.ui.tabs import Shell
from llama_runner.ui.theme import SPACE_L, SPACE_M, SPACE_S, tooltip
from llama_runner.ui.widgets.busy import BusyBar
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.polling import Poller
from llama_runner.ui.widgets.questions import confirm
from llama_runner.ui.widgets.states import StateStack
from llama_runner.ui.widgets.tables import Column, DataTable

if TYPE_CHECKING:
    from llama_runner.discovery.manager import ScanReport
    from llama_runner.workspace import Workspace

MAX_NAMED_MODELS: Final = 3
KEY_WIDTH: Final = 180
# The registry changes by the second at most; ten looks a second show each change at once.
LOOK_MS: Final = 100

_MARKS: Final = {
    ServerStatus.ONLINE: "●",
    ServerStatus.OFFLINE: "○",
    ServerStatus.NEEDS_KEY: "◐",
    ServerStatus.ERROR: "◑",
    ServerStatus.NOT_CHECKED: "◌",
}


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model of the chosen server."""

    server_id: str
    info: ModelInfo


class DiscoveryTab(QWidget):
    """See the module."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._seen_revision = -1
        self._servers: DataTable[ServerRecord] = DataTable(
            self._server_columns(), lambda record: record.id, name=self.tr("Known servers")
        )
        self._models: DataTable[ModelRow] = DataTable(
            self._model_columns(), lambda row: row.info.id, name=self.tr("Models of the chosen server")
        )
        self._build_actions()
        self._build_add_form()
        self._busy = BusyBar(name=self.tr("Scan"))
        self._busy.stopped.connect(self._stop_scan)
        self._problem = PlainLabel(wrap=True, selectable=True)
        self._problem.setAccessibleName(self.tr("What is wrong with the chosen server"))
        self._states = StateStack(shell.theme, self._content(), icon="mdi6.radar")
        self._lay_out()
        self._servers.chosen.connect(self._choice_changed)
        self._servers.doubleClicked.connect(self._use_as_target)
        self._models.chosen.connect(self._choice_changed)
        self._models.doubleClicked.connect(self._use_as_target)
        self._poller = Poller(self, self._read, interval_ms=LOOK_MS)
        self._read()

    # --- building ------------------------------------------------------------------------------------------

    def _server_columns(self) -> tuple[Column[ServerRecord], ...]:
        return (
            Column(
                self.tr("Status"),
                lambda r: f"{_MARKS[r.status]} {self._status_word(r.status)}",
                lambda r: r.status.value,
                cell_hint=lambda r: r.problem or self._status_word(r.status),
                colour=self._status_colour,
            ),
            Column(self.tr("Address"), lambda r: r.address, stretch=True),
            Column(
                self.tr("Engine"),
                lambda r: r.product or r.engine.value,
                cell_hint=lambda r: self.tr("{name}, {certainty}").format(
                    name=r.product or r.engine.value, certainty=r.certainty.value
                ),
                hint=self.tr("The program that serves, recognised by its answers; not by what it claims."),
            ),
            Column(self.tr("Version"), lambda r: r.version or format.UNKNOWN),
            Column(self.tr("Models"), _model_names, lambda r: len(r.models), stretch=True),
            Column(
                self.tr("Latency"),
                lambda r: format.seconds(r.latency_s),
                lambda r: r.latency_s,
                number=True,
                hint=self.tr("Time of one small request at the last check."),
            ),
            Column(self.tr("From"), lambda r: self._source_word(r.source)),
            Column(
                self.tr("Last seen"),
                lambda r: f"{r.last_seen_utc:%H:%M:%S}" if r.last_seen_utc else format.UNKNOWN,
                lambda r: r.last_seen_utc.timestamp() if r.last_seen_utc else None,
                cell_hint=lambda r: format.moment(r.last_seen_utc),
                number=True,
                hint=self.tr("Time of day in UTC at which it last answered."),
            ),
        )

    def _model_columns(self) -> tuple[Column[ModelRow], ...]:
        return (
            Column(self.tr("Model"), lambda row: row.info.id, stretch=True),
            Column(
                self.tr("Context (tokens)"),
                lambda row: format.count(row.info.context_length),
                lambda row: row.info.context_length,
                number=True,
                hint=self.tr("Tokens of prompt and answer together that one conversation may have."),
            ),
            Column(
                self.tr("Size"),
                lambda row: format.size(row.info.size_bytes),
                lambda row: row.info.size_bytes,
                number=True,
            ),
            Column(self.tr("Quantization"), lambda row: row.info.quantization or format.UNKNOWN),
            Column(
                self.tr("In memory"),
                lambda row: {True: self.tr("yes"), False: self.tr("no"), None: format.UNKNOWN}[
                    row.info.loaded
                ],
            ),
        )

    def _button(self, text: str, hint: str, *, primary: bool = False) -> QPushButton:
        button = QPushButton(text)
        button.setAccessibleName(text)
        button.setToolTip(tooltip(hint))
        button.setProperty("primary", primary)
        return button

    def _build_actions(self) -> None:
        self._scan_button = self._button(
            self.tr("Scan this computer"),
            self.tr("Looks at the known ports of this computer and at nothing else."),
            primary=True,
        )
        self._check_button = self._button(
            self.tr("Check"), self.tr("Asks the chosen server, or all of them, how they are.")
        )
        self._remove_button = self._button(
            self.tr("Remove"), self.tr("Takes the chosen server off the list.")
        )
        self._target_button = self._button(
            self.tr("Use as target"), self.tr("Talk to the chosen server and model in every tab.")
        )
        self._scan_button.clicked.connect(self._scan)
        self._check_button.clicked.connect(self._check)
        self._remove_button.clicked.connect(self._remove)
        self._target_button.clicked.connect(self._use_as_target)

    def _build_add_form(self) -> None:
        self._url = QLineEdit()
        self._url.setPlaceholderText(self.tr("Add a server: http://host:port"))
        self._url.setAccessibleName(self.tr("Address of a server to add"))
        self._url.setMaxLength(2048)
        self._key = QLineEdit()
        self._key.setEchoMode(QLineEdit.EchoMode.Password)
        self._key.setPlaceholderText(self.tr("API key, if it wants one"))
        self._key.setAccessibleName(self.tr("API key of the server to add"))
        self._key.setFixedWidth(KEY_WIDTH)
        self._key.setToolTip(tooltip(self.tr("Kept in memory only and sent to this server only.")))
        self._add_button = self._button(self.tr("Add"), self.tr("Adds the server and asks it what it is."))
        self._add_problem = PlainLabel(wrap=True)
        self._add_problem.setObjectName("errorText")
        self._add_problem.setAccessibleName(self.tr("Why the server could not be added"))
        self._add_problem.hide()
        self._url.returnPressed.connect(self._add)
        self._key.returnPressed.connect(self._add)
        self._add_button.clicked.connect(self._add)
        self._url.textChanged.connect(lambda _: self._add_problem.hide())

    def _content(self) -> QWidget:
        below = QWidget()
        column = QVBoxLayout(below)
        column.setContentsMargins(0, SPACE_S, 0, 0)
        column.setSpacing(SPACE_S)
        column.addWidget(self._problem)
        column.addWidget(self._models, 1)
        splitter = QSplitter(Qt.Orientation.Vertical)
        splitter.addWidget(self._servers)
        splitter.addWidget(below)
        splitter.setStretchFactor(0, 3)
        splitter.setStretchFactor(1, 2)
        splitter.setChildrenCollapsible(False)
        return splitter

    def _lay_out(self) -> None:
        actions = QHBoxLayout()
        actions.setSpacing(SPACE_S)
        actions.addWidget(self._scan_button)
        actions.addWidget(self._busy, 1)
        actions.addStretch(1)
        for button in (self._target_button, self._check_button, self._remove_button):
            actions.addWidget(button)
        form = QHBoxLayout()
        form.setSpacing(SPACE_S)
        form.addWidget(self._url, 1)
        form.addWidget(self._key)
        form.addWidget(self._add_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE_L, SPACE_M, SPACE_L, SPACE_M)
        column.setSpacing(SPACE_S)
        column.addLayout(actions)
        column.addLayout(form)
        column.addWidget(self._add_problem)
        column.addWidget(self._states, 1)

    # --- showing -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        progress = self._workspace.discovery.progress.latest
        if self._workspace.discovery.scanning and progress is not None:
            self._busy.progress(
                progress.done / progress.total if progress.total else None,
                self.tr("{done} of {total} ports, {found} found").format(
                    done=progress.done, total=progress.total, found=progress.found
                ),
            )
        registry = self._workspace.registry
        if registry.revision == self._seen_revision:
            return
        self._seen_revision = registry.revision
        self._servers.set_rows(registry.records)
        if registry.records:
            self._states.show_content()
            if not self._servers.selected:
                self._servers.select_keys({registry.records[0].id})
        else:
            self._show_empty()
        self._choice_changed()

    def _show_empty(self) -> None:
        self._states.show_empty(
            self.tr("No servers yet"),
            self.tr(
                "Find the model servers that run on this computer, add one by its address, "
                "or load a model of your own."
            ),
            (self.tr("Scan this computer"), self._scan),
            (self.tr("Load a model"), lambda: self._shell.open_tab("models")),
        )

    def _choice_changed(self) -> None:
        record = self._servers.current
        infos = record.models if record is not None else ()
        self._models.set_rows([ModelRow(record.id, info) for info in infos] if record is not None else ())
        self._problem.setText(self._problem_of(record) if record is not None else "")
        self._problem.setVisible(bool(record is not None and record.problem))
        ours = record is not None and record.source is ServerSource.SERVICE
        self._remove_button.setEnabled(record is not None and not ours)
        self._target_button.setEnabled(bool(infos))

    def _problem_of(self, record: ServerRecord) -> str:
        """What is wrong with a server and, where the sentence does not say so, what to do."""
        if not record.problem or record.status is not ServerStatus.OFFLINE:
            return record.problem
        return self.tr("{problem} Start the server and press Check, or remove it.").format(
            problem=record.problem
        )

    def _status_word(self, status: ServerStatus) -> str:
        return {
            ServerStatus.ONLINE: self.tr("online"),
            ServerStatus.OFFLINE: self.tr("offline"),
            ServerStatus.NEEDS_KEY: self.tr("needs a key"),
            ServerStatus.ERROR: self.tr("error"),
            ServerStatus.NOT_CHECKED: self.tr("not checked"),
        }[status]

    def _status_colour(self, record: ServerRecord) -> str | None:
        colours = self._shell.theme.colours
        return {
            ServerStatus.ONLINE: colours.good,
            ServerStatus.OFFLINE: colours.bad,
            ServerStatus.NEEDS_KEY: colours.warning,
            ServerStatus.ERROR: colours.bad,
            ServerStatus.NOT_CHECKED: colours.muted,
        }[record.status]

    def _source_word(self, source: ServerSource) -> str:
        return {
            ServerSource.FOUND: self.tr("scan"),
            ServerSource.MANUAL: self.tr("added"),
            ServerSource.SERVICE: self.tr("loaded here"),
        }[source]

    # --- doing ---------------------------------------------------------------------------------------------

    @async_slot_once
    async def _scan(self) -> None:
        self._scan_button.setEnabled(False)
        self._busy.begin(self.tr("Looking at known ports"))
        try:
            report = await self._workspace.discovery.scan()
            self._tell_scan(report)
        finally:
            self._busy.end()
            self._scan_button.setEnabled(True)

    def _tell_scan(self, report: "ScanReport") -> None:
        words = self.tr("{found} found on {probed} ports in {time}").format(
            found=len(report.found), probed=report.probed, time=format.seconds(report.elapsed_s)
        )
        self._shell.say(words if not report.stopped else self.tr("Scan stopped: {words}").format(words=words))
        if not self._workspace.registry.records:
            self._states.show_empty(
                self.tr("No server answered on the known ports"),
                self.tr("Start one and scan again, add one by its address above, or load a model here."),
                (self.tr("Scan again"), self._scan),
                (self.tr("Load a model"), lambda: self._shell.open_tab("models")),
            )

    @async_slot
    async def _stop_scan(self) -> None:
        await self._workspace.discovery.stop()

    @async_slot_once
    async def _add(self) -> None:
        text, key = self._url.text().strip(), self._key.text() or None
        self._add_button.setEnabled(False)
        try:
            agreed = await self._may_send_key(text, key)
            if key is not None and not agreed:
                return
            record = await self._workspace.discovery.add(text, key, key_over_plain_http=agreed)
        except LlamaRunnerError as error:
            self._show_add_problem(error)
            return
        finally:
            self._add_button.setEnabled(True)
        self._url.clear()
        self._key.clear()
        self._shell.say(self.tr("Added {address}").format(address=record.address))
        self._read()
        self._servers.select_keys({record.id})

    async def _may_send_key(self, text: str, key: str | None) -> bool:
        """Whether a key may go to this address, asking where it would travel unencrypted (R11)."""
        if key is None:
            return False
        base_url = parse_server_url(text)
        if base_url.startswith("https://") or is_loopback(base_url):
            return True
        return await confirm(
            self,
            title=self.tr("Send the key unencrypted?"),
            text=self.tr("{url} is another computer without https.").format(url=base_url),
            details=self.tr("Anybody on the way can read the key."),
            action=self.tr("Send it"),
        )

    def _show_add_problem(self, error: LlamaRunnerError) -> None:
        kind = "" if isinstance(error, UsageError) else self.tr("It is in the list all the same. ")
        self._add_problem.setText(f"{kind}{error.message} {error.hint}".strip())
        self._add_problem.show()
        self._url.setFocus()

    @async_slot_once
    async def _check(self) -> None:
        self._check_button.setEnabled(False)
        try:
            chosen = self._servers.selected
            if chosen:
                for record in chosen:
                    await self._workspace.discovery.check(record.id)
            else:
                await self._workspace.discovery.check_all()
            self._shell.say(self.tr("Servers checked"))
        finally:
            self._check_button.setEnabled(True)

    @async_slot_once
    async def _remove(self) -> None:
        record = self._servers.current
        if record is None:
            return
        if record.source is ServerSource.MANUAL and not await confirm(
            self,
            title=self.tr("Remove this server?"),
            text=self.tr("{address} is taken off the list; the server itself is not touched.").format(
                address=visible_controls(record.address)
            ),
            action=self.tr("Remove"),
        ):
            return
        self._workspace.discovery.remove(record.id)
        self._shell.say(self.tr("Removed {address}").format(address=record.address))

    def _use_as_target(self) -> None:
        record, row = self._servers.current, self._models.current
        if record is None or not record.models:
            return
        model_id = row.info.id if row is not None else record.models[0].id
        self._shell.set_target(record.id, model_id)
        self._shell.say(self.tr("Target: {model}").format(model=visible_controls(model_id, 80)))


def _model_names(record: ServerRecord) -> str:
    names = ", ".join(visible_controls(model.id, 60) for model in record.models[:MAX_NAMED_MODELS])
    more = len(record.models) - MAX_NAMED_MODELS
    return f"{names} +{more}" if more > 0 else names or format.UNKNOWN
