"""Connections to servers next door that have answered and are asked again within moments.

A new connection costs the first token half a millisecond, most of it until both sides have been woken.
"""

import asyncio
from typing import Final

# A server that waits for another request holds a thread for it: few, and not for long. Servers close what
# is idle themselves, llama-server after 5 s; before that no request can meet the end of its connection.
MAX_EACH: Final = 2
IDLE_S: Final = 2.0

Address = tuple[str, int]


class KeptConnections:
    """Idle connections by address."""

    def __init__(self) -> None:
        self._idle: dict[Address, list[_Idle]] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, self._idle.values()))

    def take(self, address: Address) -> asyncio.Transport | None:
        """One to ask again, the youngest; None without one. It is the caller's to close or to keep."""
        while idle := self._idle.get(address):
            connection = idle[-1]
            self._forget(connection)
            if not connection.transport.is_closing():
                return connection.transport
        return None

    def keep(self, address: Address, transport: asyncio.Transport) -> None:
        """Keep one whose answer is complete, or close it where there are enough."""
        idle = self._idle.setdefault(address, [])
        if len(idle) >= MAX_EACH or transport.is_closing():
            transport.abort()
            return
        connection = _Idle(self, address, transport)
        transport.set_protocol(connection)
        transport.resume_reading()
        idle.append(connection)

    def close(self) -> None:
        """Close all of them."""
        for idle in tuple(self._idle.values()):
            for connection in tuple(idle):
                connection.end()

    def _forget(self, connection: "_Idle") -> None:
        connection.timer.cancel()
        idle = self._idle.get(connection.address, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.address, None)


class _Idle(asyncio.Protocol):
    """A connection that nothing is expected from: whatever comes ends it."""

    def __init__(self, kept: KeptConnections, address: Address, transport: asyncio.Transport) -> None:
        self._kept = kept
        self.address = address
        self.transport = transport
        self.timer = asyncio.get_running_loop().call_later(IDLE_S, self.end)

    def end(self) -> None:
        """Close it."""
        self._kept._forget(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """An answer to no request: it could be taken for the next one's."""
        self.end()

    def connection_lost(self, error: Exception | None) -> None:
        """The server closed it."""
        self._kept._forget(self)
