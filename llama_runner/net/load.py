"""Sending one of very many requests: the lowest path that still speaks HTTP, for load workers only.

Stamps and keeps the raw reads; parses nothing meanwhile, so that one answer never delays another's stamps.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiohttp

from llama_runner.core.clock import Clock
from llama_runner.core.errors import ProtocolError, ServerError, UnreachableError
from llama_runner.net.client import USER_AGENT, Exchange, open_session
from llama_runner.net.errors import MAX_ERROR_BODY_BYTES, raise_for_status, transport_error
from llama_runner.net.lines import DEFAULT_CAPS
from llama_runner.net.plain import PlainExchange, carry_out
from llama_runner.net.resolver import PinnedResolver
from llama_runner.net.stream import WireLike

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 10.0
TRANSPORT_ERRORS: Final = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(slots=True)
class RawAnswer:
    """One request as the wire saw it. Every stamp is of the client's clock.

    Attributes:
        t_send_ns: First byte written, None when it never came to that.
        t_headers_ns: The response's head arrived.
        reads: Stamp and bytes of every read of the body.
        t_end_ns: The body ended, or the request was given up.
        error: What ended it early; what arrived before is kept.
        timed_out: The error is that the whole request took longer than it may.
    """

    url: str
    t_send_ns: int | None = None
    t_headers_ns: int | None = None
    status: int | None = None
    reads: list[tuple[int, bytes]] = field(default_factory=list, repr=False)
    t_end_ns: int | None = None
    error: ServerError | None = None
    timed_out: bool = False


class LoadClient:
    """Sends requests of one load worker, each over a connection of its own. Use as an async context manager.

    Args:
        pin: SHA-256 of the one certificate to accept, for https; None for the usual rules.
        scopes: How near names are, where that is known already (D12).
    """

    def __init__(
        self, *, clock: Clock, pin: str | None = None, scopes: Mapping[str, str] | None = None
    ) -> None:
        self._clock = clock
        self._pin = pin
        self._resolver = PinnedResolver(scopes=dict(scopes or {}))
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = open_session(reuse_connections=False, pin=self._pin, resolver=self._resolver)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resolver.close()
        if self._session is not None:
            await self._session.close()

    async def send(self, wire: WireLike, *, timeout_s: float, into: RawAnswer | None = None) -> RawAnswer:
        """Send and read to the end. Never raises a ServerError: it is in the answer. Cancelling closes.

        Args:
            into: Filled instead of a new one: what arrived stays known to a caller that cancels.
        """
        raw = into if into is not None else RawAnswer(wire.url)
        secure = wire.url.startswith("https://")
        exchange = Exchange(self._clock.now_ns) if secure else self._plain_exchange(wire, raw)
        try:
            async with asyncio.timeout(timeout_s) as limit:
                if isinstance(exchange, Exchange):
                    await self._over_tls(wire, raw, exchange)
                else:
                    await self._over_tcp(wire, raw, exchange)
        except ServerError as error:
            raw.error = error
        except TRANSPORT_ERRORS as error:
            raw.timed_out = limit.expired()
            raw.error = (
                _too_slow(wire.url, timeout_s)
                if raw.timed_out
                else transport_error(wire.url, error, answering=exchange.t_headers_ns is not None)
            )
        finally:
            raw.t_send_ns, raw.t_headers_ns = exchange.t_send_ns, exchange.t_headers_ns
            raw.t_end_ns = self._clock.now_ns()
        return raw

    def _plain_exchange(self, wire: WireLike, raw: RawAnswer) -> PlainExchange:
        now_ns, keep = self._clock.now_ns, raw.reads.append
        return PlainExchange(wire, now_ns=now_ns, keep=keep, max_bytes=DEFAULT_CAPS.stream)

    async def _over_tcp(self, wire: WireLike, raw: RawAnswer, exchange: PlainExchange) -> None:
        try:
            await carry_out(exchange, wire.url, self._resolver, CONNECT_TIMEOUT_S)
        finally:
            raw.status = exchange.response.status
        if raw.status is not None:
            raise_for_status(raw.status, exchange.response.headers, exchange.error_body, wire.url)

    async def _over_tls(self, wire: WireLike, raw: RawAnswer, exchange: Exchange) -> None:
        assert self._session is not None, "use LoadClient as an async context manager"
        async with self._session.request(
            wire.method,
            wire.url,
            data=wire.body or None,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **wire.headers},
            allow_redirects=False,
            trace_request_ctx=exchange,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        ) as response:
            raw.status = response.status
            if not 200 <= response.status < 300:
                await _refused(response, wire.url)
            await self._read_all(response.content, raw)

    async def _read_all(self, content: aiohttp.StreamReader, raw: RawAnswer) -> None:
        now_ns, keep, n_bytes = self._clock.now_ns, raw.reads.append, 0
        while data := await content.readany():
            keep((now_ns(), data))
            n_bytes += len(data)
            if n_bytes > DEFAULT_CAPS.stream:
                raise ProtocolError(raw.url, "its stream was cut (stream_too_long)")


async def _refused(response: aiohttp.ClientResponse, url: str) -> None:
    body = await response.content.read(MAX_ERROR_BODY_BYTES)
    headers: Mapping[str, str] = response.headers
    raise_for_status(response.status, headers, body, url)


def _too_slow(url: str, timeout_s: float) -> ServerError:
    return UnreachableError(
        f"{url} did not finish its answer within {timeout_s:g} s.",
        "Lower the load, or raise the request timeout in Settings.",
    )


def run_on_fastest_loop(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """`asyncio.run` on uvloop where it exists, on the standard loop elsewhere. For worker processes."""
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        return runner.run(main())


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # does not exist on Windows

    return uvloop.new_event_loop
