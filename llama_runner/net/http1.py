"""One HTTP/1.1 response out of bytes, without I/O: just what load workers meet, and strict (safety I34).

Refuses what could be read in two ways: both lengths at once, two lengths, folded headers, bare line ends.
"""

import re
from collections.abc import Mapping
from typing import Final

# As generous as aiohttp is with a head; more than any server's trailers.
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_TRAILER_BYTES: Final = 16 * 1024
# Size and extension of one chunk.
MAX_SIZE_LINE_BYTES: Final = 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: [^\r\n]*)?$")
_HEADER: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\x00]*?)[ \t]*$")
_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_NO_BODY: Final = (204, 304)


class HttpFormatError(Exception):
    """The bytes are not one response of HTTP/1.1."""


class HttpResponse:
    """Attributes are known once `status` is; informational responses (100 to 199) are skipped.

    Attributes:
        status: None until the whole head arrived.
        headers: By lower-case name; the last of a kind counts.
        is_success: The status is 2xx.
        done: The body is complete.
        reusable: Another request may follow on the connection, as far as is known until now.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.is_success = False
        self.headers: Mapping[str, str] = {}
        self.done = False
        self.reusable = False
        self._rest = b""
        self._chunked = False
        # Bytes of the chunk, or of the body, that are still to come; None for a body without a length.
        self._left: int | None = 0
        self._in_chunk = False
        self._in_trailers = False
        self._n_trailers = 0

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the body. Raises HttpFormatError; what comes after the end is dropped."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if self.status is None:
            data = self._head(data)
        if self.status is None:
            return b""
        if self.done:
            self.reusable = self.reusable and not data
            return b""
        if self._chunked:
            return self._chunks(data)
        if self._left is None:
            return data
        body = data[: self._left]
        self.reusable = self.reusable and len(data) <= self._left
        self._left -= len(body)
        self.done = self._left == 0
        return body

    def close(self) -> bool:
        """The connection ended. Whether the response is complete."""
        self.done = self.done or (self.status is not None and not self._chunked and self._left is None)
        return self.done

    def _head(self, data: bytes) -> bytes:
        """Take the head off `data`; keep all of it where the head goes on."""
        while self.status is None:
            end = data.find(b"\r\n\r\n")
            if max(end, len(data) if end < 0 else 0) > MAX_HEAD_BYTES:
                raise HttpFormatError("its head is too long")
            if end < 0:
                if not b"HTTP/1."[: len(data)] == data[:7]:
                    raise HttpFormatError("it does not begin with a status")
                self._rest = data
                return b""
            self._read_head(data[:end].split(b"\r\n"))
            data = data[end + 4 :]
        return data

    def _read_head(self, lines: list[bytes]) -> None:
        begun = _STATUS.match(lines[0])
        if begun is None:
            raise HttpFormatError("its status line is none")
        if (status := int(begun[1])) < 200:
            return
        headers: dict[str, str] = {}
        for line in lines[1:]:
            if (header := _HEADER.match(line)) is None:
                raise HttpFormatError("one of its headers is none")
            name = header[1].decode("ascii").lower()
            if name in ("content-length", "transfer-encoding") and name in headers:
                raise HttpFormatError("it has two lengths")
            headers[name] = header[2].decode("latin-1")
        self.status, self.headers, self.is_success = status, headers, status < 300
        self._find_length(status, headers)
        says_when_it_ends = self._chunked or self._left is not None
        says_nothing_else = headers.get("connection", "keep-alive").lower() == "keep-alive"
        # A refusal may come before the request is read: what is left of that would be taken for another one.
        was_heard_out = self.is_success and lines[0].startswith(b"HTTP/1.1")
        self.reusable = was_heard_out and says_when_it_ends and says_nothing_else

    def _find_length(self, status: int, headers: Mapping[str, str]) -> None:
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None and length is not None:
            raise HttpFormatError("it has two lengths")
        if coding is not None and coding.lower() != "chunked":
            raise HttpFormatError("its transfer encoding is unknown")
        if length is not None and not (length.isascii() and length.isdigit() and len(length) < 16):
            raise HttpFormatError("its length is none")
        self._chunked = coding is not None
        self._left = 0 if self._chunked else None if length is None else int(length)
        self.done = status in _NO_BODY or (self._left == 0 and not self._chunked)

    def _chunks(self, data: bytes) -> bytes:
        """The body without its framing; an incomplete size, line end or trailer waits for more."""
        if not (self._left or self._in_chunk or self._in_trailers):
            # Most servers write an event as one chunk, and it arrives as one read.
            found = _SIZE.match(data)
            if found is not None and data.endswith(b"\r\n"):
                size = int(found[1], 16)
                if 0 < size == len(data) - found.end() - 2:
                    return data[found.end() : -2]
        body, at = list[bytes](), 0
        while at < len(data) and not self.done:
            if self._left:
                body.append(data[at : at + self._left])
                at += len(body[-1])
                self._left -= len(body[-1])
            elif (end := self._past_mark(data, at)) is not None:
                at = end
            else:
                self._rest = data[at:]
                break
        self.reusable = self.reusable and (at == len(data) or not self.done)
        return body[0] if len(body) == 1 else b"".join(body)

    def _past_mark(self, data: bytes, at: int) -> int | None:
        """Where the framing that begins at `at` ends; None where it goes on. Never inside a chunk."""
        if self._in_trailers:
            return self._past_trailer(data, at)
        if self._in_chunk:
            if not b"\r\n".startswith(data[at : at + 2]):
                raise HttpFormatError("a chunk does not end where it should")
            if len(data) - at < 2:
                return None
            self._in_chunk = False
            return at + 2
        found = _SIZE.match(data, at)
        if found is None:
            if b"\n" in data[at:] or len(data) - at > MAX_SIZE_LINE_BYTES:
                raise HttpFormatError("a chunk has no size")
            return None
        self._left = int(found[1], 16)
        self._in_chunk, self._in_trailers = self._left > 0, self._left == 0
        return found.end()

    def _past_trailer(self, data: bytes, at: int) -> int | None:
        """Trailers are read over: nothing of ours is in them."""
        end = data.find(b"\r\n", at)
        if self._n_trailers + (len(data) if end < 0 else end) - at > MAX_TRAILER_BYTES:
            raise HttpFormatError("its trailers are too long")
        if end < 0:
            return None
        self._n_trailers += end + 2 - at
        self.done = end == at
        return end + 2
