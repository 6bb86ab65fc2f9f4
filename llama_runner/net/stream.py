"""One request and its raw answer: when it was sent, when the headers came, and every read with its stamp.

Knows no dialect and parses nothing.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from llama_runner.core.clock import Clock
from llama_runner.core.errors import ProtocolError
from llama_runner.net.client import SendStamp, current_stamp
from llama_runner.net.errors import MAX_ERROR_BODY_BYTES, raise_for_status, translate_errors


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


@dataclass(frozen=True, slots=True)
class Sent:
    """The first byte of the request was written; connecting is not part of what follows."""

    t_ns: int


@dataclass(frozen=True, slots=True)
class Headers:
    """The response's head arrived with a 2xx status."""

    t_ns: int
    status: int
    headers: Mapping[str, str] = field(repr=False)

    @property
    def content_type(self) -> str:
        """The media type without parameters, lower case; empty when absent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Read:
    """One read of the body, stamped before anything looked at it."""

    t_ns: int
    data: bytes


RawEvent = Sent | Headers | Read


async def stream_raw(
    client: httpx.AsyncClient, wire: WireLike, clock: Clock
) -> AsyncGenerator[RawEvent, None]:
    """Send `wire` and yield Sent, Headers, then every Read until the body ends.

    Sent is yielded together with Headers, as only then it is sure that something was sent.
    Closing the iterator closes the connection.

    Raises:
        ServerError: No connection, a status other than 2xx, a compressed body, or a broken one.
    """
    stamp = SendStamp(clock.now_ns)
    token = current_stamp.set(stamp)
    request = client.build_request(wire.method, wire.url, headers=dict(wire.headers), content=wire.body)
    began_ns = clock.now_ns()
    try:
        with translate_errors(wire.url):
            response = await client.send(request, stream=True)
        arrived_ns = clock.now_ns()
    finally:
        current_stamp.reset(token)
    async with aclosing(response):
        yield Sent(stamp.t_ns if stamp.t_ns is not None else began_ns)
        await refuse_unless_plain(response, wire.url)
        yield Headers(arrived_ns, response.status_code, response.headers)
        with translate_errors(wire.url, answering=True):
            async for data in response.aiter_raw():
                yield Read(clock.now_ns(), data)


async def refuse_unless_plain(response: httpx.Response, url: str) -> None:
    """Raise unless the answer is a 2xx one that is not compressed (D6: `identity` was asked)."""
    if not response.is_success:
        with translate_errors(url, answering=True):
            body = await read_at_most(response, MAX_ERROR_BODY_BYTES)
        raise_for_status(response.status_code, response.headers, body or b"", url)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise ProtocolError(url, "its body is compressed although it was asked not to")


async def read_at_most(response: httpx.Response, max_bytes: int) -> bytes | None:
    """The raw body, or None when it is longer than `max_bytes`; the rest is not read."""
    body = bytearray()
    async for data in response.aiter_raw():
        body += data
        if len(body) > max_bytes:
            return None
    return bytes(body)
