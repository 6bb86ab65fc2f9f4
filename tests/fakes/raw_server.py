"""A TCP server that answers with exactly the bytes it was given, for what no proper server would send."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

# What to send for the request with this number (from 0), given its head.
Script = Callable[[int, bytes], bytes | None]


@dataclass(slots=True)
class RawServer:
    """What it heard so far.

    Attributes:
        heads: Request lines and headers, in order of arrival.
        bodies: Of those requests that came whole.
    """

    port: int = 0
    scheme: str = "http"
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{self.scheme}://127.0.0.1:{self.port}"


@asynccontextmanager
async def raw_server(
    script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Serve `script`: its bytes are sent and the connection is closed; None keeps it open and silent."""
    seen = RawServer(scheme="https" if tls else "http")
    leaving = asyncio.Event()
    talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A handshake may end after everything else has.
        if leaving.is_set():
            writer.transport.abort()
            return
        seen.connections += 1
        talks[asyncio.get_running_loop().create_task(talk(reader, writer))] = writer

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            seen.heads.append(head)
            # Closing with something unread would reset the connection, and the answer could be lost.
            seen.bodies.append(await reader.readexactly(_body_length(head)))
            data = script(len(seen.heads) - 1, head)
            if data is None:
                await leaving.wait()
            else:
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            seen.heads.append(b"")
        finally:
            writer.close()

    server = await asyncio.start_server(connected, host, 0, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        leaving.set()
        for writer in talks.values():
            writer.transport.abort()
        await asyncio.gather(*talks)
        server.close()
        await server.wait_closed()


def _body_length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return int(found[1]) if found else 0


def response(
    body: bytes, *, status: str = "200 OK", content_type: str = "application/json", more: str = ""
) -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode("latin-1") + body
