"""One request over a connection of its own, without TLS: the load workers' way, close to the socket.

Keeps every read with its stamp and does nothing else with it. A library's stream costs a wake-up, a task
switch and some forty calls per read, which a thousand streams pay for with the accuracy of all.
"""

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from llama_runner.core.errors import ProtocolError
from llama_runner.net.addresses import host_of, port_of, scope_of
from llama_runner.net.client import USER_AGENT
from llama_runner.net.errors import MAX_ERROR_BODY_BYTES
from llama_runner.net.http1 import HttpFormatError, HttpResponse
from llama_runner.net.stream import WireLike

_FORBIDDEN: Final = re.compile("[\r\n\0]")


class PlainExchange(asyncio.Protocol):
    """One request and its response.

    Attributes:
        response: Its head, as far as it came.
        error_body: The beginning of the body of a status other than 2xx; such a body is not among the reads.
        ended: Done when the response is complete; its exception is what ended it early.

    Args:
        keep: Takes the stamp and the bytes of every read of the body.
        max_bytes: The most a body may have.
        one_only: No other request follows on its connection.
    """

    def __init__(
        self,
        wire: WireLike,
        *,
        now_ns: Callable[[], int],
        keep: Callable[[tuple[int, bytes]], None],
        max_bytes: int,
        one_only: bool = True,
    ) -> None:
        self.t_send_ns: int | None = None
        self.t_headers_ns: int | None = None
        self.response = HttpResponse()
        self.error_body = b""
        self.ended = asyncio.get_running_loop().create_future()
        self._url = wire.url
        self._request = request_bytes(wire, one_only=one_only)
        self._now_ns = now_ns
        self._keep = keep
        self._bytes_left = max_bytes
        self._transport: asyncio.Transport | None = None

    @property
    def answering(self) -> bool:
        """The response's head arrived."""
        return self.response.status is not None

    @property
    def unanswered(self) -> bool:
        """It ended before anything of a response arrived."""
        return self.ended.done() and not self.answering

    @property
    def reusable(self) -> bool:
        """The response is complete, and another request may follow on its connection."""
        return self.ended.done() and self.response.done and self.response.reusable

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send at once; on a connection that is there already, too."""
        self.t_send_ns = self._now_ns()
        # Not an instance check: uvloop's transports are no subclasses of asyncio's.
        self._transport = transport  # type: ignore[assignment]
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Stamp, strip the framing, keep."""
        now_ns = self._now_ns()
        if self.ended.done():
            return
        response = self.response
        try:
            body = response.feed(data)
        except HttpFormatError as error:
            self._end(ProtocolError(self._url, f"it does not speak HTTP: {error}"))
            return
        if self.t_headers_ns is None and response.status is not None:
            self.t_headers_ns = now_ns
        if body:
            if response.is_success:
                self._keep((now_ns, body))
                self._bytes_left -= len(body)
            else:
                self._keep_error(body)
            if self._bytes_left < 0:
                self._end(ProtocolError(self._url, "its stream was cut (stream_too_long)"))
        if response.done:
            self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Complete, where only the end of the connection could tell; cut otherwise."""
        if self.ended.done():
            return
        if self.response.close():
            self._end(None)
        elif self.answering:
            self._end(error or ConnectionResetError())
        else:
            self._end(error or aiohttp.ServerDisconnectedError())

    def pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def give_up(self, error: Exception) -> None:
        """End it here, by an error of whoever keeps the reads."""
        self._end(error)

    def _keep_error(self, body: bytes) -> None:
        self.error_body += body[: MAX_ERROR_BODY_BYTES - len(self.error_body)]
        if len(self.error_body) == MAX_ERROR_BODY_BYTES:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


async def carry_out(exchange: PlainExchange, url: str, resolver: AbstractResolver, timeout_s: float) -> None:
    """Connect, send, and read to the end. Leaving it, by whatever way, closes the connection.

    Raises:
        OSError, TimeoutError: No connection within `timeout_s`, or a broken one.
        ProtocolError: The response is not HTTP, or too long.
    """
    async with asyncio.timeout(timeout_s):
        transport = await _connect(exchange, url, resolver)
    try:
        await exchange.ended
    finally:
        transport.abort()


async def _connect(exchange: PlainExchange, url: str, resolver: AbstractResolver) -> asyncio.Transport:
    host, port, loop = host_of(url), port_of(url), asyncio.get_running_loop()
    addresses = [host]
    if scope_of(host) == "name":
        found = await resolver.resolve(host, port, socket.AF_UNSPEC)
        addresses = [result["host"] for result in found]
    for number, address in enumerate(addresses, start=1):
        try:
            transport, _ = await loop.create_connection(lambda: exchange, address, port)
        except OSError:
            if number == len(addresses):
                raise
        else:
            return transport
    raise OSError(None, "the name has no address")


def request_bytes(wire: WireLike, *, one_only: bool = True) -> bytes:
    """The whole request. Raises ValueError for a header that would end before its end.

    Args:
        one_only: Have the server close the connection afterwards.
    """
    parts = urlsplit(wire.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {
        "Host": parts.netloc,
        "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
        **wire.headers,
        "Content-Length": str(len(wire.body)),
        **({"Connection": "close"} if one_only else {}),
    }
    if _FORBIDDEN.search("".join((*headers, *headers.values(), target))):
        raise ValueError("a header of the request has a line end in it")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{wire.method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + wire.body
