"""The status bar: the service, the outcome of the last action, and how many notices there are."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton

from llama_runner.ui.async_slots import start_task
from llama_runner.ui.theme import SPACE_M, SPACE_S, SPACE_XS, Theme, tooltip
from llama_runner.ui.widgets.label import NameLabel, PlainLabel

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace
    from llama_runner.workspace.service_link import ServiceSnapshot


class StatusBar(QFrame):
    """One line at the bottom."""

    notices_clicked = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("statusBar")
        self._service = PlainLabel()
        self._service.setAccessibleName(self.tr("State of the service"))
        self._message = NameLabel(muted=True)
        self._message.setAccessibleName(self.tr("Outcome of the last action"))
        self._notices = QPushButton()
        self._notices.setProperty("flat", True)
        self._notices.setAccessibleName(self.tr("Notices"))
        self._notices.setToolTip(tooltip(self.tr("Show all notices")))
        self._notices.clicked.connect(self.notices_clicked)
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE_M, SPACE_XS, SPACE_S, SPACE_XS)
        row.setSpacing(SPACE_M)
        row.addWidget(self._service)
        row.addWidget(self._message, 1)
        row.addWidget(self._notices)
        self.set_notices(0)
        self.attach(None)

    def attach(self, workspace: "Workspace | None") -> None:
        """Follow this workspace's service; None when it is gone."""
        if workspace is None:
            self._show_service(self.tr("○ service: not connected"), "muted")
            return
        self.show_snapshot(workspace.service.snapshot)
        start_task(self, self._follow(workspace), name="status bar follows service")

    async def _follow(self, workspace: "Workspace") -> None:
        subscription = workspace.service.changes.subscribe(maxlen=1)
        try:
            async for snapshot in subscription:
                self.show_snapshot(snapshot)
        finally:
            subscription.close()

    def show_snapshot(self, snapshot: "ServiceSnapshot") -> None:
        """The service in a few words."""
        words, status = {
            "off": (self.tr("○ service: off"), "muted"),
            "starting": (self.tr("◌ service: starting"), "warning"),
            "connected": (self._running(snapshot), "good"),
            "reconnecting": (self.tr("◌ service: lost, looking for it"), "warning"),
            "failed": (self.tr("✕ service: cannot be started"), "bad"),
        }[snapshot.state.value]
        self._show_service(words, status)
        where = snapshot.url or ""
        self._service.setToolTip(tooltip(str(snapshot.error) if snapshot.error else where))

    def _running(self, snapshot: "ServiceSnapshot") -> str:
        ready = sum(instance.state == "ready" for instance in snapshot.instances)
        models = self.tr("1 model loaded") if ready == 1 else self.tr("{n} models loaded").format(n=ready)
        words = self.tr("● service: running, {models}").format(models=models)
        counted = [i.in_flight for i in snapshot.instances if i.in_flight is not None]
        if not counted:
            return words
        requests = self.tr("1 request") if sum(counted) == 1 else self.tr("{n} requests")
        return f"{words} · {requests.format(n=sum(counted))}"

    def _show_service(self, text: str, status: str) -> None:
        self._service.setText(text)
        self._service.set_status(status)

    @property
    def service_text(self) -> str:
        """What the bar says of the service."""
        return self._service.text()

    def say(self, message: str) -> None:
        """The outcome of the last action."""
        self._message.set_name(message)

    def set_notices(self, count: int) -> None:
        """How many notices are in the list."""
        words = {0: self.tr("No notices"), 1: self.tr("1 notice")}
        self._notices.setText(words.get(count) or self.tr("{count} notices").format(count=count))
