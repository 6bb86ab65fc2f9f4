"""Which of many host-port pairs accept a TCP connection: one bounded connect each, nothing sent."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from llama_runner.net.connect import MAX_SOCKETS, ConnectBudget, Knock, tcp_knock


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to look at.

    Attributes:
        ip: Where to connect: the host itself, or what its name was resolved to once (safety D12).
    """

    host: str
    port: int
    ip: str

    @property
    def base_url(self) -> str:
        """How a server there is asked."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def addresses_of(hosts: Sequence[tuple[str, str]], ports: tuple[int, ...]) -> Iterator[Address]:
    """Every pair, the likeliest ports of all hosts first; made one at a time, as there are thousands.

    Args:
        hosts: Each with the address it has.
    """
    return (Address(host, port, ip) for port in ports for host, ip in hosts)


async def knock_all(
    addresses: Iterable[Address],
    *,
    workers: int = MAX_SOCKETS,
    timeout_s: float,
    budget: ConnectBudget,
    on_done: Callable[[Address, Knock], None],
) -> None:
    """Try every address within the budget, telling each result as it comes.

    Args:
        workers: No more than there are addresses need work on them.
    """
    waiting = iter(addresses)

    async def worker() -> None:
        for address in waiting:
            async with budget.knock():
                result = await tcp_knock(address.ip, address.port, timeout_s)
            on_done(address, result)

    async with asyncio.TaskGroup() as group:
        for number in range(min(MAX_SOCKETS, workers)):
            group.create_task(worker(), name=f"knock {number}")
