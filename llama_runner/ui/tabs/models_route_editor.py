"""Changes of the routes: the dialogs that ask, the settings that are written, the way back."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from llama_runner.control.routes import Route
from llama_runner.core.editing import replace_setting
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.serving_edits import with_route, without_route
from llama_runner.core.settings import AppConfig
from llama_runner.core.text import visible_controls
from llama_runner.discovery.registry import ServerRecord, ServerSource
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.dialogs.offered import OfferedServersDialog
from llama_runner.ui.dialogs.route import RouteDialog, RouteForm
from llama_runner.ui.tabs import Shell
from llama_runner.ui.widgets.undo import UndoStrip

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

NAME_CHARS: Final = 64
Edit = Callable[[AppConfig], AppConfig]


class RouteEditor(QWidget):
    """Never shown. `changed`: the routes are others now; the name of the one to look at, or nothing.

    Attributes:
        undo: Takes back the newest change.
    """

    changed = Signal(str)

    def __init__(self, workspace: "Workspace", shell: Shell, parent: QWidget) -> None:
        super().__init__(parent)
        self.hide()
        self._workspace, self._shell = workspace, shell
        self.undo = UndoStrip()

    @async_slot_once
    async def add(self) -> None:
        """Ask for a new route."""
        await self._open_dialog("")

    @async_slot_once
    async def change(self, route: Route) -> None:
        """Ask what this route is to become."""
        await self._open_dialog(route.name)

    @async_slot_once
    async def remove(self, route: Route) -> None:
        """Forget this route."""
        name = route.name
        try:
            before = await self._workspace.edit_settings(lambda config: without_route(config, name))
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("removing a route"))
            return
        self._told(self.tr("Removed {name}"), name, lambda now: _restored(now, before, (name,)))
        self.changed.emit("")

    @async_slot_once
    async def choose_servers(self) -> None:
        """Ask whose models are offered."""
        chosen = (await self._workspace.read_settings()).proxy.servers

        async def save(servers: tuple[str, ...]) -> None:
            before = await self._workspace.edit_settings(_offering(servers))
            words = self.tr("Servers whose models are offered: {name}")
            self._told(words, str(len(servers)), _offering(before.proxy.servers))
            self.changed.emit("")

        OfferedServersDialog(self.window(), self._servers(), chosen, save).open()

    # --- helpers -------------------------------------------------------------------------------------------

    async def _open_dialog(self, old: str) -> None:
        """Ask; `old` is the name of the route that is changed, empty for a new one."""
        routes = (await self._workspace.read_settings()).proxy.routes
        # Of the settings, not of the service: that tells the steps of a route that is a step, in its place.
        steps = routes[old].steps if old in routes else ()
        others = tuple(name for name in routes if name != old)
        elsewhere = tuple(
            f"{model.id}@{record.address}" for record in self._servers() for model in record.models
        )
        form = RouteForm(old, steps, others, await self._models(), (*others, *elsewhere))

        async def save(name: str, steps: tuple[str, ...]) -> None:
            before = await self._workspace.edit_settings(
                lambda config: with_route(_without(config, old), name, steps)
            )
            words = self.tr("Changed {name}") if old else self.tr("Added {name}")
            self._told(words, name, lambda now: _restored(now, before, (name, old)))
            self.changed.emit(name)

        RouteDialog(self.window(), form, save).open()

    async def _models(self) -> tuple[str, ...]:
        try:
            return tuple(file.id for file in (await self._workspace.service.models()).models)
        except LlamaRunnerError:
            # The steps can be typed all the same.
            return ()

    def _servers(self) -> tuple[ServerRecord, ...]:
        records = self._workspace.registry.records
        return tuple(record for record in records if record.source is not ServerSource.SERVICE)

    def _told(self, words: str, name: str, undo: Edit) -> None:
        """Say what was done, and offer the way back."""
        told = words.format(name=visible_controls(name, NAME_CHARS))
        self._shell.say(told)
        self.undo.offer(told, lambda: self._take_back(undo))

    @async_slot_once
    async def _take_back(self, undo: Edit) -> None:
        try:
            await self._workspace.edit_settings(undo)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("taking back a change of the routes"))
        self.changed.emit("")


def _restored(now: AppConfig, before: AppConfig, names: Collection[str]) -> AppConfig:
    """The settings in which these routes are as they were, or are not."""
    for name in names:
        now = _without(now, name)
        if (entry := before.proxy.routes.get(name)) is not None:
            now = with_route(now, name, entry.steps)
    return now


def _without(config: AppConfig, name: str) -> AppConfig:
    return without_route(config, name) if name in config.proxy.routes else config


def _offering(servers: tuple[str, ...]) -> Edit:
    return lambda config: replace_setting(config, "proxy.servers", servers)
