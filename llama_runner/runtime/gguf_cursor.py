"""Reading forward through a GGUF header: every length is checked against the file before it is used."""

import struct
from collections.abc import Set
from typing import BinaryIO, Final

# The largest real list, Gemma's merges, has half a million texts.
_MAX_ARRAY_STRINGS: Final = 1 << 20
_MAX_STRINGS_IN_ALL: Final = 3 << 19
_CHUNK_BYTES: Final = 1 << 20
# The largest real headers, vocabularies of 260,000 tokens with their merges, have 16 MiB. What is skipped is
# not read: without this bound a file with a million texts of a megabyte each would be.
_MAX_READ_BYTES: Final = 48 << 20
_U64: Final = struct.Struct("<Q")


class Damaged(Exception):
    """The header breaks a rule of the format; the text completes "is damaged: …"."""


class Cursor:
    """Reads forward through a window of the file; skipping costs nothing."""

    def __init__(self, file: BinaryIO, size: int, at: int) -> None:
        self._file = file
        self._size = size
        self._base = 0
        self._buffer = b""
        self._at = 0
        self._strings_left = _MAX_STRINGS_IN_ALL
        self._bytes_left = _MAX_READ_BYTES
        self.skip(at)

    @property
    def position(self) -> int:
        """Offset in the file of the next byte."""
        return self._base + self._at

    def skip(self, count: int) -> None:
        """Move on without reading."""
        if count > self._size - self.position:
            raise Damaged("its header runs past the end of the file")
        self._at += count

    def take(self, count: int) -> bytes:
        """The next bytes; keep `count` bounded."""
        if count > self._size - self.position:
            raise Damaged("its header runs past the end of the file")
        self._fill(count)
        data = self._buffer[self._at : self._at + count]
        self._at += count
        return data

    def scalar(self, form: str) -> int:
        """One little-endian number. A float is returned by `number`."""
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)

    def number(self, form: str) -> int | float:
        """One little-endian number of any kind."""
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return float(value) if isinstance(value, float) else int(value)

    def integers(self, form: str, count: int) -> tuple[int, ...]:
        """`count` little-endian numbers of one kind; keep `count` bounded."""
        data = self.take(count * struct.calcsize(form))
        return struct.unpack(f"<{count}{form[-1]}", data)

    def length(self, limit: int, what: str) -> int:
        """A length that must fit `limit` and the file."""
        count = self.scalar("<Q")
        if count > limit:
            raise Damaged(f"it claims {what} of {count} bytes")
        if count > self._size - self.position:
            raise Damaged("its header runs past the end of the file")
        return count

    def skip_strings(self, count: int, watched: Set[bytes] = frozenset()) -> set[bytes]:
        """Pass an array of strings: each has its own length, so each is visited.

        Args:
            watched: A few short ones to look out for.

        Returns:
            Those of them that are there.
        """
        self._strings_left -= count
        if count > _MAX_ARRAY_STRINGS or self._strings_left < 0:
            raise Damaged(f"it claims a list of {count} texts")
        found: set[bytes] = set()
        lengths = frozenset(map(len, watched))
        size = self._size
        buffer, at, base = self._buffer, self._at, self._base
        for _ in range(count):
            if at + 8 > len(buffer):
                self._at = at
                self._fill(8)
                buffer, at, base = self._buffer, self._at, self._base
            (length,) = _U64.unpack_from(buffer, at)
            at += 8 + length
            if base + at > size:
                raise Damaged(f"it claims a text of {length} bytes")
            if length in lengths:
                if at > len(buffer):
                    self._at = at - length
                    self._fill(length)
                    buffer, at, base = self._buffer, self._at + length, self._base
                text = buffer[at - length : at]
                if text in watched:
                    found.add(text)
        self._at = at
        return found

    def _fill(self, count: int) -> None:
        if self._at + count <= len(self._buffer):
            return
        self._base += self._at
        self._at = 0
        self._file.seek(self._base)
        wanted = max(count, _CHUNK_BYTES)
        self._bytes_left -= wanted
        if self._bytes_left < 0:
            raise Damaged(f"its header is longer than {_MAX_READ_BYTES >> 20} MiB")
        self._buffer = self._file.read(wanted)
        if len(self._buffer) < count:
            # The file shrank while it was read.
            raise Damaged("its header runs past the end of the file")
