"""How the chosen model is loaded: a profile to start from, every option, the command line made of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from llama_runner.control.values import Plan, ServedModel
from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.load_options import NO_OPTIONS, LoadOptions
from llama_runner.core.text import visible_controls
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.models_form import OptionsForm
from llama_runner.ui.tabs.models_offers import offers_for
from llama_runner.ui.theme import SPACE_S, SPACE_XS, mono_font, tooltip

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace


class OptionsPage(QWidget):
    """What is entered for a model stays entered while another one is looked at."""

    edited = Signal()

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace, self._shell = workspace, shell
        self._file: ServedModel | None = None
        self._files: Sequence[ServedModel] = ()
        self._entered: dict[str, LoadOptions] = {}
        self._form = OptionsForm(shell.theme)
        self._command = QLineEdit()
        self._command.setReadOnly(True)
        self._command.setFont(mono_font(0.9))
        self._command.setAccessibleName(self.tr("Command line"))
        self._command.setPlaceholderText(self.tr("The command line appears here"))
        self._copy = QPushButton(self.tr("Copy"))
        self._copy.setAccessibleName(self.tr("Copy the command line"))
        self._copy.setToolTip(tooltip(self.tr("Put the command line on the clipboard, without the key.")))
        self._copy.setEnabled(False)
        self._copy.clicked.connect(self._copy_command)
        self._form.edited.connect(self._edited)
        self._lay_out()

    def _lay_out(self) -> None:
        command = QHBoxLayout()
        command.setSpacing(SPACE_S)
        command.addWidget(self._command, 1)
        command.addWidget(self._copy)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, SPACE_S, 0, 0)
        column.setSpacing(SPACE_XS)
        column.addWidget(self._form, 1)
        column.addLayout(command)

    @property
    def options(self) -> LoadOptions | None:
        """What is entered; None while some of it cannot be used."""
        return self._form.options if self._form.valid else None

    @property
    def profile(self) -> str | None:
        """The profile that the options start from."""
        return None

    def go_to_search(self) -> None:
        """Have the keyboard's focus in the search for options."""
        self._form.go_to_search()

    def show_file(self, file: ServedModel | None, files: Sequence[ServedModel]) -> None:
        """Another model, or news of the same.

        Args:
            files: All there are: some may draft for others.
        """
        if file == self._file and files is self._files:
            return
        another = (file.id if file else None) != (self._file.id if self._file else None)
        self._file, self._files = file, files
        if file is None:
            return
        if another:
            self._form.set_options(self._entered.get(file.id, NO_OPTIONS))
            self._say_command("")
        trained = file.context_length
        self._form.show_defaults({} if trained is None else {"context_length": format.count(trained)})
        self._form.offer(offers_for(file, files, self._workspace.settings.runtime.engines))

    def show_plan(self, plan: Plan) -> None:
        """What would be started."""

    def show_no_plan(self, error: LlamaRunnerError) -> None:
        """These options cannot be used: why."""
        self._say_command(f"✕ {error.message}")

    def _edited(self) -> None:
        if self._file is not None:
            self._entered[self._file.id] = self._form.options
        self.edited.emit()

    def _say_command(self, text: str) -> None:
        shown = visible_controls(text)
        self._command.setText(shown)
        self._command.setCursorPosition(0)
        self._command.setToolTip(tooltip(shown))
        self._copy.setEnabled(bool(shown) and not shown.startswith("✕"))

    def _copy_command(self) -> None:
        QGuiApplication.clipboard().setText(self._command.text())
        self._shell.say(self.tr("Command line copied"))
