"""Which of many host-port pairs accept a TCP connection: one bounded connect each, nothing sent."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from llama_runner.core.errors import UsageError
from llama_runner.net.addresses import host_of, parse_server_url
from llama_runner.net.connect import tcp_open

# Safety R10: sockets at once.
MAX_SOCKETS: Final = 256
# What can be typed by hand; networks come with their own rules.
MAX_HOSTS: Final = 64


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
    """Every pair once, host by host, in the order given. Raises UsageError for what is no host or port."""
    if len(hosts) > MAX_HOSTS:
        raise UsageError(f"{len(hosts)} hosts are too many.", f"Name at most {MAX_HOSTS}.")
    for port in ports:
        if not 1 <= port <= 65535:
            raise UsageError(f"{port} is not a port.", "Ports go from 1 to 65535.")
    plain = tuple(dict.fromkeys(_plain_host(host) for host in hosts))
    return tuple(Address(host, port) for host in plain for port in dict.fromkeys(ports))


def _plain_host(host: str) -> str:
    text = f"[{host}]" if ":" in host and not host.startswith("[") else host
    url = parse_server_url(f"http://{text}")
    if url.rpartition(":")[2].isdigit() and not url.endswith("]"):
        raise UsageError(f"{host} names a port as well.", "Give hosts alone, and ports by themselves.")
    return host_of(url)


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
