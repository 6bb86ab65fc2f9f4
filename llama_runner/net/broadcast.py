"""One small datagram to everybody in a network. Nothing is received."""

import asyncio
import socket
from collections.abc import Iterable
from typing import Final

from llama_runner.core.errors import UnreachableError

# Datagrams get lost, and one more costs nothing.
REPEATS: Final = 3


async def broadcast(data: bytes, addresses: Iterable[str], port: int) -> None:
    """Send `data` to every address that takes it.

    Raises:
        UnreachableError: None of them does.
    """
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for address in addresses:
            try:
                for _ in range(REPEATS):
                    await loop.sock_sendto(sender, data, (address, port))
            except OSError as error:
                failure = error
                continue
            sent += 1
    if not sent:
        raise UnreachableError(
            "No network took the packet.", "Check that this machine is connected to the network."
        ) from failure
