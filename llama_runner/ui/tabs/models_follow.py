"""Asks what loading would mean, anew when that may have become something else; never for each key typed."""

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QObject, QTimer, Signal, SignalInstance

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.load_options import LoadOptions
from llama_runner.ui.async_slots import async_slot_once

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

# Between two keys of somebody who types slowly.
PAUSE_MS: Final = 250
# What a plan depends on of every instance.
Residents = tuple[tuple[str, str, bool, bool], ...]
Wish = tuple[str, LoadOptions, str | None, Residents]


class PlanFollower(QObject):
    """`planned`: a `Plan` for the newest wish. `failed`: the error instead. What is stale is not told."""

    planned = Signal(object)
    failed = Signal(object)

    def __init__(self, workspace: "Workspace", *, parent: QObject) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._wish: Wish | None = None
        self._told: Wish | None = None
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self._ask)

    def follow(self, model: str, options: LoadOptions, profile: str | None) -> None:
        """This is wished for now."""
        instances = self._workspace.service.snapshot.instances
        residents = tuple((one.id, one.state, one.pinned, bool(one.in_flight)) for one in instances)
        wish = (model, options, profile, residents)
        if wish == self._wish:
            return
        typed = self._wish is not None and self._wish[0] == model
        self._wish = wish
        if typed:
            self._pause.start()
        else:
            self._pause.stop()
            self._ask()

    def forget(self) -> None:
        """Nothing is wished for."""
        self._wish = self._told = None
        self._pause.stop()

    @async_slot_once
    async def _ask(self) -> None:
        while (wish := self._wish) is not None and wish != self._told and not self._pause.isActive():
            if not self._workspace.service.connected:
                # Asking would start a service that somebody has just stopped.
                self.forget()
                return
            model, options, profile, _ = wish
            try:
                plan = await self._workspace.service.plan(model, options, profile=profile)
            except LlamaRunnerError as error:
                self._tell(wish, self.failed, error)
            else:
                self._tell(wish, self.planned, plan)

    def _tell(self, wish: Wish, signal: SignalInstance, what: object) -> None:
        if wish == self._wish:
            self._told = wish
            signal.emit(what)
