"""Ports that tests take, and who answers at them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx


@contextmanager
def occupied_port() -> Iterator[int]:
    """A port of 127.0.0.1 that this process has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


async def answers(url: str | None) -> bool:
    """Whether somebody lists models there."""
    assert url is not None
    async with httpx.AsyncClient(timeout=60) as http:
        try:
            return (await http.get(f"{url}/v1/models")).status_code == 200
        except httpx.ConnectError:
            return False
