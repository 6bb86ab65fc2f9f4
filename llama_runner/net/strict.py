"""HTTP/1.1 read strictly (safety H10, H11): what two parsers could read in two ways is refused.

h11 is lenient where the standard lets it be; a listener of ours has no client that needs it.
"""

import re
from typing import Final

import h11

# Safety R2. The same for the request line and for one header field.
MAX_LINE_BYTES: Final = 8 * 1024
MAX_HEADERS: Final = 64
MAX_HEAD_BYTES: Final = 32 * 1024

_HEAD_END: Final = re.compile(rb"\n\r?\n")
# A line end without CR, and a line that goes on in the next one.
_TWO_WAYS: Final = re.compile(rb"(?<!\r)\n|\n[ \t]")
_LENGTH: Final = re.compile(rb"\ncontent-length[ \t]*:", re.IGNORECASE)
_LIST_OF_LENGTHS: Final = re.compile(rb"\ncontent-length[ \t]*:[^\n]*,", re.IGNORECASE)
_ENCODING: Final = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)


class StrictConnection(h11.Connection):
    """The server's side of one connection.

    Attributes:
        refused_with: The status to answer with once `next_event` raised: 431 for too much, else 400.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.refused_with = 400

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """As h11's, with more reasons to raise RemoteProtocolError."""
        try:
            if self.their_state is h11.IDLE:
                check_head(self.trailing_data[0])
            event = super().next_event()
            if isinstance(event, h11.EndOfMessage) and event.headers:
                raise h11.RemoteProtocolError("trailers are not taken", error_status_hint=431)
        except h11.RemoteProtocolError as error:
            self.refused_with = 431 if error.error_status_hint == 431 else 400
            raise
        return event


def check_head(data: bytes) -> None:
    """Look at a request's head once it is whole. Raises h11.RemoteProtocolError."""
    end = _HEAD_END.search(data)
    if end is None:
        return
    head = data[: end.start() + 1]
    if _TWO_WAYS.search(head) or end[0] != b"\n\r\n":
        raise h11.RemoteProtocolError("a line of the head does not end with CRLF, or goes on in the next one")
    if len(_LENGTH.findall(head)) + len(_ENCODING.findall(head)) > 1 or _LIST_OF_LENGTHS.search(head):
        raise h11.RemoteProtocolError("the body's length is told twice")
    lines = head.split(b"\r\n")
    if len(head) > MAX_HEAD_BYTES or len(lines) - 2 > MAX_HEADERS or max(map(len, lines)) > MAX_LINE_BYTES:
        raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
