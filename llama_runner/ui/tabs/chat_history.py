"""The left side of the chat tab: kept conversations and those of the moment, searched as one types.

Asks the history, which works in a thread of its own, and shows what it said; reads no file itself.
"""

from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from llama_runner.chat.conversation import ConversationSnapshot
from llama_runner.chat.history_values import Summary
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.ui.async_slots import is_running, start_task
from llama_runner.ui.tabs import Severity, Shell
from llama_runner.ui.tabs.chat_care import ChatCare
from llama_runner.ui.tabs.chat_list import ConversationList, Row, row_of
from llama_runner.ui.theme import SPACE_S, tooltip
from llama_runner.ui.widgets.commands import CommandButton
from llama_runner.ui.widgets.label import PlainLabel

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

# More than a tall screen shows; the next ones come when the end of these is in sight.
PAGE: Final = 200
# A search is for one conversation: who finds a hundred looks for another word.
MOST_FOUND: Final = 100
# From the last key on: a word is typed before it is searched.
TYPING_MS: Final = 150
_LOOKING: Final = "look at kept conversations"


class HistoryPanel(QWidget):
    """Buttons, search and list. `picked`: a conversation to show, which may have to be opened first."""

    picked = Signal(str)

    def __init__(self, workspace: "Workspace", shell: Shell, care: ChatCare) -> None:
        super().__init__()
        self._workspace, self._shell, self._care = workspace, shell, care
        self._chat, self._history = workspace.chat, workspace.history
        self._kept: tuple[Summary, ...] = ()
        self._complete = True
        self._rows_wanted = PAGE
        self._stale = True
        self._current = ""
        self._written = workspace.keeper.kept.subscribe(maxlen=1)
        self._problems = workspace.keeper.problems.subscribe(maxlen=1)
        self.destroyed.connect(self._written.close)
        self.destroyed.connect(self._problems.close)
        self._build()
        self._lay_out()
        self.list.picked.connect(self.picked)
        self.list.rows_model.more_wanted.connect(self._want_more)
        care.changed.connect(self.refresh)

    # --- building ------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.list = ConversationList()
        self.list.setObjectName("chat-list")
        self._hint = PlainLabel(muted=True, wrap=True)
        self._hint.setAccessibleName(self.tr("What the search found"))
        self._hint.hide()
        self.search = QLineEdit()
        self.search.setObjectName("chat-search")
        self.search.setPlaceholderText(self.tr("Search (Ctrl+F)"))
        self.search.setAccessibleName(self.tr("Search conversations"))
        self.search.setClearButtonEnabled(True)
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(TYPING_MS)
        self._typing.timeout.connect(self.refresh)
        self.search.textChanged.connect(lambda _: self._typing.start())
        self.search.returnPressed.connect(self._to_list)
        leave = QShortcut(QKeySequence(Qt.Key.Key_Escape), self.search, self._leave_search)
        leave.setContext(Qt.ShortcutContext.WidgetShortcut)
        QShortcut(QKeySequence.StandardKey.Find, self, self._to_search)
        QShortcut(QKeySequence.StandardKey.Undo, self, self._care.undo.take_back)

    def _lay_out(self) -> None:
        actions = self._care.actions_for(self.list)
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        for name, icon in (("chat-new", "mdi6.plus"), ("chat-delete", "mdi6.trash-can-outline")):
            button: QPushButton = CommandButton(actions[name], self)
            self._shell.theme.give_icon(button, icon)
            button.setObjectName(name)
            # The word on it says too little to who does not see what it stands above.
            button.setAccessibleName(actions[name].command.hint)
            buttons.addWidget(button, 1)
        more = QToolButton()
        more.setObjectName("chat-more")
        more.setAccessibleName(self.tr("More about conversations"))
        more.setToolTip(tooltip(self.tr("Private conversation, rename, export, import")))
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._shell.theme.give_icon(more, "mdi6.dots-horizontal")
        menu = QMenu(more)
        menu.addActions(
            [action for name, action in actions.items() if name not in ("chat-new", "chat-delete")]
        )
        menu.aboutToShow.connect(self._care.refresh)
        more.setMenu(menu)
        buttons.addWidget(more)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE_S)
        column.addLayout(buttons)
        column.addWidget(self._care.busy)
        column.addWidget(self.search)
        column.addWidget(self.list, 1)
        column.addWidget(self._hint)
        column.addWidget(self._care.undo)

    # --- what is shown -------------------------------------------------------------------------------------

    def show_current(self, conversation_id: str) -> None:
        """Mark the conversation that is shown; it may be new."""
        self._current = conversation_id
        self._fill()

    def change(self, snapshot: ConversationSnapshot) -> None:
        """A conversation of the chat may have changed."""
        self.list.change(snapshot)

    def refresh(self) -> None:
        """What is kept may have changed."""
        self._stale = True
        self.look()

    def look(self) -> None:
        """See what happened since the last look; for the tab's own clock."""
        if self._written.drain():
            self._stale = True
        for problem in self._problems.drain():
            self._shell.report(problem, doing=self.tr("keeping the conversation"))
        for note in self._history.take_notes():
            self._shell.notify(note, severity=Severity.WARNING)
        if self._stale and not is_running(self, _LOOKING):
            self._stale = False
            start_task(self, self._look_again(), name=_LOOKING)

    async def _look_again(self) -> None:
        words = self.search.text()
        try:
            if words.strip():
                found = await self._history.search(words, MOST_FOUND)
                self._kept, self._complete = found.conversations, found.complete
            else:
                self._kept = await self._history.page(self._rows_wanted)
                self._complete = len(self._kept) < self._rows_wanted
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("reading the kept conversations"))
        if words != self.search.text():
            self._stale = True
        self._fill()

    def _fill(self) -> None:
        searching = bool(self.search.text().strip())
        rows = [] if searching else self._not_listed()
        live = set(self._chat.conversations)
        rows += [
            row_of(self._chat.snapshot(kept.id), kept)
            if kept.id in live
            else Row(kept.id, kept.title, kept=kept)
            for kept in self._kept
        ]
        self.list.fill(rows, self._current, more=not searching and not self._complete)
        self._show_hint(searching)

    def _not_listed(self) -> list[Row]:
        """Conversations of the chat that the page of kept ones does not have: new, private, far down."""
        listed = {kept.id for kept in self._kept}
        ids = (one for one in reversed(self._chat.conversations) if one not in listed)
        return [row_of(self._chat.snapshot(one)) for one in ids]

    def _show_hint(self, searching: bool) -> None:
        if not searching or (self._kept and self._complete):
            self._hint.hide()
            return
        nothing = self.tr("Nothing was found.") if not self._kept else ""
        more = "" if self._complete else self.tr("There may be more: type rarer words.")
        self._hint.setText(" ".join(filter(None, (nothing, more))))
        self._hint.show()

    def _want_more(self) -> None:
        self._rows_wanted += PAGE
        self.refresh()

    # --- keyboard ------------------------------------------------------------------------------------------

    def _to_search(self) -> None:
        self.search.setFocus()
        self.search.selectAll()

    def _to_list(self) -> None:
        """Enter: search now, and go to what was found."""
        self._typing.stop()
        self.refresh()
        self.list.setFocus()

    def _leave_search(self) -> None:
        if self.search.text():
            self.search.clear()
        else:
            self.list.setFocus()
