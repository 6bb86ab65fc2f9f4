"""Keys and trust: an API key, a server that may be another one than before, a certificate refused."""

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.discovery.registry import ServerRecord, ServerSource, ServerStatus
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.dialogs.server import KeyDialog
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.discovery_choice import Choice, tried
from llama_runner.ui.tabs.discovery_facts import fingerprint_words
from llama_runner.ui.widgets.commands import AVAILABLE, NOT_OFFERED, Availability, Command
from llama_runner.ui.widgets.questions import confirm

if TYPE_CHECKING:
    from llama_runner.net.tls import PeerCertificate
    from llama_runner.workspace import Workspace


class TrustActions(QWidget):
    """Never shown itself: its tasks end with the tab."""

    def __init__(self, workspace: "Workspace", shell: Shell, choice: Choice, *, parent: QWidget) -> None:
        super().__init__(parent)
        self.hide()
        self._workspace, self._shell, self._choice = workspace, shell, choice
        self._parent = parent

    def commands(self) -> tuple[Command, ...]:
        """In the order of the context menu."""
        tr = self.tr
        return (
            Command("server-key", tr("API key…"),
                    tr("Give this server a key, or have its key forgotten."),
                    self._open_key, self._choice.one_other_server, "Ctrl+Shift+K"),
            Command("server-trust", tr("Trust it"),
                    tr("It is the right server: use it as before."),
                    self._trust, self._why_not_trust),
            Command("server-pin", tr("Certificate…"),
                    tr("Look at the certificate that this server shows, and decide whether to trust it."),
                    self._pin, self._why_not_pin),
        )  # fmt: skip

    def _why_not_trust(self) -> Availability:
        record = self._choice.record
        return AVAILABLE if record is not None and record.changed else NOT_OFFERED

    def _why_not_pin(self) -> Availability:
        record = self._choice.record
        if record is None or record.source is ServerSource.SERVICE:
            return NOT_OFFERED
        refused = record.status in (ServerStatus.OFFLINE, ServerStatus.ERROR) or record.tls_pin is not None
        return AVAILABLE if record.base_url.startswith("https://") and refused else NOT_OFFERED

    def _open_key(self) -> None:
        record = self._choice.record
        if record is None or record.source is ServerSource.SERVICE:
            return
        dialog = KeyDialog(self._workspace, record, self._parent)
        words = self.tr("The key of {address} was changed").format(address=record.address)
        dialog.done_with.connect(lambda _: self._shell.say(words))
        dialog.open()

    @async_slot_once
    async def _trust(self) -> None:
        record = self._choice.record
        if record is None or not record.changed:
            return
        if await tried(self._shell, self._workspace.discovery.trust(record.id), self.tr("trusting a server")):
            self._shell.say(self.tr("{address} is trusted again").format(address=record.address))

    @async_slot_once
    async def _pin(self) -> None:
        record = self._choice.record
        if record is None:
            return
        try:
            shown = await self._workspace.discovery.certificate(record.id)
            await self._decide(record, shown)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("looking at a certificate"))

    async def _decide(self, record: ServerRecord, shown: "PeerCertificate") -> None:
        """Accept exactly this certificate, or go back to the usual rules. Raises LlamaRunnerError."""
        discovery = self._workspace.discovery
        if shown.problem and shown.sha256 != record.tls_pin:
            if not await self._may_pin(record, shown):
                return
            await discovery.trust_certificate(record.id, shown.sha256)
            self._shell.say(
                self.tr("This certificate of {address} is trusted").format(address=record.address)
            )
        elif record.tls_pin is not None:
            if not await self._may_unpin(record, shown):
                return
            await discovery.trust_certificate(record.id, None)
            self._shell.say(self.tr("The usual rules decide again"))
        else:
            self._shell.say(self.tr("Its certificate is accepted by the usual rules"))
        await discovery.check(record.id)

    async def _may_pin(self, record: ServerRecord, shown: "PeerCertificate") -> bool:
        another = self.tr("It is another one than the one you trusted before. Find out why first.")
        return await confirm(
            self._parent,
            title=self.tr("Trust this certificate?"),
            text=self.tr("{address}: {problem}").format(address=record.address, problem=shown.problem),
            details="\n\n".join(
                filter(
                    None,
                    (
                        another if record.tls_pin is not None else "",
                        self.tr("Compare its SHA-256 with the one that the server's owner reads out to you:"),
                        fingerprint_words(shown.sha256),
                        self.tr("From then on this certificate is accepted there, and no other."),
                    ),
                )
            ),
            action=self.tr("Trust this one"),
        )

    async def _may_unpin(self, record: ServerRecord, shown: "PeerCertificate") -> bool:
        return await confirm(
            self._parent,
            title=self.tr("Stop trusting this certificate?"),
            text=self.tr("The usual rules decide about {address} again.").format(address=record.address),
            details=shown.problem,
            action=self.tr("Stop trusting it"),
        )
