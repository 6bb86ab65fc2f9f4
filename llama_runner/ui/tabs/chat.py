"""The chat tab: conversations on the left, the transcript on the right, what is written below it."""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QSplitter, QVBoxLayout, QWidget

from llama_runner.backends.base import Target
from llama_runner.backends.live import AnswerState
from llama_runner.chat.conversation import ConversationSnapshot, TurnView
from llama_runner.core.errors import LlamaRunnerError, NotFoundError, UsageError
from llama_runner.ui.async_slots import is_running, start_task
from llama_runner.ui.tabs import Shell
from llama_runner.ui.tabs.chat_care import ChatCare
from llama_runner.ui.tabs.chat_history import HistoryPanel
from llama_runner.ui.tabs.chat_view import ConversationView
from llama_runner.ui.theme import SPACE_M, SPACE_S, SPACE_XS
from llama_runner.ui.widgets.answers import prefill_of, stage_of
from llama_runner.ui.widgets.figures import FiguresHelp
from llama_runner.ui.widgets.fold import FoldButton
from llama_runner.ui.widgets.label import NameLabel, PlainLabel
from llama_runner.ui.widgets.polling import Poller
from llama_runner.ui.widgets.prompt_edit import PromptEdit
from llama_runner.ui.widgets.safe_html import clean_text
from llama_runner.ui.widgets.sampling import SamplingForm
from llama_runner.ui.widgets.start_stop import StartStop
from llama_runner.ui.widgets.states import StateStack
from llama_runner.ui.widgets.transcript import TranscriptView

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

LIST_WIDTH: Final = 190
PROGRESS_WIDTH: Final = 120
_STEPS: Final = 1000


class ChatTab(QWidget):
    """Talks to the shared target."""

    def __init__(self, workspace: "Workspace", shell: Shell) -> None:
        super().__init__()
        self._workspace = workspace
        self._chat = workspace.chat
        self._shell = shell
        existing = self._chat.conversations
        self._current = existing[-1] if existing else self._new_id()
        # What was picked last: it is shown as soon as it is open.
        self._wanted = self._current
        self._seen: tuple[object, ...] = ()
        self._drafts: dict[str, str] = {}
        self._build_list()
        self._build_transcript()
        self._build_actions()
        self._build_input()
        self._lay_out()
        self._add_shortcuts()
        self._changes = self._chat.changed.subscribe(maxlen=64)
        self.destroyed.connect(self._changes.close)
        shell.target_changed.connect(self._show_target)
        workspace.keeper.start()
        self._panel.show_current(self._current)
        self._show_target()
        self._show_system_prompt()
        self._poller = Poller(self, self._read)

    # --- building ------------------------------------------------------------------------------------------

    def _build_list(self) -> None:
        self._care = ChatCare(self._workspace, self._shell, self._snapshot, parent=self)
        self._panel = HistoryPanel(self._workspace, self._shell, self._care)
        self._panel.picked.connect(self._pick)
        self._care.begin_wanted.connect(self._begin_new)
        self._care.gone.connect(self._forget)
        self._care.show_wanted.connect(self._pick)

    def _build_transcript(self) -> None:
        self._transcript = TranscriptView(self._shell.theme)
        self._transcript.setObjectName("chat-transcript")
        self._transcript.setAccessibleName(self.tr("Conversation"))
        self._view = ConversationView(self._transcript)
        self._stack = StateStack(self._shell.theme, self._transcript, icon="mdi6.message-text-outline")

    def _build_actions(self) -> None:
        self._status = PlainLabel(muted=True)
        self._status.setObjectName("chat-status")
        self._status.setAccessibleName(self.tr("State of the answer"))
        self._progress = QProgressBar()
        self._progress.setRange(0, _STEPS)
        self._progress.setTextVisible(False)
        self._progress.setFixedWidth(PROGRESS_WIDTH)
        self._progress.setAccessibleName(self.tr("Prompt read"))
        self._progress.hide()
        self._again = self._flat_button("chat-regenerate", "mdi6.refresh", self.tr("Regenerate"))
        self._again.clicked.connect(self._regenerate)
        self._copy = self._flat_button("chat-copy", "mdi6.content-copy", self.tr("Copy answer"))
        self._copy.clicked.connect(self._copy_answer)
        self._figures_help = FiguresHelp(self._shell.theme)

    def _flat_button(self, name: str, icon: str, word: str) -> QPushButton:
        button = QPushButton(word)
        button.setObjectName(name)
        button.setAccessibleName(word)
        button.setProperty("flat", True)
        self._shell.theme.give_icon(button, icon)
        return button

    def _build_input(self) -> None:
        theme = self._shell.theme
        self._target = NameLabel(muted=True)
        self._target.setObjectName("chat-target")
        self._target.setAccessibleName(self.tr("Model that answers"))
        self._system = PromptEdit(
            name=self.tr("System prompt"),
            placeholder=self.tr("Told to the model before the conversation; empty tells nothing."),
            sends=False,
        )
        self._system.setObjectName("chat-system")
        settings = self._workspace.settings.chat
        self._sampling = SamplingForm(
            temperature=settings.temperature, max_tokens=settings.max_tokens, wide=True
        )
        self._sampling.setObjectName("chat-options")
        self._sampling.edited.connect(self._show_buttons)
        self._system_fold = FoldButton(self.tr("System prompt"), self._system, theme)
        self._options_fold = FoldButton(self.tr("Options"), self._sampling, theme)
        self._input = PromptEdit(
            name=self.tr("Message"),
            placeholder=self.tr("Write a message. Enter sends, Shift+Enter begins a new line."),
        )
        self._input.setObjectName("chat-input")
        self._input.submitted.connect(self._send)
        self._input.textChanged.connect(self._show_buttons)
        self._go = StartStop(
            theme,
            start=self.tr("Send"),
            stop=self.tr("Stop"),
            start_icon="mdi6.send",
            names=("chat-send", "chat-stop"),
            hints=(self.tr("Send (Enter)"), self.tr("Stop the answer and keep what came (Esc)")),
        )
        self._go.started.connect(self._send)
        self._go.stopped.connect(self._stop)

    def _lay_out(self) -> None:
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.setChildrenCollapsible(False)
        splitter.setHandleWidth(SPACE_S)
        splitter.addWidget(self._panel)
        splitter.addWidget(self._right_side())
        splitter.setStretchFactor(0, 0)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([LIST_WIDTH, 10_000])
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE_M, SPACE_M, SPACE_M, SPACE_S)
        row.addWidget(splitter)

    def _right_side(self) -> QWidget:
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(SPACE_XS, 0, 0, 0)
        column.setSpacing(SPACE_XS)
        column.addWidget(self._stack, 1)
        actions = QHBoxLayout()
        actions.setSpacing(SPACE_S)
        actions.addWidget(self._status)
        actions.addWidget(self._progress)
        actions.addStretch(1)
        for button in (self._again, self._copy, self._figures_help):
            actions.addWidget(button)
        column.addLayout(actions)
        about = QHBoxLayout()
        about.setSpacing(SPACE_S)
        about.addWidget(self._target, 1)
        about.addWidget(self._system_fold)
        about.addWidget(self._options_fold)
        column.addLayout(about)
        column.addWidget(self._system)
        column.addWidget(self._sampling)
        entry = QHBoxLayout()
        entry.setSpacing(SPACE_S)
        entry.addWidget(self._input, 1)
        entry.addWidget(self._go, 0, Qt.AlignmentFlag.AlignBottom)
        column.addLayout(entry)
        return side

    def _add_shortcuts(self) -> None:
        # Of the window, so that it works wherever the focus is; a hidden tab does not hear it.
        self._escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self, self._stop)

    # --- conversations -------------------------------------------------------------------------------------

    def _new_id(self, *, private: bool = False) -> str:
        prompt = self._workspace.settings.chat.system_prompt
        return self._chat.new_conversation(prompt, private=private)

    def _begin_new(self, private: bool) -> None:
        now = self._snapshot()
        if now.messages or now.private is not private:
            self._pick(self._new_id(private=private))
        self._input.setFocus()

    def _pick(self, conversation_id: str) -> None:
        """Show a conversation; one that is only kept is opened first."""
        self._wanted = conversation_id
        if conversation_id == self._current:
            return
        if conversation_id in self._chat.conversations:
            self._show(conversation_id)
        else:
            start_task(self, self._open(conversation_id), name=f"open {conversation_id}")

    async def _open(self, conversation_id: str) -> None:
        try:
            await self._workspace.keeper.open(conversation_id)
        except LlamaRunnerError as error:
            self._shell.report(error, doing=self.tr("opening the conversation"))
            self._panel.show_current(self._current)
            return
        # Another one may have been picked meanwhile.
        if conversation_id == self._wanted:
            self._show(conversation_id)

    def _show(self, conversation_id: str) -> None:
        left = self._current
        self._keep_system_prompt()
        self._drafts[left] = self._input.text
        self._current = conversation_id
        self._input.setPlainText(self._drafts.pop(conversation_id, ""))
        self._show_system_prompt()
        self._show_target()
        self._panel.show_current(conversation_id)
        self._read()
        if not self._drafts[left]:
            del self._drafts[left]
            start_task(self, self._leave(left), name="leave a conversation")

    async def _leave(self, conversation_id: str) -> None:
        if conversation_id != self._current:
            await self._workspace.keeper.leave(conversation_id)
            self._panel.show_current(self._current)

    def _forget(self, conversation_id: str) -> None:
        """It was deleted."""
        self._view.drop(conversation_id)
        self._drafts.pop(conversation_id, None)
        if self._current == conversation_id:
            left = self._chat.conversations
            self._current = self._wanted = left[-1] if left else self._new_id()
            self._input.setPlainText(self._drafts.pop(self._current, ""))
            self._show_system_prompt()
        self._panel.show_current(self._current)
        self._read()

    def _snapshot(self) -> ConversationSnapshot:
        return self._chat.snapshot(self._current)

    def _show_system_prompt(self) -> None:
        self._system.setPlainText(self._snapshot().system_prompt)

    def _keep_system_prompt(self) -> None:
        if self._system.text != self._snapshot().system_prompt:
            self._chat.set_system_prompt(self._current, self._system.text)

    # --- asking --------------------------------------------------------------------------------------------

    def _why_not(self) -> str:
        """Why nothing can be sent now; empty when it can."""
        if self._shell.target is None:
            return self.tr("Choose a model first.")
        if not self._sampling.valid:
            return self.tr("Correct the options first.")
        return "" if self._input.text.strip() else self.tr("Write a message first.")

    def _busy(self) -> bool:
        return self._snapshot().busy or is_running(self, self._task_name(self._current))

    @staticmethod
    def _task_name(conversation_id: str) -> str:
        return f"chat {conversation_id}"

    def _send(self) -> None:
        if self._busy():
            return
        if why_not := self._why_not():
            self._shell.say(why_not)
            return
        text = self._input.text
        self._input.clear()
        self._input.setFocus()
        # Now rather than at the next look: laying it out would delay the reading of a fast first token.
        self._stack.show_content()
        start_task(self, self._ask(self._current, text), name=self._task_name(self._current))

    async def _ask(self, conversation_id: str, text: str) -> None:
        target = self._shell.target
        try:
            if target is None:
                raise UsageError("The chosen model is gone.", "Choose another one.")
            self._keep_system_prompt()
            turn = await self._chat.send(conversation_id, text, target, self._sampling.options)
            self._look_after(target, turn)
        except UsageError as error:
            self._shell.report(error, doing=self.tr("sending the message"))
            if self._current == conversation_id and not self._input.text:
                self._input.setPlainText(text)

    def _regenerate(self) -> None:
        if self._busy() or not self._snapshot().messages or not self._sampling.valid:
            return
        start_task(self, self._ask_again(self._current), name=self._task_name(self._current))

    async def _ask_again(self, conversation_id: str) -> None:
        try:
            self._keep_system_prompt()
            self._view.forget_last(conversation_id)
            target = self._shell.target
            turn = await self._chat.regenerate(conversation_id, target, self._sampling.options)
            self._look_after(target, turn)
        except UsageError as error:
            self._view.show_anew()
            self._shell.report(error, doing=self.tr("asking again"))

    def _look_after(self, target: Target | None, turn: TurnView) -> None:
        """Ask a server that failed how it is, so that the header does not go on calling it ready."""
        record = self._workspace.registry.at(target.endpoint.base_url) if target is not None else None
        failed = turn.state in (AnswerState.ERROR, AnswerState.TRUNCATED)
        name = f"check {record.id}" if record is not None else ""
        if record is not None and failed and not is_running(self, name):
            start_task(self, self._check(record.id), name=name)

    async def _check(self, server_id: str) -> None:
        # Taken off the list meanwhile: then nothing calls it ready.
        with suppress(NotFoundError):
            await self._workspace.discovery.check(server_id)

    def _stop(self) -> None:
        name = f"stop {self._current}"
        if self._chat.is_asking(self._current) and not is_running(self, name):
            start_task(self, self._chat.stop(self._current), name=name)

    def _copy_answer(self) -> None:
        answer = self._last_answer(self._snapshot())
        if answer is not None:
            QGuiApplication.clipboard().setText(clean_text(answer.text))
            self._shell.say(self.tr("Answer copied."))

    # --- showing -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        changed = {one for one in self._changes.drain() if one != self._current}
        snapshot = self._snapshot()
        self._view.show(snapshot)
        self._panel.look()
        for one in changed & set(self._chat.conversations):
            self._panel.change(self._chat.snapshot(one))
        seen = (snapshot.id, snapshot.revision, self._busy())
        if seen != self._seen:
            self._seen = seen
            self._panel.change(snapshot)
            self._show_state(snapshot)

    def _show_state(self, snapshot: ConversationSnapshot) -> None:
        if snapshot.messages:
            self._stack.show_content()
        else:
            self._show_empty()
        self._show_status(self._last_answer(snapshot))
        self._show_buttons()

    def _show_empty(self) -> None:
        if self._shell.target is not None:
            self._stack.show_empty(
                self.tr("Ask something"),
                self.tr("The answer appears here, with its figures below."),
                (self.tr("Write a message"), self._input.setFocus),
            )
            return
        self._stack.show_empty(
            self.tr("Choose a model to talk to"),
            self.tr("Load one of your own models, or find a server that already runs."),
            (self.tr("Load a model"), lambda: self._shell.open_tab("models")),
            (self.tr("Find servers"), lambda: self._shell.open_tab("discovery")),
        )

    def _show_status(self, answer: TurnView | None) -> None:
        read = None if answer is None else prefill_of(answer)
        self._progress.setVisible(read is not None)
        self._progress.setValue(round((read or 0.0) * _STEPS))
        self._status.setText("" if answer is None else stage_of(answer))

    def _show_buttons(self) -> None:
        answer = self._last_answer(self._snapshot())
        busy = self._busy()
        failed = answer is not None and answer.state in (AnswerState.ERROR, AnswerState.TRUNCATED)
        word = self.tr("Retry") if failed else self.tr("Regenerate")
        if self._again.text() != word:
            self._again.setText(word)
            self._again.setAccessibleName(word)
        self._again.setEnabled(answer is not None and not busy and self._sampling.valid)
        self._copy.setEnabled(answer is not None and bool(answer.text))
        self._go.set_running(busy)
        self._escape.setEnabled(busy)
        why_not = self._why_not()
        self._go.set_ready(not why_not, why_not)
        self._care.refresh()

    def _show_target(self) -> None:
        target = self._shell.target
        self._target.set_name(
            self.tr("No model chosen") if target is None else self._to().format(label=target.label)
        )
        if not self._snapshot().messages:
            self._show_empty()
        self._show_buttons()

    def _to(self) -> str:
        if self._snapshot().private:
            return self.tr("To {label}, private: not kept")
        return self.tr("To {label}")

    @staticmethod
    def _last_answer(snapshot: ConversationSnapshot) -> TurnView | None:
        return snapshot.messages[-1] if snapshot.messages else None
