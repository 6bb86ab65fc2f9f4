"""The one factory for HTTP clients (safety R3): no redirects, no environment, explicit timeouts.

Nothing else in the program constructs an HTTP client.
"""

import asyncio
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from llama_runner import __version__
from llama_runner.net.keys import origin_of
from llama_runner.net.resolver import PinnedResolver
from llama_runner.net.tls import PinOf, no_pin, ssl_rule, tls_context

USER_AGENT: Final = f"llama-runner/{__version__}"
# Pauses reading from the socket at twice this: large enough that a burst never waits for the parser.
READ_BUFFER_BYTES: Final = 256 * 1024
# Below uvicorn's 5 s: we drop an idle connection before the server does, so no request meets a closed one.
KEEP_ALIVE_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; None waits for ever. `read_s` bounds the silence between two reads, also before the headers.

    The first-token and idle timeouts of a chat are its caller's; this read timeout is the wall behind them.
    """

    connect_s: float | None = 5.0
    read_s: float | None = 900.0
    pool_s: float | None = 30.0

    def for_httpx(self) -> httpx.Timeout:
        """The same, as httpx wants it."""
        return httpx.Timeout(connect=self.connect_s, read=self.read_s, write=self.read_s, pool=self.pool_s)


class Exchange:
    """What the transport leaves behind about one request.

    Attributes:
        t_send_ns: The request's first byte was written; None before.
        t_headers_ns: The response's head arrived; None before.
        response: The raw response, for reading without the layers above it.
    """

    __slots__ = ("_body_seen", "_now_ns", "response", "t_headers_ns", "t_send_ns")

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._body_seen = False
        self.t_send_ns: int | None = None
        self.t_headers_ns: int | None = None
        self.response: aiohttp.ClientResponse | None = None

    def head_ready(self) -> None:
        """A connection is there and the request's head is built."""
        self.t_send_ns = self._now_ns()

    def body_ready(self) -> None:
        """The first part of the body is about to be written, together with the head that waited for it."""
        if not self._body_seen:
            self._body_seen = True
            self.t_send_ns = self._now_ns()

    def answered(self, response: aiohttp.ClientResponse) -> None:
        """The response's head arrived."""
        self.t_headers_ns = self._now_ns()
        self.response = response


# Carried by context and not by argument: httpx has no way to hand something through to aiohttp.
current_exchange: ContextVar[Exchange | None] = ContextVar("current_exchange", default=None)


def exchange_trace() -> aiohttp.TraceConfig:
    """An aiohttp trace that fills `current_exchange`, or the request's own `trace_request_ctx`."""
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_on_head)
    trace.on_request_chunk_sent.append(_on_chunk)
    trace.on_request_end.append(_on_answer)
    return trace


async def _on_head(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    if (exchange := _exchange_of(context)) is not None:
        exchange.head_ready()


async def _on_chunk(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    if (exchange := _exchange_of(context)) is not None:
        exchange.body_ready()


async def _on_answer(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
) -> None:
    if (exchange := _exchange_of(context)) is not None:
        exchange.answered(params.response)


def _exchange_of(context: SimpleNamespace) -> Exchange | None:
    own = getattr(context, "trace_request_ctx", None)
    return own if isinstance(own, Exchange) else current_exchange.get()


def open_session(
    *,
    max_connections: int | None = None,
    reuse_connections: bool = True,
    pin: str | None = None,
    resolver: PinnedResolver | None = None,
) -> aiohttp.ClientSession:
    """The aiohttp session under every client. Needs a running loop; the caller closes it.

    Args:
        max_connections: None for no limit.
        reuse_connections: False opens a connection for every request. Some servers (llama-server) close the
            connection after a stream without saying so; a POST sent into that moment is lost, and repeating
            a POST is not ours to decide.
        pin: SHA-256 of the one certificate to accept, for https; None for the usual rules.
        resolver: Shared with other sessions, and then closed by whoever made it.
    """
    connector = aiohttp.TCPConnector(
        limit=max_connections or 0,
        force_close=not reuse_connections,
        keepalive_timeout=KEEP_ALIVE_S if reuse_connections else None,
        ssl=ssl_rule(pin),
        resolver=resolver or PinnedResolver(),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(loop=asyncio.get_running_loop()),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=READ_BUFFER_BYTES,
        skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept"),
        timeout=aiohttp.ClientTimeout(total=None),
        trace_configs=[exchange_trace()],
    )


class _Pair:
    """Reads share connections; everything else gets one of its own (see `open_session`)."""

    def __init__(self, open_session: Callable[[bool], aiohttp.ClientSession]) -> None:
        self.shared = self._open(open_session, reuse=True)
        self.fresh = self._open(open_session, reuse=False)

    @staticmethod
    def _open(open_session: Callable[[bool], aiohttp.ClientSession], *, reuse: bool) -> AiohttpTransport:
        # The session is made at the first request, as it needs the running loop.
        return AiohttpTransport(verify=tls_context(), client=lambda: open_session(reuse))

    async def aclose(self) -> None:
        await self.shared.aclose()
        await self.fresh.aclose()


class _Transport(httpx.AsyncBaseTransport):
    """Connections that trust different certificates are kept apart: none is used under another's rule."""

    def __init__(
        self, max_connections: int | None, pin_of: PinOf, scopes: MutableMapping[str, str] | None
    ) -> None:
        self._max_connections = max_connections
        self._pin_of = pin_of
        self._scopes = scopes
        self._pairs: dict[str | None, _Pair] = {}
        self._resolver: PinnedResolver | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        pin = self._pin_of(origin_of(str(request.url))) if request.url.scheme == "https" else None
        pair = self._pairs.get(pin)
        if pair is None:
            pair = self._pairs[pin] = _Pair(partial(self._open, pin))
        # A scan asks for it, as it must not keep open what it opened.
        wants_its_own = request.headers.get("Connection") == "close"
        if request.method in ("GET", "HEAD") and not wants_its_own:
            return await pair.shared.handle_async_request(request)
        request.headers["Connection"] = "close"
        return await pair.fresh.handle_async_request(request)

    async def aclose(self) -> None:
        for pair in self._pairs.values():
            await pair.aclose()
        if self._resolver is not None:
            await self._resolver.close()

    def _open(self, pin: str | None, reuse: bool) -> aiohttp.ClientSession:
        # One for all: what it learnt about a name with the first request counts for every later one (D12).
        self._resolver = self._resolver or PinnedResolver(scopes=self._scopes)
        return open_session(
            max_connections=self._max_connections,
            reuse_connections=reuse,
            pin=pin,
            resolver=self._resolver,
        )


DEFAULT_TIMEOUTS: Final = Timeouts()


def open_http(
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    *,
    max_connections: int | None = None,
    pin_of: PinOf = no_pin,
    scopes: MutableMapping[str, str] | None = None,
) -> httpx.AsyncClient:
    """A client for anything that speaks HTTP. Close it, or use it as an async context manager.

    Args:
        timeouts: Defaults of every request; a request may bring its own.
        max_connections: None for no limit.
        pin_of: Which certificate a person trusts at an origin; asked at every request.
        scopes: Where to note how near each name was at its first answer (D12), for others to go by.
    """
    return httpx.AsyncClient(
        transport=_Transport(max_connections, pin_of, scopes),
        timeout=timeouts.for_httpx(),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"},
    )
