"""Bytes on their way to a client: uvicorn's side of `proxy.direct`, and fewer calls of the kernel."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from llama_runner.proxy.direct import EXTENSION


class Paired:
    """A connection's transport as an answer sees it: two writes of one moment are sent as one.

    A head goes with the first of its body, and the last of that with its end. Each call of the kernel wakes
    the other side, which costs more than having something to send did. What has no second waits for the end
    of the moment.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Send it with the next one, or soon."""
        if self._held:
            self.write_now(data)
        elif data:
            self._held = data
            self._loop.call_soon(self.flush)

    def write_now(self, data: bytes) -> None:
        """Send it, behind what is held."""
        data, self._held = self._held + data, b""
        self._transport.write(data)

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            self.write_now(b"")

    def is_closing(self) -> bool:
        """The connection ends."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Send everything, then end it."""
        self.flush()
        self._transport.close()


class ChunkedBody:
    """The body of one answer of HTTP/1.1 without a length.

    uvicorn frames pieces the same way and keeps no state about them, so its `send` can go on after them.
    """

    __slots__ = ("_cycle", "_out")

    def __init__(self, cycle: RequestResponseCycle, out: Paired) -> None:
        self._cycle = cycle
        self._out = out

    def write(self, data: bytes) -> bool:
        """Send a piece; False when the connection's buffer is full."""
        cycle = self._cycle
        if cycle.disconnected:
            return True
        self._out.write_now(b"%x\r\n%b\r\n" % (len(data), data))
        return not cycle.flow.write_paused

    async def drained(self) -> None:
        """Wait until there is room in the buffer, or nobody left."""
        if self._cycle.flow.write_paused and not self._cycle.disconnected:
            await self._cycle.flow.drain()


def offer_direct_body(cycle: RequestResponseCycle, out: Paired) -> None:
    """Put the extension into the scope of a request; call it before the application runs."""
    scope: dict[str, Any] = cycle.scope  # type: ignore[assignment]
    scope.setdefault("extensions", {}).setdefault(EXTENSION, ChunkedBody(cycle, out))
