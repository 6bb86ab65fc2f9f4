"""How the chosen model is loaded: a profile to start from, every option, the command line made of them."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication, QShowEvent
from PySide6.QtWidgets import QGridLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from llama_runner.control.values import EngineInfo, Plan, ServedModel
from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.load_options import FLAGS, NO_OPTIONS, LoadOptions
from llama_runner.core.text import visible_controls
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.models_form import OptionsForm
from llama_runner.ui.tabs.models_offers import offers_for
from llama_runner.ui.tabs.models_option_row import option_text
from llama_runner.ui.tabs.models_profiles import NO_PROFILE, ProfileRow
from llama_runner.ui.theme import SPACE_S, SPACE_XS, mono_font, tooltip
from llama_runner.ui.widgets.label import PlainLabel

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

# Longer than any of ours; a line edit holds twice as much.
COMMAND_CHARS: Final = 16_000


@dataclass(frozen=True, slots=True)
class Entered:
    """What a person entered for a model, kept while another one is looked at."""

    profile: str
    options: LoadOptions


def command_text(command: Sequence[str], *, platform: str = sys.platform) -> str:
    """A command line as it is typed into a shell of this system."""
    if platform != "win32":
        return shlex.join(command)
    # No name of a file holds a quotation mark there, and nothing else of ours does.
    return " ".join(f'"{part}"' if " " in part or not part else part for part in command)


class OptionsPage(QWidget):
    """`edited`: the model would be loaded in another way now. The form is made when it is first seen."""

    edited = Signal()

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._file: ServedModel | None = None
        self._files: Sequence[ServedModel] = ()
        self._engines: tuple[EngineInfo, ...] = ()
        self._kept: dict[str, Entered] = {}
        self._options = NO_OPTIONS
        self._form: OptionsForm | None = None
        self._profiles = ProfileRow(workspace, shell, lambda: self._usable, parent=self)
        self._profiles.chosen.connect(self._start_from_profile)
        self._profiles.arrived.connect(self._profiles_arrived)
        self._build_command()
        self._lay_out()

    def _build_command(self) -> None:
        self._command = QLineEdit(self)
        self._command.setReadOnly(True)
        self._command.setProperty("compact", True)
        self._command.setFont(mono_font(0.9))
        self._command.setAccessibleName(self.tr("Command line"))
        self._command.setPlaceholderText(self.tr("The command line appears here"))
        self._copy = QPushButton(self.tr("Copy"), self)
        self._copy.setAccessibleName(self.tr("Copy the command line"))
        self._copy.setToolTip(tooltip(self.tr("Put the command line on the clipboard, without the key.")))
        self._copy.setEnabled(False)
        self._copy.clicked.connect(self._copy_command)

    def _lay_out(self) -> None:
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, SPACE_S, 0, 0)
        self._column.setSpacing(SPACE_XS)
        self._column.addWidget(self._profiles)
        self._column.addStretch(1)

    def _command_row(self) -> QWidget:
        holder = QWidget(self)
        title = PlainLabel(self.tr("Command line"), holder, bold=True)
        title.setBuddy(self._command)
        grid = QGridLayout(holder)
        grid.setContentsMargins(SPACE_S, SPACE_S, 0, SPACE_S)
        grid.setHorizontalSpacing(SPACE_S)
        grid.setVerticalSpacing(SPACE_XS)
        grid.addWidget(title, 0, 0)
        grid.addWidget(self._command, 1, 0)
        grid.addWidget(self._copy, 1, 1)
        return holder

    def showEvent(self, event: QShowEvent) -> None:
        """Make the form: a tab that only lists models does without its hundreds of widgets."""
        super().showEvent(event)
        if self._form is None:
            self._form = form = OptionsForm(self._shell.theme, self._command_row(), self)
            form.edited.connect(self._edited)
            self._column.takeAt(1)
            self._column.addWidget(form, 1)
            self._enter(self._options)
            self._fill()

    # --- what is wished for --------------------------------------------------------------------------------

    @property
    def _usable(self) -> LoadOptions | None:
        return self._options if self._form is None or self._form.valid else None

    @property
    def options(self) -> LoadOptions | None:
        """What counts before the profile; None while something entered cannot be used."""
        return NO_OPTIONS if self._as_profile else self._usable

    @property
    def profile(self) -> str | None:
        """The profile that counts: None for the model's default, empty for none.

        One that was changed here counts no more: all that it says is among the options then.
        """
        if not self._profiles.known:
            return None
        return self._profiles.name if self._as_profile else NO_PROFILE

    @property
    def _as_profile(self) -> bool:
        return self._usable is not None and self._options == self._profiles.options

    def go_to_search(self) -> None:
        """Have the keyboard's focus in the search for options."""
        if self._form is not None:
            self._form.go_to_search()

    # --- showing -------------------------------------------------------------------------------------------

    def show_file(self, file: ServedModel | None, files: Sequence[ServedModel]) -> None:
        """Another model, or news of the same.

        Args:
            files: All there are: some may draft for others.
        """
        if file == self._file and files is self._files:
            return
        another = file is not None and (self._file is None or file.id != self._file.id)
        self._file, self._files = file, files
        if file is not None and another:
            kept = self._kept.get(file.id)
            self._enter(kept.options if kept is not None else NO_OPTIONS)
            self._say_command("")
            self._profiles.show_model(file.id)
        if file is not None:
            self._fill()

    def _enter(self, options: LoadOptions) -> None:
        """Put these into the form."""
        self._options = options
        if self._form is not None:
            self._form.set_options(options)

    def _fill(self) -> None:
        """What counts where nothing is entered, and what can be picked."""
        if self._form is None or self._file is None:
            return
        self._form.show_defaults(self._defaults(self._file))
        names = [one.name for one in self._engines]
        self._form.offer(offers_for(self._file, self._files, names))
        self._profiles.refresh()

    def show_engines(self, engines: Sequence[EngineInfo]) -> None:
        """These can be chosen."""
        self._engines = tuple(engines)
        self._fill()

    def _engine(self) -> EngineInfo | None:
        """The one that would run it."""
        wanted = self._options.engine or self._profiles.parameters.engine
        return next((one for one in self._engines if one.name == wanted or (not wanted and one.used)), None)

    def _defaults(self, file: ServedModel) -> dict[str, str]:
        own, engine = self._profiles.parameters, self._engine()
        known = {name: text for name in FLAGS if (text := option_text(getattr(own, name)))}
        for name in engine.lacks if engine is not None else ():
            known.setdefault(name, self.tr("not in this engine"))
        if file.context_length is not None:
            known.setdefault("context_length", format.count(file.context_length))
        return known

    def _profiles_arrived(self) -> None:
        kept = self._kept.get(self._file.id) if self._file is not None else None
        if kept is not None:
            self._profiles.choose(kept.profile)
        else:
            self._enter(self._profiles.options)
        self._fill()
        self.edited.emit()

    def _start_from_profile(self) -> None:
        self._enter(self._profiles.options)
        self._keep()
        self._fill()
        self.edited.emit()

    def _edited(self) -> None:
        if self._form is not None:
            engine, self._options = self._options.engine, self._form.options
            if engine != self._options.engine:
                self._fill()
        self._keep()
        self._profiles.refresh()
        self.edited.emit()

    def _keep(self) -> None:
        if self._file is not None:
            self._kept[self._file.id] = Entered(self._profiles.name, self._options)

    # --- the command line ----------------------------------------------------------------------------------

    def show_plan(self, plan: Plan) -> None:
        """What would be started."""
        self._say_command(command_text(plan.command))

    def show_no_plan(self, error: LlamaRunnerError) -> None:
        """These options cannot be used: why."""
        self._say_command(f"✕ {error.message}")

    def _say_command(self, text: str) -> None:
        shown = visible_controls(text, COMMAND_CHARS)
        if shown == self._command.text():
            return
        self._command.setText(shown)
        self._command.setCursorPosition(0)
        self._command.setToolTip(tooltip(shown))
        self._copy.setEnabled(bool(shown) and not shown.startswith("✕"))

    def _copy_command(self) -> None:
        QGuiApplication.clipboard().setText(self._command.text())
        self._shell.say(self.tr("Command line copied"))
