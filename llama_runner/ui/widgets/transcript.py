"""A conversation in one document: messages grow as plain text and are replaced once, when finished."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from PySide6.QtGui import QColor, QTextBlockFormat, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QWidget

from llama_runner.core.text import visible_controls
from llama_runner.ui.theme import SPACE_L, SPACE_XS, Theme, mono_font
from llama_runner.ui.widgets.browser import SafeBrowser, insert_piece
from llama_runner.ui.widgets.safe_html import BREAK, MAX_RUN_CHARS, Piece, clean_text

# Appending lays out the open paragraph anew, which is linear in its length: 8,000 characters take 2 ms.
MAX_OPEN_BLOCK_CHARS: Final = 8000
SMALL: Final = 0.9


@dataclass(slots=True)
class _Message:
    """Where one message stands. Each cursor is the end of a region and moves with what is inserted there."""

    key: str
    title: str
    series: int | None
    start: QTextCursor
    body: QTextCursor
    thinking: QTextCursor | None = None
    note: QTextCursor | None = None
    note_text: str = ""
    raw_thinking: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    pieces: tuple[Piece, ...] | None = None
    run: int = 0

    @property
    def end(self) -> int:
        return (self.note or self.body).position()


class TranscriptView(SafeBrowser):
    """Messages one below the other. Keys are the caller's; a message is added, grows, is finished once."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._messages: dict[str, _Message] = {}
        theme.changed.connect(self._rebuild)

    @property
    def keys(self) -> tuple[str, ...]:
        """The messages there are, top to bottom."""
        return tuple(self._messages)

    def add(self, key: str, title: str, *, series: int | None = None) -> None:
        """Begin a message at the end. `series`: the colour of who speaks, as in charts; None is plain."""
        stick = self.at_bottom()
        cursor = self.end_cursor()
        first = self.document().isEmpty()
        block = QTextBlockFormat()
        block.setTopMargin(0 if first else SPACE_L)
        block.setBottomMargin(SPACE_XS)
        if first:
            cursor.setBlockFormat(block)
        else:
            self._insert_apart(cursor, block)
        start = QTextCursor(cursor)
        start.setKeepPositionOnInsert(True)
        cursor.insertText(visible_controls(title), self._title_format(series))
        cursor.insertBlock(QTextBlockFormat(), QTextCharFormat())
        self._messages[key] = _Message(key, title, series, start, QTextCursor(cursor))
        self._stick(stick)

    def grow(self, key: str, text: str) -> None:
        """More text of a growing message: plain, cheap, linear in `text`."""
        message = self._messages[key]
        message.raw.append(text)
        stick = self.at_bottom()
        _append_plain(message, message.body, clean_text(text), QTextCharFormat())
        self._stick(stick)

    def restart(self, key: str) -> None:
        """What a growing message showed as its text was none; what it thought stays."""
        message = self._messages[key]
        message.raw.clear()
        message.run = 0
        stick = self.at_bottom()
        self._clear_body(message)
        self._stick(stick)

    def grow_thinking(self, key: str, text: str) -> None:
        """More of what the model thinks before it answers; stands muted above the answer."""
        message = self._messages[key]
        message.raw_thinking.append(text)
        stick = self.at_bottom()
        if message.thinking is None:
            message.thinking = self._open_thinking(message)
        _append_plain(message, message.thinking, clean_text(text), self._muted_format())
        self._stick(stick)

    def finish(self, key: str, pieces: Iterable[Piece]) -> None:
        """Replace the growing text by its finished form, a little per turn of the event loop."""
        message = self._messages[key]
        message.pieces = tuple(pieces)
        self._clear_body(message)
        for piece in message.pieces:
            self.queue(partial(self._insert, message, piece))

    def set_note(self, key: str, text: str) -> None:
        """The muted line under a message: its figures, or what went wrong."""
        message = self._messages[key]
        message.note_text = text
        # Behind the pieces that still wait, so that the note stays below them.
        self.queue(partial(self._show_note, message))

    def text_of(self, key: str) -> str:
        """The message's text as it came."""
        return "".join(self._messages[key].raw)

    def remove(self, key: str) -> None:
        """Take a message away."""
        message = self._messages.pop(key)
        cursor = self._cursor_at(message.start.position())
        cursor.setPosition(message.end, QTextCursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        if not self._messages:
            self.clear_messages()
        elif cursor.block().length() == 1 and cursor.position() > 0:
            cursor.deletePreviousChar()

    def clear_messages(self) -> None:
        """Take all messages away."""
        self.drop_jobs()
        self._messages.clear()
        self.clear()

    def _insert_apart(self, cursor: QTextCursor, block: QTextBlockFormat) -> None:
        """A new paragraph at the end; the message that ends there keeps its own end before it."""
        last = next(reversed(self._messages.values()))
        ends = [end for end in (last.thinking, last.body, last.note) if end is not None]
        with _pinned(*ends):
            cursor.insertBlock(block)

    def _insert(self, message: _Message, piece: Piece) -> None:
        if self._messages.get(message.key) is message:
            insert_piece(message.body, piece)

    def _show_note(self, message: _Message) -> None:
        if self._messages.get(message.key) is not message:
            return
        stick = self.at_bottom()
        if message.note is None:
            message.note = QTextCursor(message.body)
            with _pinned(message.body):
                message.note.insertBlock(self._note_block(), QTextCharFormat())
        cursor = QTextCursor(message.note.block())
        cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock, QTextCursor.MoveMode.KeepAnchor)
        cursor.insertText(clean_text(message.note_text).replace("\n", " "), self._note_format())
        self._stick(stick)

    def _cursor_at(self, position: int) -> QTextCursor:
        cursor = QTextCursor(self.document())
        cursor.setPosition(position)
        return cursor

    def _clear_body(self, message: _Message) -> None:
        start = QTextCursor((message.thinking or message.start).block().next())
        start.setPosition(message.body.position(), QTextCursor.MoveMode.KeepAnchor)
        start.removeSelectedText()

    def _open_thinking(self, message: _Message) -> QTextCursor:
        cursor = self._cursor_at(message.start.position())
        cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock)
        block = QTextBlockFormat()
        block.setLeftMargin(SPACE_L)
        block.setBottomMargin(SPACE_XS)
        cursor.insertBlock(block, self._muted_format())
        return cursor

    def _rebuild(self) -> None:
        """The theme changed: colours are part of the document, so it is written anew."""
        messages = list(self._messages.values())
        self.clear_messages()
        for old in messages:
            self.add(old.key, old.title, series=old.series)
            if old.raw_thinking:
                self.grow_thinking(old.key, "".join(old.raw_thinking))
            self._messages[old.key].raw = old.raw
            if old.pieces is not None:
                self.finish(old.key, old.pieces)
            elif old.raw:
                text, self._messages[old.key].raw = "".join(old.raw), []
                self.grow(old.key, text)
            if old.note_text:
                self.set_note(old.key, old.note_text)

    def _stick(self, stick: bool) -> None:
        if stick:
            self.scroll_to_bottom()

    def _title_format(self, series: int | None) -> QTextCharFormat:
        char = QTextCharFormat()
        char.setFontWeight(600)
        if series is not None:
            char.setForeground(QColor(self.theme.series_colour(series)))
        return char

    def _muted_format(self) -> QTextCharFormat:
        char = QTextCharFormat()
        char.setForeground(QColor(self.theme.colours.muted))
        return char

    @staticmethod
    def _note_block() -> QTextBlockFormat:
        block = QTextBlockFormat()
        block.setTopMargin(SPACE_XS)
        return block

    def _note_format(self) -> QTextCharFormat:
        char = self._muted_format()
        char.setFont(mono_font(SMALL))
        return char


@contextmanager
def _pinned(*cursors: QTextCursor) -> Iterator[None]:
    """While something is inserted right at these cursors they stay where they are."""
    for cursor in cursors:
        cursor.setKeepPositionOnInsert(True)
    yield
    for cursor in cursors:
        cursor.setKeepPositionOnInsert(False)
        # The anchor is not kept; left apart it would make a selection that the next insertion replaces.
        cursor.setPosition(cursor.position())


def _append_plain(message: _Message, cursor: QTextCursor, text: str, char: QTextCharFormat) -> None:
    """Append at `cursor`, breaking endless words and endless paragraphs."""
    parts: list[str] = []
    for line in text.splitlines(keepends=True):
        rest = line
        while (room := MAX_RUN_CHARS - message.run) < len(rest) and not _has_space(rest[:room]):
            parts += (rest[:room], BREAK)
            rest, message.run = rest[room:], 0
        parts.append(rest)
        tail = len(rest) - max(rest.rfind(" "), rest.rfind("\n"), rest.rfind("\t")) - 1
        message.run = tail if tail < len(rest) else message.run + len(rest)
    cursor.insertText("".join(parts), char)
    if cursor.block().length() > MAX_OPEN_BLOCK_CHARS:
        cursor.insertBlock()


def _has_space(text: str) -> bool:
    return any(space in text for space in " \n\t")
