"""Single connects: how an address takes them, and the bounds of many at once."""

import asyncio
import socket
from contextlib import ExitStack

import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.net.connect import ConnectBudget, Knock, tcp_knock
from llama_runner.net.ports import pick_free_port
from llama_runner.net.resolver import resolve_once
from tests.fakes.raw_server import raw_server


async def test_a_knock_tells_open_from_closed_and_sends_nothing() -> None:
    async with raw_server(lambda *_: b"") as server:
        assert await tcp_knock("127.0.0.1", server.port, 1.0) is Knock.OPEN
    assert not b"".join(server.heads)
    assert await tcp_knock("127.0.0.1", pick_free_port(), 1.0) is Knock.CLOSED


async def test_a_knock_tells_silence_from_a_refusal() -> None:
    # A listener whose queue is full drops further connection requests, as a firewall does.
    with ExitStack() as held:
        full = held.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(8):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        assert await tcp_knock("127.0.0.1", port, 0.2) is Knock.SILENT


async def test_r10_no_more_than_256_sockets_are_open_at_once() -> None:
    budget, leave = ConnectBudget(SystemClock()), asyncio.Event()
    inside = 0

    async def use() -> None:
        nonlocal inside
        async with budget.request():
            inside += 1
            await leave.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(300):
            group.create_task(use())
        # Every task had its turn before this one goes on.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert inside == 256
        leave.set()
    assert inside == 300


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "192.0.2.1"])
async def test_an_address_is_its_own_resolution(address: str) -> None:
    assert await resolve_once(address, 1.0) == (address,)


async def test_names_are_looked_up_and_unknown_ones_have_no_address() -> None:
    assert set(await resolve_once("localhost", 5.0)) <= {"127.0.0.1", "::1"}
    assert await resolve_once("localhost", 5.0)
    assert await resolve_once("nobody.invalid", 5.0) == ()
