"""The named ways to load the chosen model: choose one, save, rename, delete it, with a way back."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from llama_runner.control.client import ControlClient
from llama_runner.control.serving import ProfileList
from llama_runner.core.errors import LlamaRunnerError, UsageError
from llama_runner.core.load_options import NO_OPTIONS, LoadOptions
from llama_runner.core.text import visible_controls
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.tabs import Shell
from llama_runner.ui.theme import SPACE_S, SPACE_XS, tooltip
from llama_runner.ui.widgets.choice import CalmChoice
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.questions import ask_line
from llama_runner.ui.widgets.undo import UndoStrip

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

NAME_CHARS: Final = 64
NO_PROFILE: Final = ""
Change = Callable[[ControlClient, str], Awaitable[ProfileList]]


class ProfileRow(QWidget):
    """`chosen`: a person wants to start from another profile. `arrived`: the profiles of a model are known.

    Args:
        entered: The options as they are in the form; None while some of them cannot be used.
    """

    chosen = Signal()
    arrived = Signal()

    def __init__(
        self, workspace: "Workspace", shell: Shell, entered: Callable[[], LoadOptions | None], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._workspace, self._shell, self._entered = workspace, shell, entered
        self._model = ""
        self._known: ProfileList | None = None
        self._box = CalmChoice(self)
        self._box.setAccessibleName(self.tr("Profile"))
        self._box.setToolTip(tooltip(self.tr("A named way to load this model. ★ counts when none is named.")))
        self._box.activated.connect(lambda _: self.chosen.emit())
        self._save = QPushButton(self.tr("Save"), self)
        self._save.setAccessibleName(self.tr("Save the profile"))
        self._save.clicked.connect(self._save_or_ask)
        self._more = QToolButton(self)
        self._more.setAccessibleName(self.tr("More about profiles"))
        self._more.setToolTip(tooltip(self.tr("Save as, rename, make it the default, delete")))
        self._more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        shell.theme.give_icon(self._more, "mdi6.dots-horizontal")
        self._build_menu()
        self.undo = UndoStrip()
        self._lay_out()
        self.refresh()

    def _build_menu(self) -> None:
        menu = QMenu(self._more)
        self._save_as = menu.addAction(self.tr("Save as…"))
        self._save_as.triggered.connect(lambda _=False: self._ask_save_as())
        self._rename = menu.addAction(self.tr("Rename…"))
        self._rename.triggered.connect(lambda _=False: self._ask_rename())
        self._default = menu.addAction(self.tr("Make it the default"))
        self._default.setCheckable(True)
        self._default.triggered.connect(lambda _=False: self._toggle_default())
        self._delete = menu.addAction(self.tr("Delete"))
        self._delete.triggered.connect(lambda _=False: self._remove())
        self._more.setMenu(menu)

    def _lay_out(self) -> None:
        label = PlainLabel(self.tr("Profile"), self)
        label.setBuddy(self._box)
        row = QHBoxLayout()
        row.setSpacing(SPACE_S)
        row.addWidget(label)
        row.addWidget(self._box, 1)
        row.addWidget(self._save)
        row.addWidget(self._more)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_XS)
        column.addLayout(row)
        column.addWidget(self.undo)

    # --- what is chosen ------------------------------------------------------------------------------------

    @property
    def known(self) -> bool:
        """Whether the profiles of the model are known."""
        return self._known is not None

    @property
    def name(self) -> str:
        """The profile that is chosen; empty for none."""
        return str(self._box.currentData() or NO_PROFILE)

    @property
    def options(self) -> LoadOptions:
        """What the chosen profile says."""
        return NO_OPTIONS if self._known is None else self._known.profiles.get(self.name, NO_OPTIONS)

    @property
    def parameters(self) -> LoadOptions:
        """What counts for every load of the model where no profile says otherwise."""
        return NO_OPTIONS if self._known is None else self._known.parameters

    def show_model(self, model: str) -> None:
        """Another model; its profiles are asked for."""
        self._model, self._known = model, None
        self.undo.forget()
        self._fill(NO_PROFILE)
        self._ask()

    def choose(self, name: str) -> None:
        """Start from this profile, without saying that a person wanted it."""
        self._box.setCurrentIndex(max(self._box.findData(name), 0))
        self.refresh()

    def refresh(self) -> None:
        """What can be done now."""
        entered, named = self._entered(), self.name != NO_PROFILE
        usable = self._known is not None and entered is not None
        edited = entered is not None and entered != self.options
        self._box.setEnabled(self._known is not None)
        self._save.setEnabled(usable and edited)
        self._save.setToolTip(
            tooltip(
                self.tr("Keep the options in the chosen profile.")
                if named
                else self.tr("Keep the options as a new profile.")
            )
        )
        self._save_as.setEnabled(usable)
        for action in (self._rename, self._default, self._delete):
            action.setEnabled(self._known is not None and named)
        self._default.setChecked(named and self._known is not None and self._known.default == self.name)

    # --- asking --------------------------------------------------------------------------------------------

    @async_slot_once
    async def _ask(self) -> None:
        while self._known is None and (model := self._model):
            try:
                known = await (await self._workspace.service.ensure()).profiles(model)
            except LlamaRunnerError:
                # It went away between the look and the question, or the service did: the list says so.
                return
            if model == self._model:
                self._known = known
                self._fill(known.default or NO_PROFILE)
                self.arrived.emit()

    def _fill(self, name: str) -> None:
        self._box.clear()
        self._box.addItem(self.tr("none"), NO_PROFILE)
        known = self._known
        for one in known.profiles if known is not None else ():
            star = "★ " if known is not None and known.default == one else ""
            self._box.addItem(star + visible_controls(one, NAME_CHARS), one)
        self.choose(name)

    # --- changing ------------------------------------------------------------------------------------------

    async def _change(self, change: Change, name: str, *, doing: str) -> bool:
        """Have the service write it down, and start from `name`; whether it did."""
        model = self._model
        try:
            known = await change(await self._workspace.service.ensure(), model)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=doing)
            return False
        if model == self._model:
            self._known = known
            self._fill(name)
            self.chosen.emit()
        return True

    def _save_or_ask(self) -> None:
        if self.name == NO_PROFILE:
            self._ask_save_as()
        elif (options := self._entered()) is not None:
            self._write(self.name, options)

    @async_slot_once
    async def _write(self, name: str, options: LoadOptions) -> None:
        before = self.options

        def save(client: ControlClient, model: str) -> Awaitable[ProfileList]:
            return client.save_profile(model, name, options)

        if await self._change(save, name, doing=self.tr("saving a profile")):
            self.undo.offer(
                self.tr("Saved {name}").format(name=visible_controls(name, NAME_CHARS)),
                lambda: self._bring_back(name, before, False),
            )

    @async_slot_once
    async def _ask_save_as(self) -> None:
        options = self._entered()
        if options is None or (name := await self._new_name(self.tr("Save as a profile"))) is None:
            return

        def save(client: ControlClient, model: str) -> Awaitable[ProfileList]:
            return client.save_profile(model, name, options)

        if await self._change(save, name, doing=self.tr("saving a profile")):
            self._shell.say(self.tr("Saved {name}").format(name=visible_controls(name, NAME_CHARS)))

    @async_slot_once
    async def _ask_rename(self) -> None:
        old, options = self.name, self.options
        default = self._known is not None and self._known.default == old
        if (name := await self._new_name(self.tr("Rename the profile {name}").format(name=old))) is None:
            return

        async def rename(client: ControlClient, model: str) -> ProfileList:
            await client.save_profile(model, name, options)
            if default:
                await client.set_default_profile(model, name)
            return await client.remove_profile(model, old)

        await self._change(rename, name, doing=self.tr("renaming a profile"))

    @async_slot_once
    async def _toggle_default(self) -> None:
        name = self.name
        default = None if self._known is not None and self._known.default == name else name

        def choose(client: ControlClient, model: str) -> Awaitable[ProfileList]:
            return client.set_default_profile(model, default)

        await self._change(choose, name, doing=self.tr("choosing the default profile"))

    @async_slot_once
    async def _remove(self) -> None:
        name, options = self.name, self.options
        default = self._known is not None and self._known.default == name

        def remove(client: ControlClient, model: str) -> Awaitable[ProfileList]:
            return client.remove_profile(model, name)

        if await self._change(remove, NO_PROFILE, doing=self.tr("deleting a profile")):
            self.undo.offer(
                self.tr("Deleted {name}").format(name=visible_controls(name, NAME_CHARS)),
                lambda: self._bring_back(name, options, default),
            )

    @async_slot_once
    async def _bring_back(self, name: str, options: LoadOptions, default: bool) -> None:
        async def write(client: ControlClient, model: str) -> ProfileList:
            known = await client.save_profile(model, name, options)
            return await client.set_default_profile(model, name) if default else known

        await self._change(write, name, doing=self.tr("bringing a profile back"))

    async def _new_name(self, title: str) -> str | None:
        taken = self._known.profiles if self._known is not None else {}

        def check(text: str) -> str:
            if not (name := text.strip()):
                raise UsageError(self.tr("A name is needed."))
            if name in taken:
                raise UsageError(self.tr("There is a profile of this name already."))
            return name

        return await ask_line(
            self.window(), title=title, text=self.tr("Name"), action=self.tr("Save"), check=check
        )
