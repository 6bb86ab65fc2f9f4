"""Other programs' way to the models: a switch, a port and an address for each dialect of the proxy.

What is shown is what the service says; what is switched is written to the settings, and the service told.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QCheckBox, QFrame, QGridLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from llama_runner.control.values import ProxyFace
from llama_runner.core.config import Loaded, load_app_config
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig
from llama_runner.system.config_changes import change_app_config
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.models_routes import RoutesView
from llama_runner.ui.tabs.models_token import TokenRow
from llama_runner.ui.theme import SPACE_L, SPACE_M, SPACE_S, SPACE_XS, mono_font, tooltip
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.number_field import NumberRule, parse_number

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

PORT: Final = NumberRule(0, 65535)
PORT_CHARS: Final = 6
# Of one dialect: the controls, who reaches it, what is wrong.
LINES: Final = 3


def reach_words(face: ProxyFace) -> str:
    """Who reaches it beyond the programs of this machine, and what they need; empty when nobody does."""
    token = _tr("Programs have to send the access token as their API key.")
    if face.open_to_others:
        return f"{_tr('⚠ Other machines reach it.')} {token}"
    return token if face.needs_token else ""


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


class FaceRow(QWidget):
    """The controls of one dialect; the strip lays them out. `edited`: a person wants something else.

    Args:
        key: As in the settings: "openai", "ollama".
        path: What clients want behind the address.
    """

    edited = Signal()
    retry_wanted = Signal()

    def __init__(self, key: str, title: str, hint: str, *, path: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.hide()
        self.key = key
        self.url = ""
        self._path = path
        self._title = title
        self.switch = QCheckBox(title, parent)
        self.switch.setAccessibleName(self.tr("Serve the {name} API").format(name=title))
        self.switch.setToolTip(tooltip(hint))
        self.switch.setAccessibleDescription(hint)
        self.port = QLineEdit(parent)
        self.port.setFont(mono_font())
        self.port.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.port.setAccessibleName(self.tr("Port of the {name} API").format(name=title))
        self.port.setToolTip(tooltip(self.tr("Port; 0 takes any free one. Enter applies it.")))
        self.port.setFixedWidth(self.port.fontMetrics().averageCharWidth() * PORT_CHARS + 3 * SPACE_S)
        self.address = NameLabel()
        self.address.setFont(mono_font())
        self.address.setAccessibleName(self.tr("Address of the {name} API").format(name=title))
        self.copy = QPushButton(self.tr("Copy"), parent)
        self.copy.setAccessibleName(self.tr("Copy the address of the {name} API").format(name=title))
        self.copy.setToolTip(tooltip(self.tr("Copy the address")))
        self.note = PlainLabel(wrap=True, selectable=True, parent=parent)
        self.note.setAccessibleName(self.tr("Who reaches the {name} API").format(name=title))
        self.problem = PlainLabel(wrap=True, selectable=True, parent=parent)
        self.problem.setObjectName("errorText")
        self.problem.setAccessibleName(self.tr("What is wrong with the {name} API").format(name=title))
        self.retry = QPushButton(self.tr("Try again"), parent)
        self.retry.setAccessibleName(self.tr("Try again to serve the {name} API").format(name=title))
        self.switch.toggled.connect(lambda _: self.edited.emit())
        self.port.textEdited.connect(self._check_port)
        self.port.editingFinished.connect(self._port_finished)
        self.retry.clicked.connect(self.retry_wanted)
        self.copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(self.url))

    @property
    def wanted(self) -> dict[str, bool | int]:
        """The settings as they are entered; without a port that is none."""
        port = parse_number(self.port.text(), PORT)[0]
        entered: dict[str, bool | int] = {f"proxy.{self.key}_enabled": self.switch.isChecked()}
        if port is not None:
            entered[f"proxy.{self.key}_port"] = int(port)
        return entered

    @property
    def told(self) -> str:
        """What became of it, for the status bar."""
        if self.problem.text():
            return self.problem.text()
        if self.url:
            return self.tr("{name} API: {address}").format(name=self._title, address=self.url)
        return self.tr("The {name} API is switched off").format(name=self._title)

    def show_face(self, face: ProxyFace | None, port: int) -> None:
        """What the service says; None while there is none.

        Args:
            port: What the settings say.
        """
        self.url = f"{face.url}{self._path}" if face is not None and face.url else ""
        self.switch.blockSignals(True)
        self.switch.setChecked(face is not None and face.port is not None)
        self.switch.blockSignals(False)
        mine = face is not None and not face.fixed
        self.switch.setEnabled(mine)
        self.port.setEnabled(mine)
        if not self.port.hasFocus():
            shown = face.port if face is not None and face.port is not None else port
            self.port.setText(str(shown))
            self._check_port()
        self.address.set_name(self._address_text(face))
        self.address.set_status("" if self.url else "bad" if face is not None and face.problem else "muted")
        self.copy.setEnabled(bool(self.url))
        self.note.setText(reach_words(face) if face is not None and self.url else "")
        self.note.set_status("bad" if face is not None and face.open_to_others else "")
        self.note.setVisible(bool(self.note.text()))
        self.problem.setText(face.problem if face is not None else "")
        for widget in (self.problem, self.retry):
            widget.setVisible(bool(self.problem.text()))

    def _address_text(self, face: ProxyFace | None) -> str:
        if face is None:
            return self.tr("The service is not running")
        if not self.url:
            return self.tr("✕ not served") if face.problem else self.tr("○ off")
        return self.tr("{address} (by the command line)").format(address=self.url) if face.fixed else self.url

    def _check_port(self, _: str = "") -> None:
        problem = parse_number(self.port.text(), PORT)[1]
        if bool(self.port.property("invalid")) != bool(problem):
            self.port.setProperty("invalid", bool(problem))
            self.port.style().unpolish(self.port)
            self.port.style().polish(self.port)
        self.port.setAccessibleDescription(problem)

    def _port_finished(self) -> None:
        if self.port.isModified() and not self.port.property("invalid"):
            self.port.setModified(False)
            self.edited.emit()


class ServePage(QWidget):
    """Both dialects, one below the other."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._waiting: list[FaceRow] = []
        card = QFrame(self)
        card.setObjectName("card")
        self.openai = FaceRow(
            "openai",
            self.tr("OpenAI and LM Studio"),
            self.tr(
                "Programs of this computer that speak OpenAI's or LM Studio's API use the models here. "
                "LM Studio's own clients take the address without /v1."
            ),
            path="/v1",
            parent=card,
        )
        self.ollama = FaceRow(
            "ollama",
            self.tr("Ollama"),
            self.tr("Programs of this computer that speak Ollama's API use the models here."),
            path="",
            parent=card,
        )
        self._rows = (self.openai, self.ollama)
        self._lay_out(card)
        for row in self._rows:
            row.edited.connect(lambda row=row: self._want(row))
            row.retry_wanted.connect(lambda row=row: self._want(row))
        self.show_faces()

    def _lay_out(self, card: QFrame) -> None:
        grid = QGridLayout(card)
        grid.setContentsMargins(SPACE_M, SPACE_S, SPACE_M, SPACE_S)
        grid.setHorizontalSpacing(SPACE_M)
        grid.setVerticalSpacing(SPACE_XS)
        for number, row in enumerate(self._rows):
            line = LINES * number
            port = PlainLabel(self.tr("Port"), muted=True)
            port.setBuddy(row.port)
            for place, widget in enumerate((row.switch, port, row.port, row.address, row.copy)):
                grid.addWidget(widget, line, place)
            grid.addWidget(row.note, line + 1, 0, 1, 5)
            grid.addWidget(row.problem, line + 2, 0, 1, 4)
            grid.addWidget(row.retry, line + 2, 4)
        grid.addWidget(TokenRow(self._workspace, self._shell, card), LINES * len(self._rows), 0, 1, 5)
        grid.setColumnStretch(3, 1)
        self._routes = RoutesView(self._workspace, self._shell)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, SPACE_S, 0, 0)
        column.setSpacing(SPACE_L)
        column.addWidget(card)
        column.addWidget(self._routes, 1)

    def ask(self) -> None:
        """Bring what is not told by itself up to date, while somebody looks."""
        if self.isVisible():
            self._routes.ask()

    @property
    def state_word(self) -> str:
        """What is served, in a word or two."""
        if any(row.problem.text() for row in self._rows):
            return self.tr("✕ problem")
        served = sum(bool(row.url) for row in self._rows)
        return self.tr("● {n} on").format(n=served) if served else self.tr("off")

    def show_faces(self) -> None:
        """What the service says now; not while something else is on its way to it."""
        if self._waiting:
            return
        snapshot, proxy = self._workspace.service.snapshot, self._workspace.settings.proxy
        self.openai.show_face(snapshot.openai, proxy.openai_port)
        self.ollama.show_face(snapshot.ollama, proxy.ollama_port)

    def _want(self, row: FaceRow) -> None:
        self._waiting.append(row)
        self._apply()

    @async_slot_once
    async def _apply(self) -> None:
        """Write what is wanted and have the service follow; what is wanted meanwhile follows in its turn."""
        while self._waiting:
            row = self._waiting[0]
            try:
                config = await asyncio.to_thread(_write, self._workspace.home, row.wanted)
                self._workspace.use_config(config)
                await self._workspace.service.reload()
            except LlamaRunnerError as error:
                self._shell.report(error, doing=self.tr("changing what is served"))
            del self._waiting[0]
            if not self._waiting:
                self.show_faces()
                self._shell.say(row.told)


def _write(home: Home, values: Mapping[str, bool | int]) -> Loaded[AppConfig]:
    """Change these settings, leave all others as they are. Raises ConfigError, StorageError."""
    change_app_config(home, values)
    return load_app_config(home)
