"""uvicorn as a part of our process: no signal handlers, no exit, no idle wake-ups."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp

from llama_runner.net.listen import BACKLOG
from llama_runner.service.connection import PATIENCE, BoundedRequests, Patience
from llama_runner.service.guests import Guests

# How many connections are taken before anything else gets its turn.
ACCEPTED_AT_ONCE: Final = 64
# Waiting requests are answered at once when the service closes; what takes longer does not read.
CLOSE_LIMIT_S: Final = 2
# Safety I35: what clients say over a WebSocket is a command at most.
MAX_MESSAGE_BYTES: Final = 64 * 1024
# W6: two missed pings, then the client is taken for gone.
PING_EVERY_S: Final = 15.0
PONG_LIMIT_S: Final = 2 * PING_EVERY_S


class HttpServer(uvicorn.Server):
    """Serves `app` on a listening socket until `stop`.

    Args:
        listener: Closed at the end.
        patience: How long connections may take.
        websockets: What speaks them; None where there are none.

    Attributes:
        guests: Who is connected.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        patience: Patience = PATIENCE,
        websockets: type[asyncio.Protocol] | None = None,
    ) -> None:
        self.guests = Guests()

        def protocol(**uvicorns: Any) -> BoundedRequests:
            return BoundedRequests(guests=self.guests, patience=patience, **uvicorns)

        super().__init__(
            uvicorn.Config(
                app,
                # Called only, never asked whether it is a class.
                http=cast(type[asyncio.Protocol], protocol),
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
                backlog=ACCEPTED_AT_ONCE,
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
        """End the answers that are left, and wait for no client to take the rest."""
        for answer in tuple(self.server_state.tasks):
            answer.cancel()
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell who waits for it."""
        await super().startup(sockets=sockets)
        # asyncio has one number for what the kernel queues and for what it takes at once.
        self._listener.listen(BACKLOG)
        self._accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service."""
        yield

    async def main_loop(self) -> None:
        """Wait for `stop` instead of looking for it ten times a second."""
        await self.on_tick(0)
        await self._stop.wait()
