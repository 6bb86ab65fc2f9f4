"""Adding a server by its address, and giving a server its key: where it is kept, and how it may travel."""

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialogButtonBox,
    QLineEdit,
    QWidget,
)

from llama_runner.core.errors import LlamaRunnerError, UsageError
from llama_runner.discovery.keys import KeyPlace, UnencryptedKeyError
from llama_runner.discovery.registry import ServerRecord
from llama_runner.net.addresses import parse_server_url
from llama_runner.net.keys import is_safe_for_keys, parse_api_key
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.dialogs.work import WorkDialog
from llama_runner.ui.theme import tooltip
from llama_runner.ui.widgets.forms import labelled
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.questions import confirm, without_icons

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

MAX_URL: Final = 2048
MAX_KEY: Final = 8192


class KeyForm(QWidget):
    """A key, hidden as it is typed, and where it is kept."""

    edited = Signal()
    submitted = Signal()

    def __init__(self, *, placeholder: str) -> None:
        super().__init__()
        self._key = QLineEdit()
        self._key.setEchoMode(QLineEdit.EchoMode.Password)
        self._key.setMaxLength(MAX_KEY)
        self._key.setPlaceholderText(placeholder)
        self._key.setAccessibleName(self.tr("API key"))
        self._key.setToolTip(tooltip(self.tr("Sent to this server only; never shown, logged or exported.")))
        self._key.textChanged.connect(self.edited)
        self._key.returnPressed.connect(self.submitted)
        self._shown = QCheckBox(self.tr("Show the key"))
        self._shown.setAccessibleName(self._shown.text())
        self._shown.toggled.connect(self._show_key)
        self._place = QComboBox()
        self._place.setAccessibleName(self.tr("Where the key is kept"))
        for place, words in (
            (KeyPlace.KEYRING, self.tr("The system's keyring")),
            (KeyPlace.MEMORY, self.tr("Memory, until the program ends")),
            (KeyPlace.FILE, self.tr("A file that only you can read, not encrypted")),
        ):
            self._place.addItem(words, place)
        grid = labelled(
            ((self.tr("API key"), self._key), (self.tr("Kept in"), self._place), ("", self._shown))
        )
        self.setLayout(grid)

    @property
    def key(self) -> str:
        """What is typed."""
        return self._key.text().strip()

    @property
    def place(self) -> KeyPlace:
        """Where it is to be kept."""
        return KeyPlace(self._place.currentData())

    def set_place(self, place: KeyPlace) -> None:
        """Choose a place."""
        self._place.setCurrentIndex(self._place.findData(place))

    def begin(self) -> None:
        """Let it be typed."""
        self._key.setFocus()
        self._key.selectAll()

    def _show_key(self, shown: bool) -> None:
        self._key.setEchoMode(QLineEdit.EchoMode.Normal if shown else QLineEdit.EchoMode.Password)


class _ServerDialog(WorkDialog):
    """What both dialogs have: a key, and the question whether it may travel unencrypted."""

    def __init__(
        self, workspace: "Workspace", parent: QWidget, *, title: str, word: str, key_hint: str
    ) -> None:
        super().__init__(parent, title=title, word=word, busy=self.tr("Asking…"))
        self._workspace = workspace
        self._form = KeyForm(placeholder=key_hint)
        self._form.submitted.connect(self._go)
        self._form.edited.connect(self._clear_problem)

    async def _may_send(self, base_url: str) -> bool:
        """Whether a key may go to this address, asking where it would travel unencrypted (R11)."""
        if is_safe_for_keys(base_url):
            return True
        return await confirm(
            self,
            title=self.tr("Send the key unencrypted?"),
            text=self.tr("{url} is another computer without https.").format(url=base_url),
            details=self.tr("Anybody on the way can read the key. This is asked once for each server."),
            action=self.tr("Send it"),
        )


class AddServerDialog(_ServerDialog):
    """`done_with`: the id of the server that was added, whatever it answered."""

    def __init__(self, workspace: "Workspace", parent: QWidget) -> None:
        super().__init__(
            workspace,
            parent,
            title=self.tr("Add a server"),
            word=self.tr("Add"),
            key_hint=self.tr("Only if it wants one"),
        )
        self._url = QLineEdit()
        self._url.setObjectName("add-server-url")
        self._url.setPlaceholderText("http://127.0.0.1:8080")
        self._url.setAccessibleName(self.tr("Address of a server to add"))
        self._url.setMaxLength(MAX_URL)
        self._url.textChanged.connect(self._clear_problem)
        label = PlainLabel(self.tr("Address, as http://host:port or https://host"))
        label.setBuddy(self._url)
        self._column(label, self._url, self._form)
        self._url.setFocus()

    async def _work(self) -> str | None:
        try:
            base_url = parse_server_url(self._url.text())
        except UsageError:
            self._url.setFocus()
            raise
        key = parse_api_key(self._form.key) if self._form.key else None
        if key is not None and not await self._may_send(base_url):
            return None
        discovery = self._workspace.discovery
        record = await discovery.add(base_url)
        if key is not None:
            await discovery.set_key(record.id, key, self._form.place, agreed=True)
            await discovery.check(record.id)
        return record.id


class KeyDialog(_ServerDialog):
    """The key of a server that is in the list."""

    def __init__(self, workspace: "Workspace", record: ServerRecord, parent: QWidget) -> None:
        super().__init__(
            workspace,
            parent,
            title=self.tr("API key"),
            word=self.tr("Use this key"),
            key_hint=self.tr("The key its owner gave you"),
        )
        self._record = record
        text = self.tr("The key of {address}; the one it has now is replaced.")
        known = workspace.discovery.key_place(record.id)
        if known is None:
            text = self.tr("The key of {address}; it has none now.")
        else:
            self._form.set_place(known)
            forget = self._buttons.addButton(
                self.tr("Forget the key"), QDialogButtonBox.ButtonRole.DestructiveRole
            )
            forget.setAccessibleName(forget.text())
            forget.clicked.connect(self._forget)
            without_icons(self._buttons)
        self._column(NameLabel(text.format(address=record.address)), self._form)
        self._form.begin()

    async def _work(self) -> str | None:
        key, record = self._form.key, self._record
        if not key:
            raise UsageError("The key is empty.", "Paste it into the field.")
        discovery = self._workspace.discovery
        try:
            await discovery.set_key(record.id, key, self._form.place)
        except UnencryptedKeyError:
            if not await self._may_send(record.base_url):
                return None
            await discovery.set_key(record.id, key, self._form.place, agreed=True)
        await discovery.check(record.id)
        return record.id

    @async_slot_once
    async def _forget(self) -> None:
        try:
            await self._workspace.discovery.forget_key(self._record.id)
            await self._workspace.discovery.check(self._record.id)
        except LlamaRunnerError as error:
            self._show_problem(f"{error.message} {error.hint}".strip())
            return
        self.done_with.emit(self._record.id)
        self.accept()
