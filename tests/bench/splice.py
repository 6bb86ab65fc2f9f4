"""The least that stands between a client and a server: bytes from one socket to another, nothing looked at.

    python -m tests.bench.splice URL

Prints its own address, ends with its standard input. What it adds, every proxy on this machine and event loop
adds: one more process to wake, twice.
"""

import asyncio
import sys
from urllib.parse import urlsplit


class _Server(asyncio.Protocol):
    def __init__(self, client: asyncio.Transport, first: bytes) -> None:
        self._client = client
        self._first = first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._first)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.close()


class _Client(asyncio.Protocol):
    """Takes what comes in one read for the whole request, which it is here."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._server: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._server is not None:
            self._server.write(data)
            return
        loop = asyncio.get_running_loop()
        self._asking = loop.create_task(self._ask(data), name="ask")

    async def _ask(self, data: bytes) -> None:
        self._server, _ = await asyncio.get_running_loop().create_connection(
            lambda: _Server(self._transport, data),  # type: ignore[arg-type]
            *self._address,
        )

    def connection_lost(self, error: Exception | None) -> None:
        if self._server is not None:
            self._server.close()


async def main(url: str) -> None:
    """Serve until the standard input ends."""
    server_url = urlsplit(url)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Client(server_url.hostname or "", server_url.port or 0), "127.0.0.1", 0
    )
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
