"""One bounded TCP connect: what comes before any HTTP probe; and the bounds of many of them."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final

from llama_runner.core.clock import Clock

# Safety R10: what a scan may have open at once, and open anew within any one second.
MAX_SOCKETS: Final = 256
MAX_CONNECTS_PER_S: Final = 600
# So many may come at once, as those to this machine do, and then so many a second. What is missing to the
# bound is for timers that come late and make up for it.
_BURST: Final = 50
_STEADY_PER_S: Final = 530

# There is no such machine, or it does not want to be asked: as good as silence.
_NOBODY: Final = frozenset(
    {
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ETIMEDOUT,
        errno.ECONNRESET,
        errno.ECONNABORTED,
    }
)


class Knock(StrEnum):
    """How an address took a connect. `UNREACHABLE` is about our own side: no route, no interface."""

    OPEN = "open"
    CLOSED = "closed"
    SILENT = "silent"
    UNREACHABLE = "unreachable"


async def tcp_knock(host: str, port: int, timeout_s: float) -> Knock:
    """Open one TCP connection and close it at once; nothing is sent."""
    try:
        await _connect(host, port, timeout_s)
    except TimeoutError:
        return Knock.SILENT
    except OSError as error:
        if error.errno == errno.ECONNREFUSED:
            return Knock.CLOSED
        return Knock.SILENT if error.errno in _NOBODY else Knock.UNREACHABLE
    return Knock.OPEN


async def tcp_open(host: str, port: int, timeout_s: float) -> bool:
    """Whether something accepts a TCP connection there. A refusal, silence or an unknown name is False."""
    return await tcp_knock(host, port, timeout_s) is Knock.OPEN


async def _connect(host: str, port: int, timeout_s: float) -> None:
    async with asyncio.timeout(timeout_s):
        _, writer = await asyncio.open_connection(host, port)
    # Nothing was sent, so there is nothing to wait for: aborting leaves no lingering socket behind a scan.
    writer.transport.abort()


class Pace:
    """When the next connect may begin, so that no second has more than `MAX_CONNECTS_PER_S`. Only reckons.

    Every connect has its place on a line of equal distances; the first of a rush run ahead of the clock.
    """

    def __init__(self) -> None:
        self._distance_ns = 10**9 / _STEADY_PER_S
        self._lead_ns = (_BURST - 1) * self._distance_ns
        self._next_ns = float("-inf")

    def reserve(self, now_ns: int) -> float:
        """Take the next place; seconds until it comes."""
        place = max(self._next_ns, now_ns - self._lead_ns)
        self._next_ns = place + self._distance_ns
        return max(0.0, (place - now_ns) / 1e9)


class ConnectBudget:
    """What one scan may open, whoever in it opens it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pace = Pace()
        self._sockets = asyncio.Semaphore(MAX_SOCKETS)

    @asynccontextmanager
    async def knock(self) -> AsyncIterator[None]:
        """Room for one connect, as soon as the pace allows it."""
        async with self._sockets:
            # A pace, not a wait for something that happens. Only with a socket in hand, so that places
            # reserved while none was free are not made up for all at once.
            await asyncio.sleep(self._pace.reserve(self._clock.now_ns()))
            yield

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """Room for one request to an open port; it goes before the connects that have not begun."""
        async with self._sockets:
            self._pace.reserve(self._clock.now_ns())
            yield
