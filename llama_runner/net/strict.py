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
_LENGTH: Final = b"\ncontent-length:"
_ENCODING: Final = b"\ntransfer-encoding:"


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
    n_lines = head.count(b"\n")
    if end[0] != b"\n\r\n" or n_lines != head.count(b"\r\n") or b"\n " in head or b"\n\t" in head:
        raise h11.RemoteProtocolError("a line of the head does not end with CRLF, or goes on in the next one")
    _check_lengths(head.lower())
    # The request line is one of them.
    if n_lines > MAX_HEADERS + 1 or len(head) > MAX_HEAD_BYTES or _longest_line(head) > MAX_LINE_BYTES:
        raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)


def _check_lengths(head: bytes) -> None:
    """The body's end is told once or not at all; h11 refuses white space before a colon itself."""
    told = head.count(_LENGTH) + head.count(_ENCODING)
    at = head.find(_LENGTH)
    listed = at >= 0 and b"," in head[at : head.index(b"\n", at + 1)]
    if told > 1 or listed:
        raise h11.RemoteProtocolError("the body's length is told twice")


def _longest_line(head: bytes) -> int:
    return max(map(len, head.split(b"\r\n"))) if len(head) > MAX_LINE_BYTES else len(head)
