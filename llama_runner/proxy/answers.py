"""How an engine's answer becomes the client's: untouched in its own dialect, translated in another.

Sans-I/O: bytes in, bytes out. One writer serves one answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

from llama_runner.core.errors import LlamaRunnerError, TruncatedError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.net.lines import DEFAULT_CAPS

DONE_LINE: Final = b"data: [DONE]"
ERROR_EVENT: Final = b'data: {"error"'
# The only keep-alive that every client understands: a bare comment, no event.
SSE_PING: Final = b":\n\n"


class AnswerWriter(Protocol):
    """Turns the body of an engine's 2xx answer into the client's."""

    content_type: str

    def feed(self, data: bytes) -> bytes:
        """What the client gets for a piece of the engine's body; may be empty. Raises ServerError."""
        ...

    def end(self) -> bytes:
        """The engine's body ended. Raises ServerError when it was not complete."""
        ...

    def broken(self, error: LlamaRunnerError) -> bytes:
        """The answer broke off after it had begun: the last bytes, which say so in the dialect."""
        ...

    def ping(self) -> bytes:
        """Something harmless to keep a waiting connection open; empty when the dialect has nothing."""
        ...


ErrorDocument = Callable[[LlamaRunnerError], JsonValue]


@dataclass(slots=True)
class WholePieces:
    """Pieces of a stream as they are, each only when it is whole: a client never sees half of one.

    Attributes:
        piece_end: What most pieces end with.
    """

    model_id: str
    error_document: ErrorDocument
    piece_end: ClassVar[bytes]
    _held: bytearray = field(default_factory=bytearray, init=False)
    _ended: bool = field(default=False, init=False)

    def feed(self, data: bytes) -> bytes:
        """The pieces that are whole now, byte for byte."""
        if not self._held and data.endswith(self.piece_end):
            # Mostly a read is one piece, or some.
            self._look(data)
            return data
        self._held += data
        end = self._end_of_pieces()
        if not end and len(self._held) <= DEFAULT_CAPS.event:
            return b""
        whole = bytes(self._held[: end or len(self._held)])
        del self._held[: len(whole)]
        self._look(whole)
        return whole

    def _end_of_pieces(self) -> int:
        """Where the last whole piece of what is held ends, 0 when none does."""
        return self._past_last(self.piece_end)

    def _past_last(self, mark: bytes) -> int:
        at = self._held.rfind(mark)
        return 0 if at < 0 else at + len(mark)

    def _look(self, pieces: bytes) -> None:
        """Note whether the end of the stream is among them."""
        raise NotImplementedError


@dataclass(slots=True)
class SseThrough(WholePieces):
    """Server-sent events.

    An end without the end marker is told as an error event (F22).
    """

    piece_end: ClassVar[bytes] = b"\n\n"
    # Anthropic's and the responses API's streams end with an event of their own.
    end_marker: bytes = DONE_LINE
    content_type: str = "text/event-stream"

    def _end_of_pieces(self) -> int:
        return max(self._past_last(self.piece_end), self._past_last(b"\r\n\r\n"))

    def _look(self, pieces: bytes) -> None:
        # An error of the engine's own is an end too: it went through, and says more than we could.
        if self.end_marker in pieces or ERROR_EVENT in pieces:
            self._ended = True

    def end(self) -> bytes:
        """A last event whose blank line is missing, if it is the end."""
        rest = bytes(self._held)
        if self._ended or self.end_marker in rest:
            return rest
        raise TruncatedError(
            f"{self.model_id} ended its answer without the end marker: it may be incomplete.",
            "Send the message again.",
        )

    def broken(self, error: LlamaRunnerError) -> bytes:
        """An error event, and no end marker after it."""
        return b"data: " + dump_json(self.error_document(error)) + b"\n\n"

    def ping(self) -> bytes:
        """A bare comment."""
        return SSE_PING


@dataclass(slots=True)
class BodyThrough:
    """A whole answer as it is."""

    error_document: ErrorDocument
    content_type: str = "application/json"

    def feed(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    def end(self) -> bytes:
        """Nothing more."""
        return b""

    def broken(self, error: LlamaRunnerError) -> bytes:
        """Nothing: half a document followed by an error is neither; the closed connection says it."""
        return b""

    def ping(self) -> bytes:
        """Nothing: white space before a document is not understood by all."""
        return b""


@dataclass(slots=True)
class BodyChanged:
    """A whole answer, changed when it is complete."""

    change: Callable[[bytes], bytes]
    content_type: str = "application/json"
    _body: bytearray = field(default_factory=bytearray, init=False)

    def feed(self, data: bytes) -> bytes:
        """Nothing yet."""
        self._body += data
        return b""

    def end(self) -> bytes:
        """The changed document."""
        return self.change(bytes(self._body))

    def broken(self, error: LlamaRunnerError) -> bytes:
        """Nothing was sent, nothing is."""
        return b""

    def ping(self) -> bytes:
        """Nothing."""
        return b""


def sse_headers(streamed: bool) -> Mapping[str, str]:
    """Headers that keep proxies in between from holding events back."""
    return {"X-Accel-Buffering": "no"} if streamed else {}
