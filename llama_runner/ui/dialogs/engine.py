"""A llama-server of one's own: its name, its program, and a look at what it can do before it is kept."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QCoreApplication, QDir, Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QWidget
from shiboken6 import isValid

from llama_runner.core.errors import LlamaRunnerError, UsageError
from llama_runner.core.serving_edits import using_engine, with_engine
from llama_runner.core.settings import AppConfig, NamedEngine
from llama_runner.core.text import visible_controls
from llama_runner.runtime.engine import EngineProbes
from llama_runner.runtime.engines import EngineReport, usable
from llama_runner.ui.async_slots import async_slot_once
from llama_runner.ui.dialogs.work import WorkDialog
from llama_runner.ui.theme import SPACE_S, tooltip
from llama_runner.ui.widgets.choice import CalmChoice
from llama_runner.ui.widgets.forms import labelled
from llama_runner.ui.widgets.label import PlainLabel

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

TEXT_CHARS: Final = 300
Edit = Callable[[AppConfig], AppConfig]


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


class EngineDialog(WorkDialog):
    """Adds or changes an engine, after starting it once. `done_with`: its name.

    Args:
        name: Of the engine that is changed; empty for a new one.
        entry: What it is now.
    """

    def __init__(
        self, workspace: "Workspace", parent: QWidget, name: str = "", entry: NamedEngine | None = None
    ) -> None:
        super().__init__(
            parent,
            title=self.tr("Change an engine") if name else self.tr("Add an engine"),
            word=self.tr("Save") if name else self.tr("Add"),
            busy=self.tr("Starting it once…"),
        )
        self._workspace, self._is_new = workspace, not name
        self._build_fields(name, entry or NamedEngine())
        self._found = PlainLabel(wrap=True, selectable=True)
        self._found.setAccessibleName(self.tr("What it can do"))
        self._check = QPushButton(self.tr("Check"))
        self._check.setAccessibleName(self.tr("Check the program"))
        self._check.setToolTip(tooltip(self.tr("Start it once to see what it can do; nothing is saved.")))
        self._check.setAutoDefault(False)
        self._check.clicked.connect(self._look)
        self._buttons.addButton(self._check, self._buttons.ButtonRole.ActionRole)
        self._lay_out()
        for line in (self._name, self._path):
            line.textChanged.connect(self._edited)
        self._edited()
        (self._name if self._is_new else self._path).setFocus()

    def _build_fields(self, name: str, entry: NamedEngine) -> None:
        self._name = QLineEdit(name)
        self._name.setAccessibleName(self.tr("Name of the engine"))
        self._name.setPlaceholderText(self.tr("Letters, digits and . _ -"))
        # Profiles choose it by its name.
        self._name.setReadOnly(not self._is_new)
        self._path = QLineEdit(entry.on(sys.platform))
        self._path.setAccessibleName(self.tr("Program of the engine"))
        self._path.setPlaceholderText(self.tr("Full path of a llama-server"))
        self._browse = QPushButton(self.tr("Browse…"))
        self._browse.setAccessibleName(self.tr("Choose the program of the engine"))
        self._browse.setAutoDefault(False)
        self._browse.clicked.connect(self._choose_file)
        self._tools: QComboBox = CalmChoice()
        self._tools.setAccessibleName(self.tr("Whether it can make models call tools"))
        for words, value in (
            (self.tr("As its own --help says"), None),
            (self.tr("Yes"), True),
            (self.tr("No"), False),
        ):
            self._tools.addItem(words, value)
        self._tools.setCurrentIndex(self._tools.findData(entry.supports_tools))
        self._use = QCheckBox(self.tr("Run models with it that name no other"))
        self._use.setAccessibleName(self._use.text())
        self._use.setVisible(self._is_new)

    def _lay_out(self) -> None:
        program = QWidget()
        row = QHBoxLayout(program)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(SPACE_S)
        row.addWidget(self._path, 1)
        row.addWidget(self._browse)
        fields = QWidget()
        grid = labelled(
            (
                (self.tr("Name"), self._name),
                (self.tr("Program"), program),
                (self.tr("Tool calls"), self._tools),
                ("", self._use),
            )
        )
        fields.setLayout(grid)
        about = PlainLabel(
            self.tr(
                "A llama-server of llama.cpp, or of a build of it. The program runs with your rights: choose "
                "only what you trust."
            ),
            muted=True,
            wrap=True,
        )
        self._column(about, fields, self._found)

    # --- what is entered -----------------------------------------------------------------------------------

    def _edited(self) -> None:
        self._clear_problem()
        self._found.clear()
        self._set_ready(True)

    def _set_ready(self, ready: bool) -> None:
        named, placed = bool(self._name.text().strip()), bool(self._path.text().strip())
        self._do.setEnabled(ready and named and placed)
        self._check.setEnabled(ready and named and placed)

    def _set_busy(self, busy: bool) -> None:
        super()._set_busy(busy)
        self._set_ready(not busy)

    def _choose_file(self) -> None:
        dialog = QFileDialog(self, self.tr("Choose a llama-server"))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        if folder := os.path.dirname(self._path.text()):
            dialog.setDirectory(folder)
        dialog.fileSelected.connect(lambda path: self._path.setText(QDir.toNativeSeparators(path)))
        dialog.open()

    def _edit(self) -> Edit:
        """What makes the settings have what is entered now; raises UsageError. Knows no widget: it is called
        in another thread.
        """
        name, path = self._name.text().strip(), os.path.expanduser(self._path.text().strip())
        tools, use, is_new = self._tools.currentData(), self._use.isChecked(), self._is_new

        def edit(config: AppConfig) -> AppConfig:
            if is_new and name in config.runtime.engines:
                raise UsageError(_tr("There is an engine of this name already."), _tr("Choose another."))
            changed = with_engine(config, name, path, tools)
            return using_engine(changed, name) if use else changed

        return edit

    # --- looking, and keeping it ---------------------------------------------------------------------------

    async def _report(self, edit: Edit) -> EngineReport:
        """What the program that is entered can do. Raises LlamaRunnerError."""
        name = self._name.text().strip()
        config = edit(await self._workspace.read_settings())
        return await usable(config.runtime, name, EngineProbes())

    @async_slot_once
    async def _look(self) -> None:
        self._clear_problem()
        self._found.clear()
        self._set_busy(True)
        try:
            self._found.setText(found_words(await self._report(self._edit())))
        except LlamaRunnerError as error:
            self._show_problem(f"{error.message} {error.hint}".strip())
        finally:
            if isValid(self):
                self._set_busy(False)

    async def _work(self) -> str | None:
        edit = self._edit()
        report = await self._report(edit)
        await self._workspace.edit_settings(edit)
        return report.name


def found_words(report: EngineReport) -> str:
    """What an engine can do, in a sentence or two."""
    tools = (
        _tr("It can make models call tools.")
        if report.supports_tools
        else _tr("It cannot make models call tools.")
    )
    lacks = (
        _tr("Options it lacks: {n}.").format(n=len(report.lacks))
        if report.lacks
        else _tr("It knows all load options.")
    )
    version = _tr("Version {version}.").format(version=report.version or _tr("unknown"))
    return visible_controls(" ".join((version, tools, lacks)), TEXT_CHARS)
