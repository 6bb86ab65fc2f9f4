"""What is done to conversations as a whole: begin, rename, export, import, delete and undo that."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QFileDialog, QListView, QWidget
from shiboken6 import isValid

from llama_runner.chat.conversation import ConversationSnapshot
from llama_runner.chat.history_export import EXPORTS
from llama_runner.chat.history_values import KeptConversation
from llama_runner.core import format
from llama_runner.core.errors import LlamaRunnerError, UsageError
from llama_runner.core.files import write_atomic
from llama_runner.ui.async_slots import async_slot_once, is_running, start_task
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.chat_list import title_of
from llama_runner.ui.widgets.busy import BusyBar
from llama_runner.ui.widgets.commands import AVAILABLE, Availability, Command, CommandAction, actions_of
from llama_runner.ui.widgets.questions import ask_line, confirm
from llama_runner.ui.widgets.undo import UndoStrip

if TYPE_CHECKING:
    from llama_runner.chat.importing import ImportReport
    from llama_runner.workspace import Workspace

_IMPORT: Final = "import conversations"
# A file name that every file system takes.
MAX_NAME_CHARS: Final = 60


class ChatCare(QWidget):
    """Never shown itself: its tasks end with the tab.

    Signals:
        changed: The list of conversations is another one.
        begin_wanted: A new conversation; True for a private one.
        gone: A conversation was deleted.
        show_wanted: A conversation was brought back.

    Args:
        current: The conversation that is shown.
    """

    changed = Signal()
    begin_wanted = Signal(bool)
    gone = Signal(str)
    show_wanted = Signal(str)

    def __init__(
        self,
        workspace: "Workspace",
        shell: Shell,
        current: Callable[[], ConversationSnapshot],
        *,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("chat-care")
        self.hide()
        self._workspace, self._shell, self._current = workspace, shell, current
        self._parent = parent
        self._actions: dict[str, CommandAction] = {}
        self._importing: asyncio.Task[None] | None = None
        self.undo = UndoStrip()
        self.busy = BusyBar(name=self.tr("Importing conversations"), narrow=True)
        self.busy.setObjectName("chat-import-progress")
        self.busy.stopped.connect(self._stop_import)

    def actions_for(self, view: QListView) -> dict[str, CommandAction]:
        """The commands as actions of the list, by name."""
        tr, some = self.tr, self._some
        commands = (
            Command("chat-new", tr("New"), tr("New conversation"), self._begin, _always, "Ctrl+N"),
            Command("chat-private", tr("New private conversation"),
                    tr("A conversation that is never kept"), self._begin_private, _always, "Ctrl+Shift+N"),
            Command("chat-rename", tr("Rename…"), tr("Give this conversation another title"),
                    self._rename, some, "F2"),
            Command("chat-export", tr("Export…"),
                    tr("Save this conversation as Markdown, JSON or a web page"), self._export, some),
            Command("chat-import", tr("Import…"),
                    tr("Bring in conversations of ChatGPT, Open WebUI, LM Studio or this program"),
                    self._import, self._can_import),
            Command("chat-delete", tr("Delete"), tr("Delete this conversation"), self._delete,
                    _always, "Del"),
        )  # fmt: skip
        self._actions = actions_of(commands, view)
        for name in ("chat-new", "chat-private", "chat-rename"):
            # Heard wherever the focus is; a hidden tab does not hear them.
            self._actions[name].setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        view.addActions(list[QAction](self._actions.values()))
        self.refresh()
        return self._actions

    def refresh(self) -> None:
        """See anew what can be done."""
        for action in self._actions.values():
            action.refresh()

    def _some(self) -> Availability:
        if self._current().messages:
            return AVAILABLE
        return Availability(why_not=self.tr("There is nothing in this conversation yet."))

    def _can_import(self) -> Availability:
        if is_running(self, _IMPORT):
            return Availability(why_not=self.tr("An import is running."))
        return AVAILABLE

    def _begin(self) -> None:
        self.begin_wanted.emit(False)

    def _begin_private(self) -> None:
        self.begin_wanted.emit(True)

    # --- deleting ------------------------------------------------------------------------------------------

    @async_slot_once
    async def _delete(self) -> None:
        snapshot = self._current()
        title = title_of(snapshot)
        kept: KeptConversation | None = None
        try:
            if self._workspace.keeper.is_kept(snapshot.id):
                kept = await self._workspace.keeper.delete(snapshot.id)
            elif not await self._forget(snapshot, title):
                return
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("deleting the conversation"))
            return
        self.gone.emit(snapshot.id)
        self.changed.emit()
        said = self.tr("Deleted “{title}”.").format(title=title)
        self._shell.say(said)
        if kept is not None:
            self.undo.offer(said, lambda: self._bring_back(kept))

    async def _forget(self, snapshot: ConversationSnapshot, title: str) -> bool:
        """Delete what is not kept, after a question: nothing could bring it back."""
        if snapshot.messages and not await confirm(
            self._parent,
            title=self.tr("Delete a conversation"),
            text=self.tr("Delete “{title}”?").format(title=title),
            action=self.tr("Delete"),
            details=self.tr("It is not kept, so it cannot be brought back."),
        ):
            return False
        if snapshot.id in self._workspace.chat.conversations:
            await self._workspace.chat.delete(snapshot.id)
        return True

    def _bring_back(self, kept: KeptConversation) -> None:
        start_task(self, self._put_back(kept), name="bring a conversation back")

    async def _put_back(self, kept: KeptConversation) -> None:
        try:
            await self._workspace.keeper.put_back(kept)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("bringing the conversation back"))
            return
        self.changed.emit()
        self.show_wanted.emit(kept.id)

    # --- renaming ------------------------------------------------------------------------------------------

    @async_slot_once
    async def _rename(self) -> None:
        snapshot = self._current()
        if not snapshot.messages:
            return
        title = await ask_line(
            self._parent,
            title=self.tr("Rename a conversation"),
            text=self.tr("Title"),
            action=self.tr("Rename"),
            check=_checked_title,
            placeholder=title_of(snapshot),
        )
        if title is None:
            return
        try:
            if self._workspace.keeper.is_kept(snapshot.id):
                await self._workspace.keeper.rename(snapshot.id, title)
            else:
                self._workspace.chat.set_title(snapshot.id, title)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("renaming the conversation"))
            return
        self.changed.emit()

    # --- files ---------------------------------------------------------------------------------------------

    def _dialog(self, title: str) -> QFileDialog:
        dialog = QFileDialog(self._parent, title)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        return dialog

    def _export(self) -> None:
        snapshot = self._current()
        dialog = self._dialog(self.tr("Export the conversation"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        filters = {
            self.tr("Markdown (*.md)"): "md",
            self.tr("Web page (*.html)"): "html",
            self.tr("JSON, can be imported again (*.json)"): "json",
        }
        dialog.setNameFilters(list(filters))
        dialog.setDefaultSuffix("md")
        dialog.filterSelected.connect(lambda chosen: dialog.setDefaultSuffix(filters[chosen]))
        dialog.selectFile(file_name(title_of(snapshot)))
        dialog.fileSelected.connect(lambda path: self.export_to(snapshot.id, Path(path)))
        dialog.open()

    def export_to(self, conversation_id: str, path: Path) -> None:
        """Write a conversation to a file, in the format that its suffix says; Markdown without one."""
        start_task(self, self._write(conversation_id, path), name="export a conversation")

    async def _write(self, conversation_id: str, path: Path) -> None:
        form = EXPORTS.get(path.suffix.lower().removeprefix("."), EXPORTS["md"])
        try:
            kept = await self._workspace.keeper.whole(conversation_id)
            await asyncio.to_thread(
                lambda: write_atomic(path, form(kept).encode("utf-8", "backslashreplace"))
            )
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("exporting the conversation"))
            return
        self._shell.say(self.tr("Exported to {path}.").format(path=path))

    def _import(self) -> None:
        dialog = self._dialog(self.tr("Import conversations"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters([self.tr("Exports (*.json *.jsonl)"), self.tr("All files (*)")])
        dialog.fileSelected.connect(lambda path: self.import_from(Path(path)))
        dialog.open()

    def import_from(self, path: Path) -> None:
        """Bring in the conversations of an export, unless another import runs."""
        if not is_running(self, _IMPORT):
            self.busy.begin(self.tr("Reading…"))
            self._importing = start_task(self, self._read(path), name=_IMPORT)

    def _stop_import(self) -> None:
        if self._importing is not None:
            self._importing.cancel()

    async def _read(self, path: Path) -> None:
        from llama_runner.chat.importing import import_file, in_words, room_for

        begun_ns = self._workspace.clock.now_ns()

        def progress(report: "ImportReport") -> None:
            share = report.read_bytes / max(report.total_bytes, 1)
            spent_s = (self._workspace.clock.now_ns() - begun_ns) / 1e9
            self.busy.progress(
                share,
                self.tr("{count} imported").format(count=format.count(report.new)),
                remaining_s=spent_s * (1 - share) / share if share else None,
            )

        try:
            await asyncio.to_thread(room_for, self._workspace.home.data_dir, path)
            report = await import_file(self._workspace.history, path, progress)
        except asyncio.CancelledError:
            self._shell.say(self.tr("The import was stopped; what came until then is kept."))
            raise
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("importing conversations"))
        else:
            first, *others = in_words(report)
            self._shell.say(first)
            if others:
                self._shell.notify(first, details="\n".join(others))
        finally:
            if isValid(self):
                self.busy.end()
                self.changed.emit()


def _always() -> Availability:
    return AVAILABLE


def _checked_title(typed: str) -> str:
    title = " ".join(typed.split())
    if not title:
        raise UsageError("A conversation needs a title.")
    return title


def file_name(title: str) -> str:
    """A name for the file of a conversation, without signs that some file system does not take."""
    kept = "".join(one if one.isalnum() or one in " -_." else " " for one in title)
    return " ".join(kept.split())[:MAX_NAME_CHARS].strip(" .") or "conversation"
