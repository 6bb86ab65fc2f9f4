"""What all stream decoders share: caps, bad events, the end marker, the first failure. Knows no dialect."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from llama_runner.backends.events import Finished, StreamEvent
from llama_runner.core.errors import ProtocolError, ServerError, TruncatedError
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.net.errors import is_error, stream_error
from llama_runner.net.lines import DEFAULT_CAPS, StreamCaps, StreamLimitError

# S12: a few broken events are a glitch, more are not the protocol.
MAX_BAD_EVENTS: Final = 100
# S9: ten times the longest context there is; each event is kept with its stamp.
MAX_EVENTS: Final = 1_000_000
# Every byte that is not UTF-8 becomes one character of three bytes.
REPAIR_GROWTH: Final = 3


class DecoderBase(ABC):
    """One response body. Subclasses split the bytes and read the documents.

    Attributes:
        failure: The error that the stream carried or broke off with.
        bad_events: Events dropped because they were no JSON object.
        late_events: Events after the end marker, ignored (S7).
    """

    def __init__(self, endpoint: str, caps: StreamCaps = DEFAULT_CAPS) -> None:
        self.endpoint = endpoint
        self.failure: ServerError | None = None
        self.bad_events = 0
        self.late_events = 0
        self._caps = caps
        self._n_events = 0
        self._finished = False
        self._reason: str | None = None

    def feed(self, t_ns: int, data: bytes) -> list[StreamEvent]:
        """Events completed by `data`; what came before a failure is returned, what comes after it is not."""
        events: list[StreamEvent] = []
        if self.failure is None:
            self._guarded(lambda: self._feed(t_ns, data, events))
            self._n_events += len(events)
            if self._n_events > MAX_EVENTS and self.failure is None:
                self.failure = ProtocolError(self.endpoint, "its stream was cut (too_many_events)")
        return events

    def close(self, t_ns: int) -> list[StreamEvent]:
        """The last events; `failure` is set when the end marker never came."""
        events: list[StreamEvent] = []
        if self.failure is None:
            self._guarded(lambda: self._close(t_ns, events))
        if self.failure is None and not self._finished:
            self.failure = TruncatedError(
                f"{self.endpoint} ended its answer without the end marker: it may be incomplete.",
                "Send the message again.",
            )
        return events

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except ServerError as error:
            self.failure = error
        except StreamLimitError as error:
            self.failure = ProtocolError(self.endpoint, f"its stream was cut ({error.reason})")

    @abstractmethod
    def _feed(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None: ...

    @abstractmethod
    def _close(self, t_ns: int, events: list[StreamEvent]) -> None: ...

    def _finish(self, t_ns: int, events: list[StreamEvent]) -> None:
        self._finished = True
        events.append(Finished(t_ns, self._reason))

    def _document(self, data: bytes) -> dict[str, JsonValue] | None:
        """The JSON object in `data`; None, and counted, when it is none. Raises what it carries (S11)."""
        document = self._parsed(data)
        if isinstance(document, dict):
            if is_error(document):
                raise stream_error(document, self.endpoint)
            return document
        self.bad_events += 1
        if self.bad_events > MAX_BAD_EVENTS:
            raise ProtocolError(self.endpoint, "too many events of its stream are not JSON objects")
        return None

    def _parsed(self, data: bytes) -> JsonValue:
        # Numbers that are not finite are judged field by field, so that one does not cost the text beside it.
        try:
            return parse_json(data, max_bytes=self._caps.event, allow_nonfinite=True)
        except JsonRejected:
            return self._repaired(data)

    def _repaired(self, data: bytes) -> JsonValue:
        """S4: bytes that are not UTF-8 become U+FFFD; anything else stays rejected (None)."""
        repaired = data.decode("utf-8", errors="replace").encode("utf-8")
        if repaired == data:
            return None
        try:
            return parse_json(repaired, max_bytes=REPAIR_GROWTH * self._caps.event, allow_nonfinite=True)
        except JsonRejected:
            return None
