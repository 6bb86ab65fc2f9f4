"""uvicorn as a part of our process: no signal handlers, no exit, no idle wake-ups."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import ClassVar, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from llama_runner.service.direct import offer_direct_body

# Safety R2; uvicorn counts request line and headers together.
MAX_HEAD_BYTES: Final = 32 * 1024
MAX_CONNECTIONS: Final = 256
KEEP_ALIVE_S: Final = 15
# Waiting requests are answered at once when the service closes; what takes longer does not read.
CLOSE_LIMIT_S: Final = 2
# From a connection or a request's first byte to its last one; requests are small and come from this machine.
REQUEST_LIMIT_S: Final = 10.0
# The same for requests of 32 MiB, at 1 MiB a second.
BODY_LIMIT_S: Final = 30.0
# Safety I35: what clients say over a WebSocket is a command at most.
MAX_MESSAGE_BYTES: Final = 64 * 1024
# W6: two missed pings, then the client is taken for gone.
PING_EVERY_S: Final = 15.0
PONG_LIMIT_S: Final = 2 * PING_EVERY_S


class BoundedRequests(H11Protocol):
    """uvicorn's protocol, but a request that does not arrive whole is not waited for (safety R2).

    Without this a few hundred half requests, of any user of this machine, keep everybody else out.
    """

    limit_s: ClassVar[float] = REQUEST_LIMIT_S
    _arriving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection is the beginning of a request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """More of a request, the last of it perhaps."""
        super().data_received(data)
        # None before the first request, whatever uvicorn's annotation says.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            self._expect_nothing()
        elif self._arriving is None:
            self._expect()

    def handle_events(self) -> None:
        """A request's head among them, perhaps: its answer may go the short way."""
        super().handle_events()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None:
            offer_direct_body(cycle)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """It arrived; another protocol has the connection now, with limits of its own."""
        self._expect_nothing()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """What follows is idleness, which uvicorn bounds."""
        self._expect_nothing()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._arriving = self.loop.call_later(self.limit_s, self.transport.close)

    def _expect_nothing(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None


class SlowBodies(BoundedRequests):
    """For requests that carry pictures."""

    limit_s: ClassVar[float] = BODY_LIMIT_S


class HttpServer(uvicorn.Server):
    """Serves `app` on a listening socket until `stop`.

    Args:
        listener: Closed at the end.
        requests: How long requests may take to arrive.
        websockets: What speaks them; None where there are none.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        requests: type[BoundedRequests] = BoundedRequests,
        websockets: type[asyncio.Protocol] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=requests,
                ws=websockets or "none",
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_ping_interval=PING_EVERY_S,
                ws_ping_timeout=PONG_LIMIT_S,
                # A frame that unpacks to gigabytes (I35).
                ws_per_message_deflate=False,
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=CLOSE_LIMIT_S,
            )
        )
        self._listener = listener
        self._stop = asyncio.Event()
        self._accepting = asyncio.Event()
        # uvicorn sets it when it begins.
        self.servers: list[asyncio.base_events.Server] = []

    async def run_until_stopped(self) -> None:
        """Serve; returns after `stop`, when the last connection is closed."""
        try:
            await self.serve(sockets=[self._listener])
        finally:
            self._accepting.set()

    def stop(self) -> None:
        """Accept nothing more, let running requests end."""
        self.should_exit = True
        self._stop.set()

    async def accepting(self) -> None:
        """Wait until it accepts, or never will."""
        await self._accepting.wait()

    def retire(self) -> None:
        """Free the port at once; what is being answered is answered to its end, however long that takes."""
        for server in self.servers:
            server.close()
        self.config.timeout_graceful_shutdown = None
        self.stop()

    def cut(self) -> None:
        """End the answers that are left."""
        for answer in tuple(self.server_state.tasks):
            answer.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell who waits for it."""
        await super().startup(sockets=sockets)
        self._accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service."""
        yield

    async def main_loop(self) -> None:
        """Wait for `stop` instead of looking for it ten times a second."""
        await self.on_tick(0)
        await self._stop.wait()
