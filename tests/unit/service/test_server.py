"""Connections that keep a listener waiting (safety R2)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from starlette.types import Receive, Scope, Send

from llama_runner.net.listen import listen_tcp, port_of_socket
from llama_runner.service.server import BoundedRequests, HttpServer

LIMIT_S = 0.3
HEAD = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n"


@dataclass
class Echo:
    """Answers with the body, after a while if told to."""

    answer_s: float = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        await asyncio.sleep(self.answer_s)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connection(app: Echo) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of `app`."""
    listener = listen_tcp("127.0.0.1", 0)
    port = port_of_socket(listener)
    server = HttpServer(app, listener)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run_until_stopped())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()
            server.stop()


@pytest.fixture(autouse=True)
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedRequests, "limit_s", LIMIT_S)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HEAD, HEAD + b"hell"])
async def test_a_request_that_does_not_arrive_whole_is_given_up(sent: bytes) -> None:
    async with connection(Echo()) as (reader, writer), asyncio.timeout(5):
        writer.write(sent)
        assert await reader.read() == b""


async def test_bytes_one_by_one_gain_no_time() -> None:
    """D2, the other way round: what counts is the whole request."""
    async with connection(Echo()) as (reader, writer), asyncio.timeout(5):
        began_s = asyncio.get_running_loop().time()
        closed = asyncio.get_running_loop().create_task(reader.read())
        for byte in HEAD:
            writer.write(bytes([byte]))
            if (await asyncio.wait({closed}, timeout=LIMIT_S / 4))[0]:
                break
        assert await closed == b""
        assert asyncio.get_running_loop().time() - began_s < 6 * LIMIT_S


async def test_a_slow_answer_and_idleness_in_between_are_no_reason() -> None:
    async with connection(Echo(answer_s=1.5 * LIMIT_S)) as (reader, writer), asyncio.timeout(10):
        for _ in range(2):
            writer.write(HEAD + b"hello")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(5) == b"hello"
            # Longer than a request may take to arrive.
            await asyncio.sleep(1.5 * LIMIT_S)
