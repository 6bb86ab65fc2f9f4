"""One request whose answer is given away as it comes: for a proxy, which does nothing else with it.

From an engine on this machine no task is woken per read: what the socket gave goes on within the same call.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol
from urllib.parse import urlsplit

import httpx

from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import LlamaRunnerError, ProtocolError, UnreachableError
from llama_runner.net.addresses import host_of, port_of, scope_of
from llama_runner.net.client import Timeouts
from llama_runner.net.errors import MAX_ERROR_BODY_BYTES, TRANSPORT_ERRORS, transport_error
from llama_runner.net.kept import Address, KeptConnections
from llama_runner.net.lines import DEFAULT_CAPS
from llama_runner.net.plain import PlainExchange
from llama_runner.net.stream import OpenAnswer, WireLike, open_answer, refuse_compressed

# Takes a piece of a body; False when no more is to come until the one who takes is empty again.
Take = Callable[[bytes], bool]
_LIMITS: Final = Timeouts()


class Pouring(Protocol):
    """An answer whose head is there."""

    @property
    def status(self) -> int:
        """HTTP's."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name."""
        ...

    @property
    def t_headers_ns(self) -> int:
        """When the head arrived."""
        ...

    async def error_body(self) -> bytes:
        """The beginning of the body of a status other than 2xx."""
        ...

    async def pour(self, take: Take, drained: Callable[[], Awaitable[None]]) -> None:
        """Give the whole body away; `drained` is awaited whenever `take` said False.

        Raises:
            ServerError: The body broke off, or `take` raised it.
        """
        ...


@asynccontextmanager
async def open_pouring(
    client: httpx.AsyncClient, wire: WireLike, clock: Clock, kept: KeptConnections
) -> AsyncIterator[Pouring]:
    """Send `wire` and wait for the answer's beginning; leaving before its end closes the connection.

    Args:
        kept: Connections to use again, and where those go that can be.

    Raises:
        ServerError: No answer; an UnreachableError tells whether the request went out.
        ProtocolError: The answer is compressed although it was asked not to be (D6).
    """
    opened = _plain(wire, clock, kept) if _is_next_door(wire.url) else _read(client, wire, clock)
    async with opened as answer:
        refuse_compressed(answer.headers.get("content-encoding"), wire.url)
        yield answer


def _is_next_door(url: str) -> bool:
    return urlsplit(url).scheme == "http" and scope_of(host_of(url)) == "loopback"


class _Read:
    """Over the ordinary client: TLS, names, other machines."""

    def __init__(self, url: str, answer: OpenAnswer) -> None:
        self._url = url
        self._answer = answer
        self.status = answer.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in answer.headers.items()}
        self.t_headers_ns = answer.t_headers_ns

    async def error_body(self) -> bytes:
        return await self._answer.read_at_most(MAX_ERROR_BODY_BYTES) or b""

    async def pour(self, take: Take, drained: Callable[[], Awaitable[None]]) -> None:
        bytes_left = DEFAULT_CAPS.stream
        while data := await self._answer.read():
            bytes_left -= len(data)
            if not take(data):
                await drained()
            if bytes_left < 0:
                raise ProtocolError(self._url, "its stream was cut (stream_too_long)")


@asynccontextmanager
async def _read(client: httpx.AsyncClient, wire: WireLike, clock: Clock) -> AsyncIterator[Pouring]:
    async with open_answer(client, wire, clock) as answer:
        yield _Read(wire.url, answer)


class _Plain:
    """Over a socket of its own."""

    def __init__(self, wire: WireLike, clock: Clock) -> None:
        self._url = wire.url
        self._clock = clock
        self.exchange = PlainExchange(
            wire, now_ns=clock.now_ns, keep=self._came, max_bytes=DEFAULT_CAPS.stream, one_only=False
        )
        self.exchange.ended.add_done_callback(self._ended)
        self._held: list[bytes] = []
        self._take: Take = self._hold
        # Something for the task to do: the first bytes, a taker that is full, the end.
        self._turn = asyncio.Event()
        self._full = False
        self._last_ns = clock.now_ns()

    @property
    def status(self) -> int:
        assert self.exchange.response.status is not None
        return self.exchange.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.exchange.response.headers

    @property
    def t_headers_ns(self) -> int:
        assert self.exchange.t_headers_ns is not None
        return self.exchange.t_headers_ns

    async def begin(self) -> None:
        """Until the first bytes of the body, or its end."""
        while not self._held and not self.exchange.ended.done():
            await self._next()
        if not self._held:
            self._raise_end()

    async def error_body(self) -> bytes:
        while not self.exchange.ended.done():
            await self._next()
        return self.exchange.error_body

    async def pour(self, take: Take, drained: Callable[[], Awaitable[None]]) -> None:
        first, self._held = b"".join(self._held), []
        self._take = take
        self._full = bool(first) and not take(first)
        while True:
            if self._full:
                await drained()
                self._full = False
            if self.exchange.ended.done():
                self._raise_end()
                return
            self.exchange.resume()
            await self._next()

    def _hold(self, data: bytes) -> bool:
        """Before anybody takes: keep it, and read no more."""
        self._held.append(data)
        return False

    def _came(self, read: tuple[int, bytes]) -> None:
        self._last_ns = read[0]
        try:
            goes_on = self._take(read[1])
        except LlamaRunnerError as error:
            self.exchange.give_up(error)
            return
        if not goes_on:
            self.exchange.pause()
            self._full = True
            self._turn.set()

    def _ended(self, future: "asyncio.Future[None]") -> None:
        # Looked at here, so that an error nobody waits for any more is not reported as forgotten.
        if not future.cancelled():
            future.exception()
        self._turn.set()

    async def _next(self) -> None:
        """Until there is something to do; a server may be silent for so long and no longer."""
        limit_s = _LIMITS.read_s or 0.0
        while not self._turn.is_set():
            silent_s = seconds(self._clock.now_ns(), self._last_ns)
            try:
                async with asyncio.timeout(limit_s - silent_s):
                    await self._turn.wait()
            except TimeoutError as error:
                if seconds(self._clock.now_ns(), self._last_ns) >= limit_s:
                    raise transport_error(self._url, error, answering=self.exchange.answering) from error
        self._turn.clear()

    def _raise_end(self) -> None:
        error = self.exchange.ended.exception()
        if isinstance(error, TRANSPORT_ERRORS):
            raise transport_error(self._url, error, answering=self.exchange.answering) from error
        if error is not None:
            raise error


@asynccontextmanager
async def _plain(wire: WireLike, clock: Clock, kept: KeptConnections) -> AsyncIterator[Pouring]:
    address = (host_of(wire.url), port_of(wire.url))
    answer, transport = await _begun(wire, clock, address, kept)
    try:
        yield answer
    finally:
        if answer.exchange.reusable:
            kept.keep(address, transport)
        else:
            transport.abort()


async def _begun(
    wire: WireLike, clock: Clock, address: Address, kept: KeptConnections
) -> tuple[_Plain, asyncio.Transport]:
    """An answer whose first bytes are there, over a connection that is there already where that works."""
    answer, transport, lost = _Plain(wire, clock), kept.take(address), None
    if transport is not None:
        transport.set_protocol(answer.exchange)
        answer.exchange.connection_made(transport)
        try:
            await _begin(answer, transport)
        except UnreachableError as error:
            if not answer.exchange.unanswered:
                raise
            # The server may have closed it just before it was asked: a new connection tells.
            lost, answer = error, _Plain(wire, clock)
        else:
            return answer, transport
    try:
        transport = await _connected(wire, answer.exchange, address)
    except UnreachableError:
        # Nobody is there any more: then it was this request that the server did not survive.
        if lost is not None:
            raise lost from None
        raise
    await _begin(answer, transport)
    return answer, transport


async def _connected(wire: WireLike, exchange: PlainExchange, address: Address) -> asyncio.Transport:
    try:
        async with asyncio.timeout(_LIMITS.connect_s):
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: exchange, *address)
    except TRANSPORT_ERRORS as error:
        unreachable = transport_error(wire.url, error)
        if isinstance(unreachable, UnreachableError):
            unreachable.never_sent = True
        raise unreachable from error
    return transport


async def _begin(answer: _Plain, transport: asyncio.Transport) -> None:
    try:
        await answer.begin()
    except BaseException:
        transport.abort()
        raise
