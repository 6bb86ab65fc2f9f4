"""Connections to servers next door, asked again: what may be used twice, and what must not be."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from types import MappingProxyType

import httpx
import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import UnreachableError
from llama_runner.net import kept as kept_module
from llama_runner.net.client import open_http
from llama_runner.net.kept import MAX_EACH, KeptConnections
from llama_runner.net.ports import pick_free_port
from llama_runner.net.pour import open_pouring
from tests.fakes.raw_server import response
from tests.fakes.waiting import until

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


class _Wire:
    method = "POST"
    headers: Mapping[str, str] = MappingProxyType({})
    body = b"{}"

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/x"


class Server:
    """Answers requests, many on a connection, with what `answers` says; None ends the connection."""

    def __init__(self) -> None:
        self.answers: Iterator[bytes | None] = iter(())
        self.listening: asyncio.Server | None = None
        self.connections = 0
        self.heads: list[bytes] = []
        self.open = list[asyncio.StreamWriter]()
        self.left = asyncio.Event()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self.listening is not None
        return int(self.listening.sockets[0].getsockname()[1])

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.append(writer)
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(2)
                answer = next(self.answers)
                if answer is None:
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    one.listening = await asyncio.start_server(one.talk, "127.0.0.1", 0)
    yield one
    one.listening.close()
    await one.listening.wait_closed()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with open_http() as client:
        yield client


@pytest.fixture
async def kept() -> AsyncIterator[KeptConnections]:
    with closing(KeptConnections()) as connections:
        yield connections


async def ask(http: httpx.AsyncClient, kept: KeptConnections, port: int) -> bytes:
    got = bytearray()

    def take(data: bytes) -> bool:
        got.extend(data)
        return True

    async def nothing() -> None:
        """Empty at once."""

    async with open_pouring(http, _Wire(port), SystemClock(), kept) as answer:
        await answer.pour(take, nothing)
    return bytes(got)


async def test_a_complete_answer_leaves_its_connection_for_the_next(
    server: Server, http: httpx.AsyncClient, kept: KeptConnections
) -> None:
    server.answers = iter([response(b"one"), CHUNKED, response(b"three")])
    port = server.port
    assert [await ask(http, kept, port) for _ in range(3)] == [b"one", b"hello", b"three"]
    assert (server.connections, len(server.heads)) == (1, 3)
    assert not any(b"connection:" in head.lower() for head in server.heads)


@pytest.mark.parametrize(
    "answer",
    [
        response(b"one", more="Connection: close\r\n"),
        response(b"one").replace(b"1.1", b"1.0"),
        response(b"one") + b"HTTP/1.1 200 OK\r\n",
        CHUNKED + b"x",
    ],
)
async def test_what_might_not_be_at_its_end_is_not_used_again(
    server: Server, http: httpx.AsyncClient, kept: KeptConnections, answer: bytes
) -> None:
    server.answers = iter([answer, response(b"two")])
    port = server.port
    await ask(http, kept, port)
    assert await ask(http, kept, port) == b"two"
    assert server.connections == 2


async def test_a_refusal_may_come_before_the_request_is_read(
    server: Server, http: httpx.AsyncClient, kept: KeptConnections
) -> None:
    """The rest of that would be read as the next request, and its answer go to another client."""
    server.answers = iter([response(b"no").replace(b"200 OK", b"401 Unauthorized"), response(b"two")])
    port = server.port
    async with open_pouring(http, _Wire(port), SystemClock(), kept) as answer:
        assert await answer.error_body() == b"no"
    assert kept.count == 0
    assert await ask(http, kept, port) == b"two"
    assert server.connections == 2


async def test_an_answer_that_is_left_early_closes_its_connection(
    server: Server, http: httpx.AsyncClient, kept: KeptConnections
) -> None:
    """Cancellation reaches the engine (H23)."""
    server.answers = iter([CHUNKED[:-5]])
    port = server.port
    async with open_pouring(http, _Wire(port), SystemClock(), kept):
        pass
    assert kept.count == 0
    async with asyncio.timeout(20):
        await server.left.wait()


async def test_a_connection_that_the_server_closed_is_not_asked(
    server: Server, http: httpx.AsyncClient, kept: KeptConnections
) -> None:
    server.answers = iter([response(b"one"), response(b"two")])
    port = server.port
    await ask(http, kept, port)
    server.open[0].close()
    await until(lambda: kept.count == 0)
    assert await ask(http, kept, port) == b"two"
    assert server.connections == 2


async def test_words_out_of_turn_end_an_idle_connection(
    server: Server, http: httpx.AsyncClient, kept: KeptConnections
) -> None:
    """They could be taken for the next answer."""
    server.answers = iter([response(b"one"), response(b"two")])
    port = server.port
    await ask(http, kept, port)
    server.open[0].write(response(b"to nobody"))
    await until(lambda: kept.count == 0)
    assert await ask(http, kept, port) == b"two"


async def test_one_that_ends_when_asked_again_is_asked_once_more_over_another(
    server: Server, http: httpx.AsyncClient, kept: KeptConnections
) -> None:
    """The server may just have closed it; over a new connection there is no such doubt."""
    server.answers = iter([response(b"one"), None, response(b"two"), None, None])
    port = server.port
    assert [await ask(http, kept, port) for _ in range(2)] == [b"one", b"two"]
    assert (server.connections, len(server.heads)) == (2, 3)
    with pytest.raises(UnreachableError) as lost:
        await ask(http, kept, port)
    assert not lost.value.never_sent
    assert (server.connections, len(server.heads)) == (3, 5)


async def test_a_request_that_the_server_did_not_survive_counts_as_sent(
    server: Server, http: httpx.AsyncClient, kept: KeptConnections
) -> None:
    """Or whoever waits for its successor would kill that one too."""

    def answers() -> Iterator[bytes | None]:
        yield response(b"one")
        assert server.listening is not None
        server.listening.close()
        yield None

    server.answers = answers()
    port = server.port
    await ask(http, kept, port)
    with pytest.raises(UnreachableError) as lost:
        await ask(http, kept, port)
    assert not lost.value.never_sent
    with pytest.raises(UnreachableError) as refused:
        await ask(http, kept, pick_free_port())
    assert refused.value.never_sent


async def test_few_are_kept_and_not_for_long(
    server: Server,
    http: httpx.AsyncClient,
    kept: KeptConnections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each one that waits holds a thread of the server."""
    monkeypatch.setattr(kept_module, "IDLE_S", 0.05)
    many = MAX_EACH + 3
    server.answers = iter([response(b"x")] * many)
    port = server.port
    async with asyncio.TaskGroup() as group:
        for _ in range(many):
            group.create_task(ask(http, kept, port))
    assert kept.count <= MAX_EACH
    await until(lambda: kept.count == 0)
