"""Server-sent events out of bytes, without I/O (WHATWG HTML 9.2.6, less what a chat stream never uses)."""

from dataclasses import dataclass

from llama_runner.net.lines import BOM, DEFAULT_CAPS, LineSplitter, StreamCaps, StreamLimitError


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event. `name` is empty where the server gave none; `data` joins its data lines with LF."""

    name: str
    data: bytes


class SseParser:
    """Comments, `id` and `retry` are skipped: nothing here ever reconnects."""

    def __init__(self, caps: StreamCaps = DEFAULT_CAPS) -> None:
        self._caps = caps
        self._lines = LineSplitter(caps)
        self._first = True
        self._name = ""
        self._data: list[bytes] = []
        self._n_data = 0

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes. Raises StreamLimitError."""
        events: list[SseEvent] = []
        for line in self._lines.feed(data):
            self._line(line, events)
        return events

    def close(self) -> list[SseEvent]:
        """The body ended: an event whose last blank line is missing counts (servers forget it at the end)."""
        events: list[SseEvent] = []
        if rest := self._lines.close():
            self._line(rest, events)
        self._line(b"", events)
        return events

    def _line(self, line: bytes, events: list[SseEvent]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(BOM)
        if not line:
            self._dispatch(events)
            return
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

    def _dispatch(self, events: list[SseEvent]) -> None:
        if self._data:
            events.append(SseEvent(self._name, b"\n".join(self._data)))
        self._name = ""
        self._data = []
        self._n_data = 0
