"""What can be done with the chosen model: load it, after saying what that means, unload, pin, talk to it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from PySide6.QtWidgets import QWidget

from llama_runner.control.values import Instance, Plan
from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.text import visible_controls
from llama_runner.ui.async_slots import async_slot_once, is_running
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.models_plan import plan_words
from llama_runner.ui.tabs.models_rows import ModelLine
from llama_runner.ui.widgets.commands import AVAILABLE, NOT_OFFERED, Availability, Command
from llama_runner.ui.widgets.questions import confirm

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

NAME_CHARS: Final = 80
LOADING: Final = "ModelActions._load"


class Wish(Protocol):
    """How the chosen model is to be loaded."""

    @property
    def options(self) -> LoadOptions | None:
        """None while something entered cannot be used."""
        ...

    @property
    def profile(self) -> str | None:
        """What the options start from; None for the model's own."""
        ...


class ModelActions(QWidget):
    """Never shown; the parent of the questions that the actions ask.

    Args:
        chosen: The one marked row.
    """

    def __init__(
        self,
        workspace: "Workspace",
        shell: Shell,
        chosen: Callable[[], ModelLine | None],
        wish: Wish,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.hide()
        self._workspace, self._shell, self._chosen, self._wish = workspace, shell, chosen, wish

    def commands(self) -> tuple[Command, ...]:
        """In the order of their buttons."""
        return (
            Command(
                "model-load",
                self.tr("Load"),
                self.tr("Start an engine with the chosen model."),
                self.load,
                self._can_load,
                keys="Ctrl+Return",
                primary=True,
            ),
            Command(
                "model-reload",
                self.tr("Load anew"),
                self.tr("Let it finish its work, then load it with the options as they are now."),
                self.reload,
                self._can_reload,
                keys="Ctrl+Shift+Return",
            ),
            Command(
                "model-unload",
                self.tr("Unload"),
                self.tr("Stop the engine of the chosen model."),
                self.unload,
                self._can_unload,
                keys="Del",
            ),
            Command(
                "model-pin",
                self.tr("Pin"),
                self.tr(
                    "Keep the chosen model in memory, whoever else wants room and however long it is idle."
                ),
                self._pin,
                self._can_pin,
                keys="Ctrl+P",
                checked=lambda: (
                    (line := self._chosen()) is not None and line.serving is not None and line.serving.pinned
                ),
            ),
            Command(
                "model-target",
                self.tr("Use as target"),
                self.tr("Talk to the chosen model in every tab."),
                self._use_as_target,
                self._can_be_target,
                keys="Ctrl+T",
            ),
        )

    # --- when ----------------------------------------------------------------------------------------------

    def _can_load(self) -> Availability:
        line = self._chosen()
        if line is None:
            return Availability(why_not=self.tr("Choose a model first."))
        if line.file.problem is not None:
            return Availability(why_not=self.tr("Its file cannot be used."))
        if line.running:
            return Availability(why_not=self.tr("It is loaded, or on its way."))
        return self._can_start()

    def _can_reload(self) -> Availability:
        line = self._chosen()
        return self._can_start() if line is not None and line.serving is not None else NOT_OFFERED

    def _can_start(self) -> Availability:
        if is_running(self, LOADING):
            return Availability(why_not=self.tr("Another model is being loaded."))
        if self._wish.options is None:
            return Availability(why_not=self.tr("One of its options cannot be used; see Options."))
        return AVAILABLE

    def _can_unload(self) -> Availability:
        line = self._chosen()
        running = line is not None and line.running
        return AVAILABLE if running else Availability(why_not=self.tr("It is not loaded."))

    def _can_pin(self) -> Availability:
        line = self._chosen()
        serving = line is not None and line.serving is not None
        return AVAILABLE if serving else Availability(why_not=self.tr("Only what is loaded can be pinned."))

    def _can_be_target(self) -> Availability:
        line = self._chosen()
        ready = line is not None and line.state == "ready"
        return AVAILABLE if ready else Availability(why_not=self.tr("Load it first."))

    # --- what ----------------------------------------------------------------------------------------------

    def load_or_use(self) -> None:
        """What a double click means."""
        line = self._chosen()
        if line is not None and line.state == "ready":
            self._use_as_target()
        else:
            self.load()

    def load(self) -> None:
        """Load the chosen model; asks first when something would leave for it."""
        line = self._chosen()
        if line is not None and line.file.problem is None and not line.running:
            self._load(line.file.id, False)

    def reload(self) -> None:
        """Load the chosen model as it is wished for now, after what it works on."""
        line = self._chosen()
        if line is not None and line.serving is not None:
            self._load(line.file.id, True)

    @async_slot_once
    async def _load(self, model: str, reload: bool) -> None:
        options, profile = self._wish.options, self._wish.profile
        if options is None:
            return
        name, service = visible_controls(model, NAME_CHARS), self._workspace.service
        try:
            if not await self._agreed(await service.plan(model, options, profile=profile), name):
                self._shell.say(self.tr("{model} was not loaded").format(model=name))
                return
            self._shell.say(self.tr("Loading {model}").format(model=name))
            instance = await service.ensure_ready(model, options, profile=profile, reload=reload)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("loading {model}").format(model=name))
            self._shell.say(self.tr("{model} was not loaded").format(model=name))
            return
        self._shell.say(
            self.tr("{model} is ready after {time}").format(model=name, time=format.seconds(instance.load_s))
        )
        self._make_target(instance)

    async def _agreed(self, plan: Plan, name: str) -> bool:
        """Whether to go on: asked only when that costs somebody else something, or will hardly work."""
        if plan.loaded or (plan.fits and not plan.evict):
            return True
        return await confirm(
            self.window(),
            title=self.tr("Make room?") if plan.fits else self.tr("No room"),
            text=self.tr("Load {model}?").format(model=name),
            details=plan_words(plan, separator="\n"),
            action=self.tr("Load") if plan.fits else self.tr("Try anyway"),
            dangerous=not plan.fits,
        )

    @async_slot_once
    async def unload(self) -> None:
        """Stop what runs of the chosen model; asks first when it works."""
        line = self._chosen()
        if line is None or line.instance is None:
            return
        name = visible_controls(line.file.id, NAME_CHARS)
        if line.instance.in_flight and not await confirm(
            self.window(),
            title=self.tr("Unload while it answers?"),
            text=self.tr("{model} is answering: requests {n}. They have {time} to end.").format(
                model=name,
                n=format.count(line.instance.in_flight),
                time=format.seconds(self._workspace.settings.runtime.stop_grace_s),
            ),
            action=self.tr("Unload"),
        ):
            return
        try:
            await self._workspace.service.unload(line.instance.id)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("unloading {model}").format(model=name))
            return
        self._shell.say(self.tr("Unloaded {model}").format(model=name))

    @async_slot_once
    async def _pin(self) -> None:
        line = self._chosen()
        if line is None or line.serving is None:
            return
        name, pinned = visible_controls(line.file.id, NAME_CHARS), not line.serving.pinned
        try:
            await self._workspace.service.pin(line.serving.id, pinned)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("pinning {model}").format(model=name))
            return
        words = (
            self.tr("{model} stays in memory") if pinned else self.tr("{model} may leave the memory again")
        )
        self._shell.say(words.format(model=name))

    def _use_as_target(self) -> None:
        line = self._chosen()
        if line is not None and line.instance is not None and line.state == "ready":
            self._make_target(line.instance)

    def _make_target(self, instance: Instance) -> None:
        record = self._workspace.registry.at(instance.url or "")
        if record is not None:
            self._shell.set_target(record.id, instance.model)
