"""Name resolution that cannot be turned against us while a client lives (safety D12)."""

import asyncio
import socket
from collections.abc import MutableMapping

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from llama_runner.net.addresses import is_loopback, scope_of


class NameMovedError(OSError):
    """A name leads elsewhere than it did when it was first asked, or than its spelling says."""


class PinnedResolver(AbstractResolver):
    """Answers for a name only with addresses as near as those of its first answer.

    A name that was on the LAN when its owner typed it, and later points to this machine or out to the
    internet, is refused; one that means this machine by its spelling never points elsewhere. `aiohttp`
    connects to exactly the addresses returned here.

    Args:
        scopes: How near each name was at its first answer; learnt here, and shared with others who ask.
    """

    def __init__(
        self, inner: AbstractResolver | None = None, scopes: MutableMapping[str, str] | None = None
    ) -> None:
        self._inner = inner or ThreadedResolver()
        self._scopes = {} if scopes is None else scopes

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host` as near as the first one it ever had. Raises OSError when none is."""
        results = await self._inner.resolve(host, port, family)
        if not results:
            raise OSError(None, "the name has no address")
        first = "loopback" if is_loopback(f"http://{host}") else scope_of(results[0]["host"])
        scope = self._scopes.setdefault(host, first)
        near = [result for result in results if scope_of(result["host"]) == scope]
        if not near:
            raise NameMovedError(None, "the name now points elsewhere than when it was first asked")
        return near

    async def close(self) -> None:
        """Release the inner resolver."""
        await self._inner.close()


async def resolve_once(host: str, timeout_s: float) -> tuple[str, ...]:
    """The addresses of a host, most usual first; its own text for an address, nothing when there is none."""
    if scope_of(host) != "name":
        return (host,)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
