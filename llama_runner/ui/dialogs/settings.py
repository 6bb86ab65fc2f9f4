"""The settings dialog, made from the schema: a section per page, a control per setting, checked while typing.

Values are read and checked by `core.editing`, the way `config set` does; nothing is known here about any one
setting. What is wrong is said beside the field, and nothing is saved until all is right.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from llama_runner.core.config import load_app_config
from llama_runner.core.editing import get_setting, parse_setting, set_setting
from llama_runner.core.errors import ConfigError, LlamaRunnerError
from llama_runner.core.fields import Applies, Kind, SettingInfo, all_settings, plain_number
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig
from llama_runner.system.config_changes import change_app_config
from llama_runner.ui.tabs import Severity, Shell
from llama_runner.ui.theme import SPACE_L, SPACE_M, SPACE_S, SPACE_XS, ThemeMode, tooltip
from llama_runner.ui.widgets.label import PlainLabel
from llama_runner.ui.widgets.questions import without_icons

if TYPE_CHECKING:
    from llama_runner.core.config import Loaded

# A text this long gets several lines.
LONG_TEXT: Final = 10_000
FIELD_WIDTH: Final = 320


def as_text(value: Any) -> str:
    """A value as it is typed."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return plain_number(value)
    return ", ".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


class SettingField(QWidget):
    """One setting: title, control with unit, help, and what is wrong with it."""

    def __init__(self, info: SettingInfo, value: Any, changed: Callable[[], None]) -> None:
        super().__init__()
        self.info = info
        self._initial = as_text(value)
        self._changed = changed
        self._problem = PlainLabel(wrap=True)
        self._problem.setObjectName("errorText")
        self._problem.setAccessibleName(self.tr("Problem with {title}").format(title=info.title))
        self._problem.hide()
        self._control = self._make_control()
        self._control.setAccessibleName(info.title)
        self._control.setAccessibleDescription(info.help)
        self._control.setToolTip(tooltip(f"{info.key}: {info.expectation}"))
        title = PlainLabel(info.title, bold=True)
        title.setBuddy(self._control)
        self._lay_out(title)
        self.set_text(self._initial)

    def _lay_out(self, title: PlainLabel) -> None:
        row = QHBoxLayout()
        row.setSpacing(SPACE_S)
        row.addWidget(self._control)
        if self.info.unit:
            row.addWidget(PlainLabel(self.info.unit, muted=True))
        if self._is_path:
            row.addWidget(self._browse_button())
        default = as_text(self.info.default)
        if self.info.kind in (Kind.INTEGER, Kind.NUMBER):
            hint = self.tr("(default {value})").format(value=default or self.tr("not set"))
            row.addWidget(PlainLabel(hint, muted=True))
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_XS)
        column.addWidget(title)
        column.addLayout(row)
        column.addWidget(
            PlainLabel(" ".join(filter(None, (self.info.help, self._counts()))), muted=True, wrap=True)
        )
        column.addWidget(self._problem)

    def _counts(self) -> str:
        """From when on a change counts, where that is not at once."""
        return {
            "now": "",
            "load": self.tr("Counts from the next load on."),
            "start": self.tr("Counts from the next start on."),
        }[self.info.applies]

    @property
    def _is_path(self) -> bool:
        return self.info.key.endswith((f".{_PLATFORM_KEY}",))

    def _browse_button(self) -> QPushButton:
        button = QPushButton(self.tr("Browse…"))
        button.setAccessibleName(self.tr("Browse for {title}").format(title=self.info.title))
        button.clicked.connect(self._browse)
        return button

    def _browse(self) -> None:
        dialog = QFileDialog(self, self.info.title)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if "_dir" in self.info.key:
            dialog.setFileMode(QFileDialog.FileMode.Directory)
        else:
            dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(self.set_text)
        dialog.open()

    def _make_control(self) -> QCheckBox | QComboBox | QPlainTextEdit | QLineEdit:
        info = self.info
        if info.kind is Kind.BOOLEAN:
            box = QCheckBox(self.tr("On"))
            box.toggled.connect(self._changed)
            return box
        if info.kind is Kind.CHOICE:
            combo = QComboBox()
            combo.addItems(info.choices)
            combo.currentTextChanged.connect(self._changed)
            return combo
        if (info.max_length or 0) >= LONG_TEXT:
            area = QPlainTextEdit()
            area.setTabChangesFocus(True)
            area.setFixedHeight(area.fontMetrics().lineSpacing() * 5 + 2 * SPACE_M)
            area.setMinimumWidth(FIELD_WIDTH)
            area.textChanged.connect(self._changed)
            return area
        line = QLineEdit()
        wide = info.kind in (Kind.TEXT, Kind.PORTS, Kind.NETWORKS)
        line.setFixedWidth(FIELD_WIDTH if wide else FIELD_WIDTH // 2)
        if info.optional:
            line.setPlaceholderText(self.tr("not set"))
        line.textChanged.connect(self._changed)
        return line

    @property
    def text(self) -> str:
        """What is entered, as text."""
        control = self._control
        if isinstance(control, QCheckBox):
            return "true" if control.isChecked() else "false"
        if isinstance(control, QComboBox):
            return control.currentText()
        return control.toPlainText() if isinstance(control, QPlainTextEdit) else control.text()

    @property
    def edited(self) -> bool:
        """Whether it differs from what it was."""
        return self.text != self._initial

    def set_text(self, text: str) -> None:
        """Enter `text`."""
        control = self._control
        if isinstance(control, QCheckBox):
            control.setChecked(text == "true")
        elif isinstance(control, QComboBox):
            control.setCurrentText(text)
        elif isinstance(control, QPlainTextEdit):
            control.setPlainText(text)
        else:
            control.setText(text)

    def show_problem(self, text: str) -> None:
        """Say what is wrong; empty when nothing is."""
        self._problem.setText(text)
        self._problem.setVisible(bool(text))
        self._control.setProperty("invalid", bool(text))
        self._control.style().unpolish(self._control)
        self._control.style().polish(self._control)


_PLATFORM_KEY: Final = "windows" if sys.platform == "win32" else "linux"
_OTHER_KEY: Final = "linux" if sys.platform == "win32" else "windows"


class SettingsDialog(QDialog):
    """Every setting there is, by section."""

    saved = Signal()

    def __init__(self, home: Home, shell: Shell, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Settings"))
        self.resize(820, 600)
        self._home, self._shell = home, shell
        self._loaded: Loaded[AppConfig] = load_app_config(home)
        self._fields: list[SettingField] = []
        self._sections = QListWidget()
        self._sections.setAccessibleName(self.tr("Sections"))
        self._sections.setFixedWidth(150)
        self._sections.setSpacing(2)
        self._pages = QStackedWidget()
        self._buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save
            | QDialogButtonBox.StandardButton.Cancel
            | QDialogButtonBox.StandardButton.RestoreDefaults
        )
        self._buttons.accepted.connect(self._save)
        self._buttons.rejected.connect(self.reject)
        without_icons(self._buttons)
        restore = self._buttons.button(QDialogButtonBox.StandardButton.RestoreDefaults)
        restore.clicked.connect(self._restore_defaults)
        self._note = PlainLabel(wrap=True, muted=True)
        self._fill_pages()
        self._lay_out()
        self._sections.currentRowChanged.connect(self._pages.setCurrentIndex)
        self._sections.setCurrentRow(0)
        self._check()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(SPACE_L)
        row.addWidget(self._sections)
        row.addWidget(self._pages, 1)
        column = QVBoxLayout(self)
        column.addLayout(row, 1)
        column.addWidget(self._note)
        column.addWidget(self._buttons)

    def _fill_pages(self) -> None:
        by_section: dict[str, list[SettingInfo]] = {}
        for info in all_settings(AppConfig):
            # The other system's paths are kept as they are; they are not of this machine.
            if not info.key.endswith(f".{_OTHER_KEY}"):
                by_section.setdefault(info.key.partition(".")[0], []).append(info)
        for name, infos in by_section.items():
            section = AppConfig.model_fields[name].annotation
            description = (getattr(section, "__doc__", "") or "").strip().split("\n")[0]
            self._sections.addItem(name.capitalize() if name != "ui" else self.tr("Window"))
            self._sections.item(self._sections.count() - 1).setSizeHint(QSize(0, 30))
            self._pages.addWidget(self._page(description, infos))

    def _page(self, description: str, infos: list[SettingInfo]) -> QScrollArea:
        inner = QWidget()
        grid = QGridLayout(inner)
        grid.setContentsMargins(0, 0, SPACE_M, 0)
        grid.setVerticalSpacing(SPACE_L)
        grid.addWidget(PlainLabel(description, bold=True, scale=1.2), 0, 0)
        for info in infos:
            field = SettingField(info, get_setting(self._loaded.value, info.key), self._check)
            self._fields.append(field)
            grid.addWidget(field, grid.rowCount(), 0)
        grid.setRowStretch(grid.rowCount(), 1)
        area = QScrollArea()
        area.setWidget(inner)
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        return area

    def _check(self) -> None:
        """Tell beside each edited field what is wrong with it; saving waits until nothing is."""
        sound = True
        for field in self._fields:
            problem = ""
            if field.edited:
                try:
                    set_setting(self._loaded.value, field.info.key, field.text)
                except ConfigError as error:
                    problem, sound = error.message, False
            field.show_problem(problem)
        edited = {field.info.applies for field in self._fields if field.edited}
        save = self._buttons.button(QDialogButtonBox.StandardButton.Save)
        save.setEnabled(sound and bool(edited) and self._loaded.writable)
        self._note.setText(self._note_text(edited))

    def _note_text(self, edited: set[Applies]) -> str:
        if not self._loaded.writable:
            return self._loaded.problems[0].message
        if self._loaded.unusable:
            return self.tr(
                "The file could not be used, so these are the defaults. Saving writes a new file and keeps "
                "the old one in the folder config/backups."
            )
        if "start" in edited:
            return self.tr("Some of these changes count from the next start on; the fields say which.")
        return ""

    def _restore_defaults(self) -> None:
        for field in self._fields:
            field.set_text(as_text(field.info.default))

    def _save(self) -> None:
        try:
            changes = {
                field.info.key: parse_setting(field.info.key, field.text)
                for field in self._fields
                if field.edited
            }
            # Only these: what a command or another window changed while this was open stays changed.
            _, config = change_app_config(self._home, changes)
        except LlamaRunnerError as error:
            self._shell.notify(error.message, severity=Severity.ERROR, details=error.hint)
            return
        self._shell.theme.set_mode(ThemeMode(config.ui.theme))
        self._shell.say(self.tr("Settings saved"))
        self.saved.emit()
        self.accept()
