"""HTTP/1.1 requests read strictly (safety H10, H11): what two parsers could read in two ways is refused.

llhttp reads them; it is lenient where the standard lets it be, and a listener of ours has no client that
needs that. So a head is looked at before llhttp sees it, and llhttp sees one request at a time.
"""

import contextlib
import re
from dataclasses import dataclass
from typing import Final

import httptools

# Safety R2. The same for the request line and for one header field.
MAX_LINE_BYTES: Final = 8 * 1024
MAX_HEADERS: Final = 64
MAX_HEAD_BYTES: Final = 32 * 1024

_HEAD_END: Final = re.compile(rb"\n\r?\n")
_LENGTH: Final = b"\ncontent-length:"
_ENCODING: Final = b"\ntransfer-encoding:"
# httptools takes no body from a request that offers another protocol, as Java's client does with each of its
# own (HTTP/2): llhttp gets that header under another name. Whether it is granted is not the reader's matter.
_UPGRADE: Final = re.compile(rb"(?i)\nupgrade:")
_RENAMED: Final = b"upgrade-offered"


class RequestRefusedError(Exception):
    """What came is no request, or too much of one: nothing more can be read from this connection.

    Attributes:
        status: 431 for too much, else 400.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """What a request begins with.

    Attributes:
        target: As it was sent: a path with its query where a client speaks to the server itself.
        version: `1.1` or `1.0`.
        headers: Names in lower case, in the order in which they came.
        keep_alive: The client will send more requests.
    """

    method: str
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool

    def value(self, name: bytes) -> bytes:
        """Of the first header of that name; empty without one."""
        return next((value for key, value in self.headers if key == name), b"")


class RequestReader:
    """The requests of one connection, one after the other, out of bytes. No I/O.

    Attributes:
        in_body: The last head's body is not complete.
        overrun: More came behind a body of chunks, and where that begins is not known: no other request can
            be read. A client that gets no answer to it asks again, as HTTP says.
    """

    def __init__(self) -> None:
        self.in_body = False
        self.overrun = False
        self._unread = b""
        self._parser: httptools.HttpRequestParser | None = None
        # Of the body; None where chunks tell the end.
        self._left: int | None = 0
        self._framing_left = 0
        self._head: Head | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._target = b""
        self._body: list[bytes] = []

    @property
    def n_unread(self) -> int:
        """How many bytes came that are of no head or body read so far."""
        return len(self._unread)

    def feed(self, data: bytes) -> None:
        """More bytes of the connection."""
        if not self.overrun:
            self._unread += data

    def next_head(self) -> Head | None:
        """The next request's, None where it is not whole. Raises RequestRefusedError."""
        size = _size_of_head(self._unread)
        if size is None:
            return None
        raw, self._unread = self._unread[:size], self._unread[size:]
        self.in_body, self._headers, self._target = True, [], b""
        # None, from chunks of the request before, would make trailers of its headers.
        self._left = 0
        self._parser, self._head = httptools.HttpRequestParser(self), None
        self._parse(_UPGRADE.sub(b"\n" + _RENAMED + b":", raw))
        if (head := self._head) is None:
            raise RequestRefusedError("the head is not one of HTTP")
        coding = head.value(b"transfer-encoding")
        if coding and coding.lower() != b"chunked":
            raise RequestRefusedError("the transfer coding is not known")
        self._framing_left = MAX_LINE_BYTES
        self._left = None if coding else int(head.value(b"content-length") or b"0")
        return head

    def next_body(self) -> bytes:
        """What there is of the body and was not read. Raises RequestRefusedError."""
        self._body = []
        size = len(self._unread) if self._left is None else min(self._left, len(self._unread))
        data, self._unread = self._unread[:size], self._unread[size:]
        if self._left is not None:
            self._left -= size
        if data:
            self._parse(data)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        # Chunks of one byte cost five; what says more is no framing (extensions of a chunk).
        self._framing_left += 8 * len(body) - (len(data) - len(body))
        if self._framing_left < 0:
            raise RequestRefusedError("there is more around the body than in it")
        return body

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            # CONNECT is an upgrade for llhttp; it is answered with a refusal.
            with contextlib.suppress(httptools.HttpParserUpgrade):
                self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.overrun:
                return
            if isinstance(error.__context__, RequestRefusedError):
                raise error.__context__ from None
            raise RequestRefusedError(str(error)) from error

    # --- what llhttp tells ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Another one would begin right behind a body of chunks: stop there."""
        if not self.in_body:
            self.overrun = True
            raise RuntimeError("one request at a time")

    def on_url(self, target: bytes) -> None:
        """All of it: a head is read in one piece."""
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of the head; trailers could be taken for some."""
        if self._left is None:
            raise RequestRefusedError("trailers are not taken", 431)
        name = name.lower()
        self._headers.append((b"upgrade" if name == _RENAMED else name, value))

    def on_headers_complete(self) -> None:
        """What llhttp says of it, it forgets with the request's end."""
        parser = self._parser
        assert parser is not None
        method, version = parser.get_method().decode("ascii"), parser.get_http_version()
        self._head = Head(method, self._target, version, self._headers, parser.should_keep_alive())

    def on_body(self, data: bytes) -> None:
        """A piece of it."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The end of the body, or of a head without one."""
        self.in_body = False


def _size_of_head(data: bytes) -> int | None:
    """Of the head at the beginning of `data`, None where it goes on. Raises RequestRefusedError."""
    end = _HEAD_END.search(data, 0, MAX_HEAD_BYTES + 4)
    if end is None:
        if len(data) > MAX_HEAD_BYTES:
            raise _too_large()
        return None
    head = data[: end.start() + 1]
    n_lines = head.count(b"\n")
    if end[0] != b"\n\r\n" or n_lines != head.count(b"\r\n") or b"\n " in head or b"\n\t" in head:
        raise RequestRefusedError("a line of the head does not end with CRLF, or goes on in the next one")
    _check_lengths(head.lower())
    # The request line is one of them.
    if n_lines > MAX_HEADERS + 1 or len(head) > MAX_HEAD_BYTES or _longest_line(head) > MAX_LINE_BYTES:
        raise _too_large()
    return end.end()


def _too_large() -> RequestRefusedError:
    return RequestRefusedError("the head is too large", 431)


def _check_lengths(head: bytes) -> None:
    """The body's end is told once or not at all; llhttp refuses white space before a colon itself."""
    told = head.count(_LENGTH) + head.count(_ENCODING)
    at = head.find(_LENGTH)
    listed = at >= 0 and b"," in head[at : head.index(b"\n", at + 1)]
    if told > 1 or listed:
        raise RequestRefusedError("the body's length is told twice")


def _longest_line(head: bytes) -> int:
    return max(map(len, head.split(b"\r\n"))) if len(head) > MAX_LINE_BYTES else len(head)
