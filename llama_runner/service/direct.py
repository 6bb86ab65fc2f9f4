"""uvicorn's side of `proxy.direct`: pieces of an answer's body, framed and given to the socket at once."""

from typing import Any

from uvicorn.protocols.http.h11_impl import RequestResponseCycle

from llama_runner.proxy.direct import EXTENSION


class ChunkedBody:
    """The body of one answer of HTTP/1.1 without a length.

    h11 frames pieces the same way and keeps no state about them, so its `send` can go on after them.
    """

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def write(self, data: bytes) -> bool:
        """Send a piece; False when the connection's buffer is full."""
        cycle = self._cycle
        if cycle.disconnected:
            return True
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return not cycle.flow.write_paused

    async def drained(self) -> None:
        """Wait until there is room in the buffer, or nobody left."""
        if self._cycle.flow.write_paused and not self._cycle.disconnected:
            await self._cycle.flow.drain()


def offer_direct_body(cycle: RequestResponseCycle) -> None:
    """Put the extension into the scope of a request; call it before the application runs."""
    scope: dict[str, Any] = cycle.scope  # type: ignore[assignment]
    scope.setdefault("extensions", {}).setdefault(EXTENSION, ChunkedBody(cycle))
