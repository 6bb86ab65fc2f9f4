"""What is known of the chosen server and model, what can be done with them, and a note about the server."""

from collections.abc import Mapping, Sequence
from typing import Final

from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from llama_runner.backends.models import ModelInfo
from llama_runner.core import format
from llama_runner.core.text import visible_controls
from llama_runner.discovery.manager import MAX_NOTE_CHARS
from llama_runner.discovery.registry import ServerRecord, ServerSource, ServerStatus
from llama_runner.ui.tabs.discovery_facts import model_facts, server_facts
from llama_runner.ui.tabs.discovery_rows import ModelRow, status_kind, status_text
from llama_runner.ui.theme import SPACE_M, SPACE_S, SPACE_XS
from llama_runner.ui.widgets.busy import BusyBar
from llama_runner.ui.widgets.commands import CommandAction, CommandButton
from llama_runner.ui.widgets.facts import FactList
from llama_runner.ui.widgets.flow import FlowLayout
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.note_edit import NoteEdit

# How much of somebody else's sentence is shown.
PROBLEM_CHARS: Final = 2000
# Narrower and buttons stand below each other; the table needs the room more.
WIDTH: Final = 320
USES: Final = ("server-chat", "server-arena", "server-stress")
CARE: Final = (
    "server-target",
    "server-check",
    "server-load",
    "server-unload",
    "server-key",
    "server-pin",
    "server-wake",
    "server-favourite",
    "server-copy",
    "server-remove",
)
WARNING: Final = ("server-trust",)


class DetailsPanel(QScrollArea):
    """Shows what it is told; its buttons follow the tab's actions. `note_written`: server id and text."""

    note_written = Signal(str, str)

    def __init__(self, actions: Mapping[str, CommandAction], busy: BusyBar) -> None:
        super().__init__()
        self._busy = busy
        self.setAccessibleName(self.tr("Details of the chosen server and model"))
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMinimumWidth(WIDTH - 60)
        self._page = QWidget()
        self.setWidget(self._page)
        self._build_head()
        self._build_warning(actions)
        self._model_facts = FactList(name=self.tr("About the model"))
        self._server_facts = FactList(name=self.tr("About the server"))
        self._note = NoteEdit(
            name=self.tr("Note about the server"),
            placeholder=self.tr("Anything to remember about this server. Kept by itself."),
            most_chars=MAX_NOTE_CHARS,
        )
        self._note.written.connect(self.note_written)
        self._lay_out(
            self._buttons([actions[name] for name in USES]),
            self._buttons([actions[name] for name in CARE]),
        )
        self.show_rows((), has_key=False)

    def _build_head(self) -> None:
        self._title = NameLabel()
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        self._title.setAccessibleName(self.tr("Chosen model"))
        self._where = NameLabel(muted=True)
        self._where.setAccessibleName(self.tr("Server of the chosen model"))
        self._status = PlainLabel(wrap=True)
        self._status.setAccessibleName(self.tr("Status of the chosen server"))
        self._problem = PlainLabel(wrap=True, selectable=True)
        self._problem.setAccessibleName(self.tr("What is wrong with the chosen server"))

    def _build_warning(self, actions: Mapping[str, CommandAction]) -> None:
        self._warning = QFrame(self._page)
        self._warning.setObjectName("notice")
        self._warning.setProperty("severity", "warning")
        self._warning_text = PlainLabel(wrap=True, selectable=True)
        self._warning_text.setAccessibleName(self.tr("Warning about the chosen server"))
        column = QVBoxLayout(self._warning)
        column.setContentsMargins(SPACE_M, SPACE_S, SPACE_S, SPACE_S)
        column.setSpacing(SPACE_S)
        column.addWidget(self._warning_text)
        column.addWidget(self._buttons([actions[name] for name in WARNING]))

    def _buttons(self, actions: Sequence[CommandAction]) -> QWidget:
        row = QWidget(self._page)
        flow = FlowLayout()
        for action in actions:
            flow.addWidget(CommandButton(action, row))
        row.setLayout(flow)
        return row

    def _lay_out(self, uses: QWidget, care: QWidget) -> None:
        self._about_model = PlainLabel(self.tr("Model"), bold=True)
        self._about_server = PlainLabel(self.tr("Server"), bold=True)
        self._about_note = PlainLabel(self.tr("Note"), bold=True)
        self._about_note.setBuddy(self._note)
        head = QVBoxLayout()
        head.setSpacing(SPACE_XS)
        for label in (self._title, self._where, self._status, self._problem):
            head.addWidget(label)
        column = QVBoxLayout(self._page)
        column.setContentsMargins(SPACE_S, 0, SPACE_XS, 0)
        column.setSpacing(SPACE_S)
        column.addLayout(head)
        for widget in (
            self._warning,
            uses,
            self._busy,
            care,
            self._about_model,
            self._model_facts,
            self._about_server,
            self._server_facts,
            self._about_note,
            self._note,
        ):
            column.addWidget(widget)
        column.addStretch(1)

    # --- showing -------------------------------------------------------------------------------------------

    def show_rows(
        self, rows: Sequence[ModelRow], *, has_key: bool, described: ModelInfo | None = None
    ) -> None:
        """Show what is chosen.

        Args:
            described: More about the one chosen model than its server's list says.
        """
        row = rows[0] if len(rows) == 1 else None
        record = row.record if row is not None else None
        self._show_head(rows, row)
        self._show_warning(record)
        self._problem.setText("" if record is None else problem_of(record))
        self._problem.setVisible(record is not None and bool(record.problem))
        facts = model_facts(described or (row.info if row is not None else None))
        self._model_facts.show_facts(facts)
        self._about_model.setVisible(bool(facts))
        self._model_facts.setVisible(bool(facts))
        self._server_facts.show_facts(() if record is None else server_facts(record, has_key=has_key))
        noted = record is not None and record.source is not ServerSource.SERVICE
        self._note.show_note(record.id if noted and record else "", record.note if noted and record else "")
        self._about_server.setVisible(record is not None)
        self._server_facts.setVisible(record is not None)
        self._about_note.setVisible(noted)
        self._note.setVisible(noted)

    def _show_head(self, rows: Sequence[ModelRow], row: ModelRow | None) -> None:
        if row is None:
            chosen = self.tr("{n} rows chosen").format(n=format.count(len(rows)))
            self._title.set_name(chosen if rows else self.tr("Nothing chosen"))
            servers = {one.record.id: one.record.address for one in rows}
            self._where.set_name(
                ", ".join(servers.values()) if rows else self.tr("Choose a row to see what is known of it.")
            )
            self._status.setText("")
            return
        self._title.set_name(row.info.id if row.info is not None else row.record.address)
        self._where.set_name(row.record.address if row.info is not None else self.tr("lists no model"))
        self._status.setText(status_text(row.record))
        self._status.set_status(status_kind(row.record))

    def _show_warning(self, record: ServerRecord | None) -> None:
        text = "" if record is None else warning_of(record)
        self._warning_text.setText(text)
        self._warning.setVisible(bool(text))

    def keep_note(self) -> None:
        """Have a note that is being written kept now."""
        self._note.keep()

    def go_to_note(self) -> None:
        """Begin to write a note."""
        self._note.setFocus()
        self.ensureWidgetVisible(self._note)

    def as_text(self) -> str:
        """Everything that is shown, to be copied."""
        lines = [f"{self._title.text()}\t{self._where.text()}", self._model_facts.as_text()]
        return "\n".join(filter(None, [*lines, self._server_facts.as_text()]))


def problem_of(record: ServerRecord) -> str:
    """What is wrong with a server and, where the sentence does not say so, what to do."""
    problem = visible_controls(record.problem, PROBLEM_CHARS)
    if problem and record.status is ServerStatus.NEEDS_KEY:
        return f"{problem} {_tr('Give it with the button API key.')}"
    if not problem or record.status is not ServerStatus.OFFLINE:
        return problem
    return f"{problem} {_tr('Start the server, or put its address right, then press Check.')}"


def warning_of(record: ServerRecord) -> str:
    """What a person should know before they use a server; empty when there is nothing."""
    if not record.changed:
        return ""
    changed = visible_controls(record.changed, PROBLEM_CHARS)
    return f"{changed} {_tr('Until you trust it, its key is not sent.')}"


def _tr(text: str) -> str:
    return QCoreApplication.translate("discovery", text)
