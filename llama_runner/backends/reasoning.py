"""Reasoning that stands in the answer's text between tags, told apart piece by piece. No I/O.

Holds back at most the beginning of a possible tag; every piece keeps the stamp and the count of its own read.
"""

import re
from enum import Enum, auto
from typing import Final, NamedTuple

from llama_runner.backends.events import ReasoningDelta, StreamEvent, TextDelta, TextWasReasoning

# What models write where no parser of the server takes it away: the templates shipped with llama.cpp b11434.
TAG_PAIRS: Final = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
    ("<|channel>thought", "<channel|>"),
)
# gpt-oss: what stands between its reasoning and its answer, or before an answer without reasoning.
_SKIPPED: Final = ("<|start|>assistant", "<|channel|>final<|message|>")
_CLOSING: Final = dict(TAG_PAIRS)
_AT_START: Final = (*_CLOSING, *_SKIPPED)
# A template may have written the opening tag; gpt-oss's <|end|> ends its answers too, so it proves nothing.
_LONE: Final = frozenset(_CLOSING.values()) - {"<|end|>"}
_IN_TEXT: Final = (*_CLOSING, *sorted(_LONE))
_TAG: Final = re.compile("|".join(map(re.escape, _IN_TEXT)))
_BLANKS: Final = re.compile(r"\s*")
_LONGEST: Final = max(map(len, _AT_START))
# An answer that speaks about a tag quotes it.
_QUOTES: Final = frozenset("`\"'")


class _Piece(NamedTuple):
    t_ns: int
    text: str
    counted: int | None


class _Place(Enum):
    """START: only blanks so far, or since a closing tag. An opening tag counts nowhere else: in the middle of
    an answer it is the answer's subject."""

    START = auto()
    REASONING = auto()
    TEXT = auto()


class ReasoningSplitter:
    """The text of one answer, in pieces as they come.

    A closing tag in the text with no opening one before it means that the template had opened the reasoning:
    a `TextWasReasoning` event says so, as nothing could be known, or held back, before.

    Attributes:
        off: Whatever comes is answer text: nothing can be reasoning any more.
    """

    __slots__ = ("_after_tag", "_before", "_held", "_place", "_shut", "off")

    def __init__(self) -> None:
        self.off = False
        self._place = _Place.START
        self._shut = ""
        self._after_tag = False
        self._before = ""
        self._held: list[_Piece] = []

    def feed(self, t_ns: int, text: str, counted: int | None, events: list[StreamEvent]) -> None:
        """Append to `events` what the piece, with what was held back before it, turns out to be."""
        if self.passes(text):
            events.append(TextDelta(t_ns, text, counted))
            return
        pieces = _Pieces([*self._held, _Piece(t_ns, text, counted)], events)
        self._held = []
        at = 0
        while at < len(pieces.text):
            at = self._step(pieces, at)
        n_held = sum(len(piece.text) for piece in self._held)
        self._before = pieces.text[: -n_held or None] or self._before

    def passes(self, text: str) -> bool:
        """Whether the next piece is answer text as it is; it is taken then. False changes nothing."""
        in_text = self._place is _Place.TEXT and not self._held
        if not self.off and not (in_text and "<" not in text and "[" not in text):
            return False
        self._before = text
        return True

    def flush(self, events: list[StreamEvent]) -> None:
        """What was held back is no tag: the answer ended, or something other than text comes."""
        held, self._held = self._held, []
        kind = ReasoningDelta if self._place is _Place.REASONING else TextDelta
        events.extend(kind(*piece) for piece in held)

    def turn_off(self, events: list[StreamEvent]) -> None:
        """The server itself tells reasoning apart: tags are text."""
        if not self.off:
            self.flush(events)
            self.off = True

    def _step(self, pieces: "_Pieces", at: int) -> int:
        """Deal with what begins at `at`; where the next step begins."""
        if self._place is _Place.TEXT:
            return self._in_text(pieces, at)
        at = self._past_blanks(pieces, at)
        if at == len(pieces.text):
            return at
        return self._at_start(pieces, at) if self._place is _Place.START else self._in_reasoning(pieces, at)

    def _past_blanks(self, pieces: "_Pieces", at: int) -> int:
        """Blanks after a tag belong to the tag; before the first one they are text, as it may never come."""
        blanks = _BLANKS.match(pieces.text, at)
        end = blanks.end() if blanks else at
        if self._after_tag:
            self._after_tag = end == len(pieces.text) or self._place is _Place.START
            return end
        if self._place is _Place.START:
            pieces.emit(TextDelta, at, end)
            return end
        return at

    def _at_start(self, pieces: "_Pieces", at: int) -> int:
        whole = pieces.text
        for tag in _AT_START:
            if whole.startswith(tag, at):
                self._after_tag = True
                if tag in _CLOSING:
                    self._place, self._shut = _Place.REASONING, _CLOSING[tag]
                return at + len(tag)
        if len(whole) - at < _LONGEST and any(tag.startswith(whole[at:]) for tag in _AT_START):
            return self._hold(pieces, at)
        self._place = _Place.TEXT
        # The answer itself begins: reasoning comes before it or not at all.
        self.off = self._after_tag
        return at

    def _in_reasoning(self, pieces: "_Pieces", at: int) -> int:
        if (end := pieces.text.find(self._shut, at)) >= 0:
            pieces.emit(ReasoningDelta, at, end)
            self._place, self._after_tag = _Place.START, True
            return end + len(self._shut)
        end = _possible_tag(pieces.text, at, (self._shut,))
        pieces.emit(ReasoningDelta, at, end)
        return self._hold(pieces, end)

    def _in_text(self, pieces: "_Pieces", at: int) -> int:
        whole = pieces.text
        for found in _TAG.finditer(whole, at) if not self.off else ():
            if found[0] in _CLOSING:
                # An opening tag as the answer's subject: closing ones will be, too.
                self.off = True
                break
            start = found.start()
            if (whole[start - 1] if start else self._before[-1:]) not in _QUOTES:
                pieces.emit(TextDelta, at, start)
                pieces.events.append(TextWasReasoning(pieces.stamp(found.end() - 1)))
                self._place, self._after_tag = _Place.START, True
                return found.end()
        end = len(whole) if self.off else _possible_tag(whole, at, _IN_TEXT)
        pieces.emit(TextDelta, at, end)
        return self._hold(pieces, end)

    def _hold(self, pieces: "_Pieces", at: int) -> int:
        self._held = pieces.cut(at, len(pieces.text))
        return len(pieces.text)


class _Pieces:
    """Pieces as one text, and that text as pieces again."""

    def __init__(self, pieces: list[_Piece], events: list[StreamEvent]) -> None:
        self._pieces = pieces
        self.text = pieces[0].text if len(pieces) == 1 else "".join(piece.text for piece in pieces)
        self.events = events

    def cut(self, start: int, end: int) -> list[_Piece]:
        """What of each piece lies between the two places; no empty ones."""
        found, offset = [], 0
        for t_ns, text, counted in self._pieces:
            if part := text[max(start - offset, 0) : max(end - offset, 0)]:
                found.append(_Piece(t_ns, part, counted))
            offset += len(text)
        return found

    def emit(self, kind: type[TextDelta] | type[ReasoningDelta], start: int, end: int) -> None:
        """Append the events of that part."""
        self.events.extend(kind(*piece) for piece in self.cut(start, end))

    def stamp(self, at: int) -> int:
        """When the character at that place was read."""
        return self.cut(at, at + 1)[0].t_ns


def _possible_tag(text: str, start: int, tags: tuple[str, ...]) -> int:
    """Where the beginning of one of the tags stands at the very end of `text`; its length where none does."""
    for at in range(max(start, len(text) - _LONGEST + 1), len(text)):
        if text[at] in "<[" and any(tag.startswith(text[at:]) for tag in tags):
            return at
    return len(text)
