"""Which of many host-port pairs accept a TCP connection: one bounded connect each, nothing sent."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from llama_runner.net.connect import tcp_open

# Safety R10: sockets at once.
MAX_SOCKETS: Final = 256


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to look at."""

    host: str
    port: int

    @property
    def base_url(self) -> str:
        """How a server there is asked."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def addresses_of(hosts: tuple[str, ...], ports: tuple[int, ...]) -> tuple[Address, ...]:
    """Every pair, port by port: the likeliest ports of all hosts come first."""
    return tuple(Address(host, port) for port in ports for host in hosts)


async def open_addresses(
    addresses: tuple[Address, ...], *, timeout_s: float, on_done: Callable[[Address, bool], None]
) -> None:
    """Try every address, at most `MAX_SOCKETS` at a time, telling each result as it comes."""
    waiting = iter(addresses)

    async def worker() -> None:
        for address in waiting:
            on_done(address, await tcp_open(address.host, address.port, timeout_s))

    async with asyncio.TaskGroup() as group:
        for number in range(min(MAX_SOCKETS, len(addresses))):
            group.create_task(worker(), name=f"connect {number}")
