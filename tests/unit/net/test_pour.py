"""Answers given away as they come, both ways: over a socket of their own, and over the ordinary client."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from types import MappingProxyType

import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import (
    InvalidRequestError,
    LlamaRunnerError,
    ProtocolError,
    UnreachableError,
)
from llama_runner.net import pour
from llama_runner.net.client import Timeouts, open_http
from llama_runner.net.kept import KeptConnections
from llama_runner.net.lines import StreamCaps
from llama_runner.net.ports import pick_free_port
from llama_runner.net.pour import Pouring, open_pouring
from tests.fakes.raw_server import raw_server, response

MIB = 1024 * 1024


class _Wire:
    method = "POST"
    headers: Mapping[str, str] = MappingProxyType({})
    body = b"{}"

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture(params=["socket", "client"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which way: the tests' servers are all next door, so the other one has to be chosen."""
    if request.param == "client":
        monkeypatch.setattr(pour, "_is_next_door", lambda url: False)
    return str(request.param)


@asynccontextmanager
async def poured(url: str) -> AsyncIterator[Pouring]:
    with closing(KeptConnections()) as kept:
        async with open_http() as http, open_pouring(http, _Wire(url), SystemClock(), kept) as answer:
            yield answer


async def nothing() -> None:
    """Empty at once."""


async def all_of(answer: Pouring) -> bytes:
    got = bytearray()

    def take(data: bytes) -> bool:
        got.extend(data)
        return True

    await answer.pour(take, nothing)
    return bytes(got)


async def test_a_body_comes_whole(by: str) -> None:
    body = bytes(range(256)) * 4096
    async with raw_server(lambda n, head: response(body)) as server, poured(server.url) as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert await all_of(answer) == body


async def test_nothing_more_is_read_while_the_taker_is_full(by: str) -> None:
    """H24: what a client does not take piles up at the engine, not here."""
    body = b"x" * (16 * MIB)
    got = bytearray()
    may_go_on = asyncio.Event()
    waits = asyncio.Event()

    def take(data: bytes) -> bool:
        got.extend(data)
        return may_go_on.is_set()

    async def drained() -> None:
        waits.set()
        await may_go_on.wait()

    async with (
        raw_server(lambda n, head: response(body)) as server,
        poured(server.url) as answer,
        asyncio.TaskGroup() as group,
    ):
        pouring = group.create_task(answer.pour(take, drained))
        await waits.wait()
        # Whatever could come would come within these turns of the loop.
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(got) < 2 * MIB
        may_go_on.set()
        await pouring
    assert bytes(got) == body


async def test_what_the_taker_raises_ends_it(by: str) -> None:
    def take(data: bytes) -> bool:
        raise InvalidRequestError("no", "no")

    async with raw_server(lambda n, head: response(b"x")) as server, poured(server.url) as answer:
        with pytest.raises(InvalidRequestError):
            await answer.pour(take, nothing)


async def test_what_the_taker_raises_later_ends_it() -> None:
    seen = 0

    def take(data: bytes) -> bool:
        nonlocal seen
        seen += len(data)
        if seen > MIB:
            raise InvalidRequestError("no", "no")
        return True

    large = response(b"x" * (8 * MIB))
    async with raw_server(lambda n, head: large) as server, poured(server.url) as answer:
        with pytest.raises(InvalidRequestError):
            await answer.pour(take, nothing)


async def test_a_body_that_breaks_off_is_an_error(by: str) -> None:
    broken = response(b"x" * 100)[:-50]
    async with raw_server(lambda n, head: broken) as server, poured(server.url) as answer:
        with pytest.raises(LlamaRunnerError) as error:
            await all_of(answer)
    assert error.value.kind == "truncated"


async def test_an_error_body_is_kept_to_its_beginning(by: str) -> None:
    said = response(b"why " * MIB, status="503 Busy", more="Retry-After: 3\r\n")
    async with raw_server(lambda n, head: said) as server, poured(server.url) as answer:
        assert (answer.status, answer.headers["retry-after"]) == (503, "3")
        assert (await answer.error_body())[:8] in (b"why why ", b"")


async def test_a_compressed_body_is_refused(by: str) -> None:
    """D6: it was asked not to be; unpacking is how little becomes much."""
    packed = response(b"x", more="Content-Encoding: gzip\r\n")
    async with raw_server(lambda n, head: packed) as server:
        with pytest.raises(ProtocolError):
            async with poured(server.url):
                pass


async def test_whether_it_went_out_is_known(by: str) -> None:
    """What was never sent may be sent again elsewhere."""
    with pytest.raises(UnreachableError) as refused:
        async with poured(f"http://127.0.0.1:{pick_free_port()}"):
            pass
    assert refused.value.never_sent
    async with raw_server(lambda n, head: b"") as server:
        with pytest.raises(UnreachableError) as dropped:
            async with poured(server.url):
                pass
    assert not dropped.value.never_sent


async def test_a_server_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pour, "_LIMITS", Timeouts(read_s=0.05))
    async with raw_server(lambda n, head: None) as server:
        with pytest.raises(UnreachableError):
            async with poured(server.url):
                pass


async def test_leaving_closes_the_connection(by: str) -> None:
    """H23: an engine frees its slot when nobody listens any more."""
    closed = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(response(b"x" * 100)[:-50])
        with suppress(ConnectionError):
            await reader.read()
        closed.set()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with poured(url) as answer:
            assert answer.status == 200
        await asyncio.wait_for(closed.wait(), 20)


async def test_s9_a_body_without_end_is_cut_on_either_way(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pour, "DEFAULT_CAPS", StreamCaps(stream=1000))
    async with raw_server(lambda n, head: response(bytes(MIB))) as server:
        with pytest.raises(ProtocolError, match="stream_too_long"):
            async with poured(server.url) as answer:
                await all_of(answer)
