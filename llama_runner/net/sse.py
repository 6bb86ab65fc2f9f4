"""Server-sent events out of bytes, without I/O (WHATWG HTML 9.2.6, less what a chat stream never uses)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from llama_runner.net.lines import BOM, DEFAULT_CAPS, LineSplitter, StreamCaps, StreamLimitError


class SseEvent(NamedTuple):
    """One event. `name` is empty where the server gave none; `data` joins its data lines with LF."""

    name: str
    data: bytes


def is_one_event(data: bytes) -> bool:
    """Whether `data` is one line of data and the blank line that ends its event."""
    is_framed = data.startswith(b"data: ") and data.endswith(b"\n\n")
    return is_framed and data.count(b"\n") == 2 and b"\r" not in data


class SseParser:
    """Comments, `id` and `retry` are skipped: nothing here ever reconnects."""

    def __init__(self, caps: StreamCaps = DEFAULT_CAPS) -> None:
        self._caps = caps
        self._lines = LineSplitter(caps)
        self._first = True
        self._name = ""
        self._data: list[bytes] = []
        self._n_data = 0

    def feed(self, data: bytes) -> Iterable[SseEvent]:
        """The events that `data` completes. Raises StreamLimitError after those before it."""
        # One event in a read of its own: what most servers send, and most of what is ever fed.
        if is_one_event(data) and self.skip(data):
            return (SseEvent("", data[6:-2]),)
        return self._events(self._lines.feed(data))

    def skip(self, data: bytes) -> bool:
        """Take one whole event as fed that its reader knows; False where it would not stand for itself."""
        if self._first or self._name or self._data or len(data) > self._caps.event:
            return False
        return self._lines.skip(data)

    def close(self) -> Iterator[SseEvent]:
        """The body ended: an event whose last blank line is missing counts (servers forget it at the end)."""
        return self._events((self._lines.close(), b""))

    def _events(self, lines: Iterable[bytes]) -> Iterator[SseEvent]:
        for line in lines:
            if self._first:
                self._first = False
                line = line.removeprefix(BOM)
            # Most lines are the one data line of an event, or the blank one after it.
            if line.startswith(b"data: "):
                self._keep(line[6:])
            elif line:
                self._field(line)
            elif self._data:
                yield SseEvent(self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._name, self._n_data = "", 0
                self._data.clear()
            else:
                self._name = ""

    def _field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            self._keep(value.removeprefix(b" "))
        elif field == b"event":
            self._name = value.removeprefix(b" ").decode("utf-8", errors="replace")

    def _keep(self, value: bytes) -> None:
        self._n_data += len(value) + 1
        if self._n_data > self._caps.event:
            raise StreamLimitError("event_too_long", self._caps.event)
        self._data.append(value)
