"""One request and its raw answer: when it was sent, when the headers came, and what can be read of its body.

Knows no dialect and parses nothing.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

import httpx

from llama_runner.core.clock import Clock
from llama_runner.core.errors import ProtocolError, UnreachableError
from llama_runner.net.client import Exchange, current_exchange
from llama_runner.net.errors import (
    MAX_ERROR_BODY_BYTES,
    TRANSPORT_ERRORS,
    raise_for_status,
    translate_errors,
    transport_error,
)


class WireLike(Protocol):
    """A request ready to send, as the backends encode it."""

    @property
    def method(self) -> str:
        """GET or POST."""
        ...

    @property
    def url(self) -> str:
        """The whole address."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """With the credential; never logged."""
        ...

    @property
    def body(self) -> bytes:
        """Empty for a GET."""
        ...


class OpenAnswer:
    """A response whose head arrived and whose body is read piece by piece.

    Reads from the connection's own buffer: httpx's iterators cost three generators per read, and leave one
    behind for the garbage collector whenever a body isn't read to its end.
    """

    def __init__(self, url: str, exchange: Exchange, began_ns: int) -> None:
        if exchange.response is None or exchange.t_headers_ns is None:
            raise TypeError("the client must come from open_http")
        self._url = url
        self._content = exchange.response.content
        self.status = exchange.response.status
        self.headers: Mapping[str, str] = exchange.response.headers
        self.t_send_ns = exchange.t_send_ns if exchange.t_send_ns is not None else began_ns
        self.t_headers_ns = exchange.t_headers_ns

    @property
    def content_type(self) -> str:
        """The media type without parameters, lower case; empty when absent."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    async def read(self) -> bytes:
        """What arrived since the last read, at least one byte; empty at the end."""
        # Once per token: a context manager would cost as much as the rest of it.
        try:
            return await self._content.readany()
        except TRANSPORT_ERRORS as error:
            raise transport_error(self._url, error, answering=True) from error

    async def read_at_most(self, max_bytes: int) -> bytes | None:
        """The whole body, or None when it is longer than `max_bytes`; the rest is not read."""
        body = bytearray()
        while data := await self.read():
            body += data
            if len(body) > max_bytes:
                return None
        return bytes(body)

    async def refuse_unless_plain(self) -> None:
        """Raise unless this is a 2xx answer that is not compressed (D6: `identity` was asked)."""
        if not self.is_success:
            body = await self.read_at_most(MAX_ERROR_BODY_BYTES)
            raise_for_status(self.status, self.headers, body or b"", self._url)
        refuse_compressed(self.headers.get("Content-Encoding"), self._url)


def refuse_compressed(encoding: str | None, url: str) -> None:
    """Raise ProtocolError unless a `Content-Encoding` says plain: `identity` was asked (D6)."""
    if (encoding or "identity").strip().lower() not in ("identity", ""):
        raise ProtocolError(url, "its body is compressed although it was asked not to")


@asynccontextmanager
async def open_answer(client: httpx.AsyncClient, wire: WireLike, clock: Clock) -> AsyncIterator[OpenAnswer]:
    """Send `wire` and wait for the response's head; leaving closes what was not read."""
    exchange = Exchange(clock.now_ns)
    token = current_exchange.set(exchange)
    began_ns = clock.now_ns()
    try:
        with translate_errors(wire.url):
            request = client.build_request(
                wire.method, wire.url, headers=dict(wire.headers), content=wire.body
            )
            response = await client.send(request, stream=True)
    except UnreachableError as error:
        error.never_sent = exchange.t_send_ns is None
        raise
    finally:
        current_exchange.reset(token)
    async with aclosing(response):
        yield OpenAnswer(wire.url, exchange, began_ns)
