"""A conversation's snapshots into the transcript. Reads snapshots; never asks a manager to do anything."""

from typing import Final

from PySide6.QtCore import QObject

from llama_runner.backends.request import Role
from llama_runner.chat.conversation import ConversationSnapshot, TurnView
from llama_runner.core import format
from llama_runner.ui.widgets.answers import AnswerPainter
from llama_runner.ui.widgets.safe_html import render_plain
from llama_runner.ui.widgets.transcript import TranscriptView

ANSWER_SERIES: Final = 0
# Of a conversation of another day the end is read; laying out a thousand turns would take seconds.
MOST_SHOWN: Final = 100
# Laid out in one look, some milliseconds: the others wait for the next one.
TURNS_A_LOOK: Final = 4
_EARLIER: Final = "-1"


class ConversationView(QObject):
    """Keeps a transcript in step with one conversation at a time."""

    def __init__(self, transcript: TranscriptView) -> None:
        super().__init__(transcript)
        self._transcript = transcript
        self._painter = AnswerPainter(transcript)
        self._id = ""
        self._revision = -1
        # Turns below this number have ended and are on the screen; the last one's figures may change yet.
        self._settled = 0
        # The first turn that is shown.
        self._first = 0

    @property
    def rendering(self) -> bool:
        """Whether an ended answer still waits for its final form."""
        return self._painter.rendering

    def show(self, snapshot: ConversationSnapshot) -> None:
        """Bring the transcript up to `snapshot`."""
        if snapshot.id != self._id:
            self._begin(snapshot)
        if snapshot.revision == self._revision:
            return
        begin = max(self._settled - 1, self._first)
        end = begin + TURNS_A_LOOK
        for number, turn in enumerate(snapshot.messages[begin:end], begin):
            if self._show_turn(number, turn) and number == self._settled:
                self._settled += 1
        if end < len(snapshot.messages):
            return
        self._revision = snapshot.revision

    def forget_last(self, conversation_id: str) -> None:
        """The last answer is about to be replaced by another one to the same question."""
        if self._id != conversation_id or not self._transcript.keys:
            return
        key = self._transcript.keys[-1]
        self._painter.forget(key)
        self._transcript.remove(key)
        self._settled = min(self._settled, int(key))
        self._revision = -1

    def show_anew(self) -> None:
        """What stands there is not what there is: begin again at the next look."""
        self._id = ""

    def drop(self, conversation_id: str) -> None:
        """A conversation was deleted: keep nothing of it."""
        self._painter.drop(conversation_id)

    def _begin(self, snapshot: ConversationSnapshot) -> None:
        self._id, self._revision = snapshot.id, -1
        self._painter.clear()
        self._transcript.clear_messages()
        self._settled = self._first = max(0, len(snapshot.messages) - MOST_SHOWN)
        if earlier := snapshot.earlier + self._first:
            words = self.tr("{count} earlier messages are kept and not shown here; an export has them.")
            self._transcript.add(_EARLIER, words.format(count=format.count(earlier)))

    def _show_turn(self, number: int, turn: TurnView) -> bool:
        """Show a turn as it is now. True once it has ended."""
        key = str(number)
        new = key not in self._transcript.keys
        if turn.role is Role.USER:
            if new:
                self._transcript.add(key, self.tr("You"))
                self._transcript.finish(key, render_plain(turn.text).pieces)
            return True
        if new:
            self._transcript.add(key, turn.label, series=ANSWER_SERIES)
        return self._painter.show(key, turn, name=f"{self._id}/{number}")
