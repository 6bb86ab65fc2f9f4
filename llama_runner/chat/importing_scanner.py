"""Splits a stream of JSON into its conversations: the objects of an array, one object, or one on each line.

Sans-I/O and bounded: it keeps at most one object, and of a longer one nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# What lies between two places where something changes. Possessive: nothing is ever tried twice.
_BETWEEN: Final = re.compile(rb'[^"{]*+')
_INSIDE: Final = re.compile(rb'(?:[^"{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_REST_OF_TEXT: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)


@dataclass(frozen=True, slots=True)
class TooLong:
    """An object longer than is kept; it was read over."""

    size_bytes: int


class ObjectScanner:
    """Feed it pieces as they are read; it gives whole objects as soon as they end."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._depth = 0
        self._in_text = False
        # A piece ended within an escape: its first byte belongs to it, whatever it is.
        self._escaped = False
        self._kept = bytearray()
        self._size = 0

    @property
    def unfinished(self) -> bool:
        """Whether the stream ended, if it ended now, within an object."""
        return self._depth > 0

    def feed(self, piece: bytes) -> Iterator[bytes | TooLong]:
        """The objects that end in `piece`."""
        place = begin = 0
        while place < len(piece):
            if self._in_text:
                place = self._through_text(piece, place)
                continue
            place = self._skip(piece, place)
            if place == len(piece):
                break
            sign = piece[place : place + 1]
            if sign == b'"':
                self._in_text = True
            elif sign == b"{":
                if not self._depth:
                    begin = place
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    self._keep(piece[begin : place + 1])
                    yield self._taken()
            place += 1
        if self._depth:
            self._keep(piece[begin:])

    def _skip(self, piece: bytes, place: int) -> int:
        found = (_INSIDE if self._depth else _BETWEEN).match(piece, place)
        assert found is not None  # Both match nothing, too.
        return found.end()

    def _through_text(self, piece: bytes, place: int) -> int:
        """The place after the text that `piece` goes on with, or the end of the piece."""
        if self._escaped:
            self._escaped = False
            place += 1
        found = _REST_OF_TEXT.match(piece, place)
        assert found is not None
        end = found.end()
        if end >= len(piece):
            return len(piece)
        self._in_text = piece[end : end + 1] != b'"'
        # The only other sign that ends the match is a backslash at the very end.
        self._escaped = self._in_text
        return end + 1

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._max_bytes:
            self._kept += part
        else:
            self._kept.clear()

    def _taken(self) -> bytes | TooLong:
        size, self._size = self._size, 0
        whole, self._kept = bytes(self._kept), bytearray()
        return whole if size <= self._max_bytes else TooLong(size)
