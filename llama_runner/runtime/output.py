"""What a child writes: drained always, cut into bounded lines, kept in a ring and in a file within limits."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from llama_runner.core.clock import Clock
from llama_runner.core.logfile import RotatingFile
from llama_runner.core.logs import one_line
from llama_runner.core.redaction import HIDDEN

log = logging.getLogger(__name__)

MAX_LINE_CHARS: Final = 4096
_READ_BYTES: Final = 64 * 1024
# A line of the child protocol holds a model description; longer ones are not ours to understand.
_MAX_PARTIAL_BYTES: Final = 256 * 1024
# F8: what is kept per second. A chatty load writes some 100 kB; the rest of a flood is only counted.
_KEPT_BYTES_PER_S: Final = 1024 * 1024
# What is read for the reason of an end.
_LAST_WORDS_LINES: Final = 200
_STATE_PREFIX: Final = b"cmd_child_to_router:state:"


class LineSplitter:
    """Bytes to lines for every split of the bytes; a line without end is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines completed by `data`, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_PARTIAL_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [line.rstrip(b"\r") for line in lines]

    def close(self) -> list[bytes]:
        """The unfinished last line, if any."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class OutputRing:
    """The last lines within a budget of bytes; each has a number that stays its own."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lines: deque[str] = deque()
        self._bytes = 0
        self._last = 0

    def add(self, line: str) -> None:
        """Keep `line`, forget the oldest beyond the budget."""
        self._lines.append(line)
        self._bytes += len(line) + 1
        self._last += 1
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._lines.popleft()) + 1

    def after(self, number: int) -> tuple[tuple[str, ...], int]:
        """The kept lines behind line `number` (0: all), and the number to ask with next time."""
        first = self._last - len(self._lines)
        skip = min(max(number - first, 0), len(self._lines))
        return tuple(self._lines)[skip:], self._last


class LogFile:
    """The rotating file of one model's output."""

    def __init__(self, path: Path, *, max_bytes: int, file_count: int, clock: Clock) -> None:
        self._file = RotatingFile(
            path, max_bytes=max_bytes, file_count=file_count, report=log.warning, clock=clock
        )

    def write(self, line: str) -> None:
        """Append a line; never raises."""
        self._file.handle(logging.makeLogRecord({"msg": line}))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Output:
    """Takes one child's lines in.

    Args:
        secret: Hidden should the child ever print it.
    """

    def __init__(self, ring: OutputRing, file: LogFile, *, secret: str, clock: Clock) -> None:
        self._ring = ring
        self._file = file
        self._secret = secret
        self._clock = clock
        self._window_ns = clock.now_ns()
        self._kept_bytes = 0
        self._dropped_bytes = 0
        self._last_words: deque[bytes] = deque(maxlen=_LAST_WORDS_LINES)
        self.last_ns = self._window_ns

    def take(self, line: bytes) -> None:
        """Keep one line, or count it when it comes in a flood."""
        self.last_ns = self._clock.now_ns()
        self._last_words.append(line)
        if self.last_ns - self._window_ns >= 1_000_000_000:
            self._tell_dropped()
            self._window_ns, self._kept_bytes = self.last_ns, 0
        if self._kept_bytes > _KEPT_BYTES_PER_S:
            self._dropped_bytes += len(line) + 1
            return
        self._kept_bytes += len(line) + 1
        self._keep(one_line(line.decode("utf-8", errors="replace"), MAX_LINE_CHARS))

    def note(self, line: str) -> None:
        """Keep a line of ours among the child's."""
        self._keep(one_line(line, MAX_LINE_CHARS))

    def last_words(self) -> list[str]:
        """The last lines of this child, also those left out of the ring in a flood."""
        return [line[:MAX_LINE_CHARS].decode("utf-8", errors="replace") for line in self._last_words]

    def close(self) -> None:
        """Say what a flood's end left out."""
        self._tell_dropped()

    def _tell_dropped(self) -> None:
        if self._dropped_bytes:
            dropped, self._dropped_bytes = self._dropped_bytes, 0
            self._keep(f"[{dropped} bytes of output left out: too much at once]")

    def _keep(self, line: str) -> None:
        line = line.replace(self._secret, HIDDEN)
        self._ring.add(line)
        self._file.write(line)


async def drain(stream: asyncio.StreamReader, take: Callable[[bytes], None]) -> None:
    """Read to the end whatever happens: a full pipe would freeze the child."""
    splitter = LineSplitter()
    while data := await stream.read(_READ_BYTES):
        for line in splitter.feed(data):
            take(line)
    for line in splitter.close():
        take(line)


def parse_state(line: bytes) -> tuple[str, float | None] | None:
    """State and progress (0 to 1) from a line of the child protocol; None for any other line."""
    if not line.startswith(_STATE_PREFIX):
        return None
    try:
        document = json.loads(line[len(_STATE_PREFIX) :])
        state, payload = document["state"], document.get("payload")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        # A private protocol that may change; polling /health works without it.
        return None
    value = payload.get("value") if isinstance(payload, dict) else None
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return str(state), float(value) if known and value is not None else None
