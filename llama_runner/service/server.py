"""uvicorn as a part of our process: no signal handlers, no exit, no idle wake-ups."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

# Safety R2; uvicorn counts request line and headers together.
MAX_HEAD_BYTES: Final = 32 * 1024
MAX_CONNECTIONS: Final = 256
KEEP_ALIVE_S: Final = 15
# Waiting requests are answered at once when the service closes; what takes longer does not read.
CLOSE_LIMIT_S: Final = 2


class HttpServer(uvicorn.Server):
    """Serves `app` on a listening socket until `stop`.

    Args:
        listener: Closed at the end.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
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

    async def run_until_stopped(self) -> None:
        """Serve; returns after `stop`, when the last connection is closed."""
        await self.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Accept nothing more, let running requests end."""
        self.should_exit = True
        self._stop.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service."""
        yield

    async def main_loop(self) -> None:
        """Wait for `stop` instead of looking for it ten times a second."""
        await self.on_tick(0)
        await self._stop.wait()
