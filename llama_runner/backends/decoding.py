"""What all stream decoders share: caps, bad events, the end marker, the first failure. Knows no dialect."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final

from llama_runner.backends.events import Finished, ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta
from llama_runner.backends.reasoning import ReasoningSplitter
from llama_runner.core.errors import ProtocolError, ServerError, TruncatedError
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.net.errors import is_error, stream_error
from llama_runner.net.lines import BOM, DEFAULT_CAPS, StreamCaps, StreamLimitError
from llama_runner.net.sse import SseEvent, SseParser

# S12: a few broken events are a glitch, more are not the protocol.
MAX_BAD_EVENTS: Final = 100
# S9: ten times the longest context there is; each event is kept with its stamp.
MAX_EVENTS: Final = 1_000_000
# Every byte that is not UTF-8 becomes one character of three bytes.
REPAIR_GROWTH: Final = 3
_BLANKS: Final = b" \t\r\n" + BOM


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
        self._splitter = ReasoningSplitter()

    def feed(self, t_ns: int, data: bytes) -> list[StreamEvent]:
        """Events completed by `data`; what came before a failure is returned, what comes after it is not."""
        events: list[StreamEvent] = []
        if self.failure is not None:
            return events
        try:
            self._feed(t_ns, data, events)
        except (ServerError, StreamLimitError) as error:
            self._fail(error, events)
        else:
            self._n_events += len(events)
            if self._n_events > MAX_EVENTS:
                self.failure = ProtocolError(self.endpoint, "its stream was cut (too_many_events)")
        return events

    def plain_text(self, data: bytes) -> str:
        """None: see `StreamDecoder`."""
        return ""

    def close(self, t_ns: int) -> list[StreamEvent]:
        """The last events; `failure` is set when the end marker never came."""
        events: list[StreamEvent] = []
        if self.failure is not None:
            return events
        try:
            self._close(t_ns, events)
        except (ServerError, StreamLimitError) as error:
            self._fail(error, events)
        else:
            if not self._finished:
                self._splitter.flush(events)
                self.failure = TruncatedError(
                    f"{self.endpoint} ended its answer without the end marker: it may be incomplete.",
                    "Send the message again; if it ends the same way, see the server's log.",
                )
        return events

    def _fail(self, error: ServerError | StreamLimitError, events: list[StreamEvent]) -> None:
        self._splitter.flush(events)
        if isinstance(error, StreamLimitError):
            error = ProtocolError(self.endpoint, f"its stream was cut ({error.reason})")
        self.failure = error

    @abstractmethod
    def _feed(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None: ...

    @abstractmethod
    def _close(self, t_ns: int, events: list[StreamEvent]) -> None: ...

    def _add_text(self, t_ns: int, text: str, counted: int | None, events: list[StreamEvent]) -> None:
        """Answer text, not empty; reasoning between tags in it is told apart."""
        if self._splitter.off:
            events.append(TextDelta(t_ns, text, counted))
        else:
            self._splitter.feed(t_ns, text, counted, events)

    def _add_reasoning(self, t_ns: int, text: str, counted: int | None, events: list[StreamEvent]) -> None:
        """Reasoning, not empty, in a field of its own: tags in the text are text from here on."""
        self._splitter.turn_off(events)
        events.append(ReasoningDelta(t_ns, text, counted))

    def _add_call(self, fragment: ToolCallDelta, events: list[StreamEvent]) -> None:
        """A fragment of a tool call, behind the text that came before it."""
        self._splitter.flush(events)
        events.append(fragment)

    def _finish(self, t_ns: int, events: list[StreamEvent]) -> None:
        self._finished = True
        self._splitter.flush(events)
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


class SseDecoder(DecoderBase):
    """Server-sent events, or one JSON document in their place: the whole answer at once (S17)."""

    def __init__(self, endpoint: str, caps: StreamCaps = DEFAULT_CAPS) -> None:
        super().__init__(endpoint, caps)
        self._sse = SseParser(caps)
        self._whole: bytearray | None = None
        self._shape_known = False

    @abstractmethod
    def _event(self, t_ns: int, name: str, data: bytes, events: list[StreamEvent]) -> None:
        """One event; `name` is empty where the server gave none."""

    @abstractmethod
    def _whole_answer(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None:
        """The whole body; raises ProtocolError when it is not an answer."""

    def _feed(self, t_ns: int, data: bytes, events: list[StreamEvent]) -> None:
        if not self._shape_known:
            self._sniff(data)
        if self._whole is not None:
            self._keep_whole(data)
            return
        self._all(t_ns, self._sse.feed(data), events)

    def _close(self, t_ns: int, events: list[StreamEvent]) -> None:
        if self._whole is not None:
            self._whole_answer(t_ns, bytes(self._whole).strip(_BLANKS), events)
            return
        self._all(t_ns, self._sse.close(), events)

    def _all(self, t_ns: int, found: Iterable[SseEvent], events: list[StreamEvent]) -> None:
        for name, data in found:
            if self._finished:
                self.late_events += 1
            else:
                self._event(t_ns, name, data, events)

    def _sniff(self, data: bytes) -> None:
        """The first character that is no blank shows the shape: `{` begins a document.

        Blanks before it are not kept: they mean nothing in either shape, and may come for ever.
        """
        meaning = data.lstrip(_BLANKS)
        self._shape_known = bool(meaning)
        if meaning.startswith(b"{"):
            self._whole = bytearray()
        elif meaning.startswith(b"<"):
            raise ProtocolError(self.endpoint, "it sent a web page")

    def _keep_whole(self, data: bytes) -> None:
        assert self._whole is not None
        self._whole += data
        if len(self._whole) > self._caps.event:
            raise ProtocolError(self.endpoint, "its answer is one document of more than 4 MiB")
