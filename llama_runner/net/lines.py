"""Lines out of bytes, without I/O, correct for every split, capped (safety R4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class StreamCaps:
    """The most a stream may hold, in bytes.

    Attributes:
        line: Longer than any event of a sane server; a line without end is an attack or a bug (S8).
        event: All data lines of one SSE event together.
        stream: Hours of tokens; beyond it something runs away (S9).
    """

    line: int = 1024 * 1024
    event: int = 4 * 1024 * 1024
    stream: int = 256 * 1024 * 1024


DEFAULT_CAPS: Final = StreamCaps()


class StreamLimitError(Exception):
    """A cap was exceeded. `reason` is a stable code: line_too_long, event_too_long or stream_too_long."""

    def __init__(self, reason: str, limit_bytes: int) -> None:
        super().__init__(f"{reason}: more than {limit_bytes} bytes")
        self.reason = reason
        self.limit_bytes = limit_bytes


class LineSplitter:
    """Splits at LF, CR LF and CR, and at nothing else; a CR at the end of a read ends its line at once."""

    def __init__(self, caps: StreamCaps = DEFAULT_CAPS) -> None:
        self._caps = caps
        self._tail = bytearray()
        self._after_cr = False
        self._n_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes, without their ends.

        Raises StreamLimitError in its place: what comes before it is still yielded.
        """
        self._n_bytes += len(data)
        if self._n_bytes > self._caps.stream:
            raise StreamLimitError("stream_too_long", self._caps.stream)
        if self._after_cr or b"\r" in data:
            data = self._with_plain_ends(data)
        lines = data.split(b"\n")
        rest = lines.pop()
        if self._tail and lines:
            lines[0] = bytes(self._tail) + lines[0]
            self._tail.clear()
        if rest:
            self._tail += rest
        longest = self._caps.line
        for line in lines:
            if len(line) > longest:
                raise StreamLimitError("line_too_long", longest)
            yield line
        if len(self._tail) > longest:
            raise StreamLimitError("line_too_long", longest)

    def skip(self, data: bytes) -> bool:
        """Take whole lines as fed that their reader splits itself; False where that would not be the same."""
        if self._tail or self._after_cr or len(data) > self._caps.line:
            return False
        if self._n_bytes + len(data) > self._caps.stream:
            return False
        self._n_bytes += len(data)
        return True

    def close(self) -> bytes:
        """What came after the last line end."""
        rest = bytes(self._tail)
        self._tail.clear()
        return rest

    def _with_plain_ends(self, data: bytes) -> bytes:
        """`data` with LF for every line end, without the LF of the CR at the end of the read before."""
        if data:
            data = data.removeprefix(b"\n") if self._after_cr else data
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
