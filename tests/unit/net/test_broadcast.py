"""A datagram to everybody: on the loopback network, which has a broadcast address of its own."""

import socket
import sys

import pytest

from llama_runner.core.errors import UnreachableError
from llama_runner.net.broadcast import REPEATS, broadcast

BROADCAST = "127.255.255.255"
NO_ADDRESS = "127.0.0.300"


@pytest.mark.skipif(sys.platform != "linux", reason="loopback has no broadcast address elsewhere")
async def test_it_arrives_at_whoever_listens_where_it_can_be_sent() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.255.255.255", 0))
        listener.settimeout(5)

        await broadcast(b"wake", (BROADCAST,), listener.getsockname()[1])

        assert [listener.recv(100) for _ in range(REPEATS)] == [b"wake"] * REPEATS


async def test_it_fails_when_no_network_takes_it() -> None:
    with pytest.raises(UnreachableError, match="No network"):
        await broadcast(b"wake", (), 9)
