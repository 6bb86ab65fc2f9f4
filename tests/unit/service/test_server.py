"""Connections that keep a listener waiting, or too many of them (safety R2)."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from llama_runner.net.listen import listen_tcp, port_of_socket
from llama_runner.service.connection import PATIENCE, Patience
from llama_runner.service.guests import Phase
from llama_runner.service.server import HttpServer
from llama_runner.service.sockets import LiveSocket
from tests.fakes.waiting import until

LIMIT_S = 0.3
SHORT = Patience(head_s=LIMIT_S, body_s=LIMIT_S, stuck_s=LIMIT_S)
HEAD = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n"
BIG = bytes(8 << 20)


@dataclass
class Echo:
    """Answers with the body, after a while if told to."""

    answer_s: float = 0.0
    answer: bytes | None = None
    begun: int = 0
    left: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            body, more = body + message["body"], message["more_body"]
        await asyncio.sleep(self.answer_s)
        body = self.answer or body
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for start in range(0, len(body), 1 << 16):
            await send(
                {"type": "http.response.body", "body": body[start : start + (1 << 16)], "more_body": True}
            )
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def serving(
    app: Any, patience: Patience = SHORT, websockets: type[asyncio.Protocol] | None = None
) -> AsyncIterator[tuple[HttpServer, int]]:
    """A server of `app` and its port."""
    listener = listen_tcp("127.0.0.1", 0)
    port = port_of_socket(listener)
    server = HttpServer(app, listener, patience=patience, websockets=websockets)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run_until_stopped())
        try:
            yield server, port
        finally:
            server.stop()


@asynccontextmanager
async def connection(
    app: Echo, patience: Patience = SHORT
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of `app`."""
    async with serving(app, patience) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET / HT", b"HTTP/1.1 408 "),
        (HEAD, b"HTTP/1.1 408 "),
        (HEAD + b"hell", b"HTTP/1.1 408 "),
    ],
)
async def test_h14_a_request_that_does_not_arrive_whole_is_given_up(sent: bytes, answer: bytes) -> None:
    app = Echo()
    async with connection(app) as (reader, writer), asyncio.timeout(5):
        writer.write(sent)
        said = await reader.read()
        assert said[: len(answer)] == answer and bool(said) == bool(answer)
        assert app.left == (1 if HEAD in sent else 0)


async def test_bytes_one_by_one_gain_no_time() -> None:
    """D2, the other way round: what counts is the whole head."""
    async with connection(Echo()) as (reader, writer), asyncio.timeout(20):
        closed = asyncio.get_running_loop().create_task(reader.read())
        # Endless at this pace if each byte bought time.
        for byte in HEAD * 10:
            writer.write(bytes([byte]))
            if (await asyncio.wait({closed}, timeout=LIMIT_S / 4))[0]:
                break
        assert (await closed).startswith(b"HTTP/1.1 408 ")


async def test_a_slow_answer_and_idleness_in_between_are_no_reason() -> None:
    async with connection(Echo(answer_s=1.5 * LIMIT_S)) as (reader, writer), asyncio.timeout(10):
        for _ in range(2):
            writer.write(HEAD + b"hello")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(5) == b"hello"
            # Longer than a request may take to arrive.
            await asyncio.sleep(1.5 * LIMIT_S)


@pytest.mark.parametrize("rest", [b"", b"hello"])
async def test_an_idle_connection_ends_whatever_came_behind_the_answer(rest: bytes) -> None:
    """R2: the rest of a body that was answered before it was whole is no request."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"no"})

    patience = Patience(idle_s=LIMIT_S)
    async with serving(refuse, patience) as (server, port), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD if rest else b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\nno")).startswith(b"HTTP/1.1 404")
        writer.write(rest)
        assert await reader.read() == b""
        await until(lambda: not len(server.guests))
        writer.close()


@pytest.mark.parametrize("rest", [b"", b"no chunk\r\n"])
async def test_a_request_is_answered_once_even_when_its_body_never_ends_well(rest: bytes) -> None:
    """H11: a second answer would be the next request's."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"no"})

    async with serving(refuse, Patience(body_s=LIMIT_S)) as (_, port), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\nno")).startswith(b"HTTP/1.1 404")
        writer.write(rest)
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("early", [b"\r\n", b"Content-Length: 5\r\n\r\nhello", b"\r\nno head\r\n\r\n"])
async def test_a_web_socket_has_limits_of_its_own(early: bytes) -> None:
    """And what a client sends with its request for one disturbs nobody."""

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await asyncio.sleep(3 * LIMIT_S)
        await send({"type": "websocket.send", "text": "still here"})
        await receive()

    patience = Patience(head_s=LIMIT_S, idle_s=LIMIT_S)
    async with serving(talk, patience, LiveSocket) as (_, port), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + early
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert (await reader.readexactly(12)).endswith(b"still here")
        writer.close()


@pytest.mark.parametrize("closing", [b"", b"Connection: close\r\n"])
async def test_h24_a_client_that_never_reads_is_dropped(closing: bytes) -> None:
    """Also one whose connection is closing and whose last bytes nobody takes."""
    app = Echo(answer=BIG)
    async with serving(app) as (server, port), asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n" + closing + b"\r\n")
        await until(lambda: app.begun)
        await until(lambda: not len(server.guests), limit_s=15)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(len(BIG))
        writer.close()


async def test_f28_whoever_waits_longest_makes_room_and_a_request_is_always_heard() -> None:
    app = Echo()
    async with serving(app, Patience(head_s=60)) as (server, port), asyncio.timeout(30):
        crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
        for _, writer in crowd[::2]:
            writer.write(b"GET / HTTP/1.1\r\n")
        await until(lambda: len(server.guests) == 256)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"hello")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert len(server.guests) <= 256 + 1
        assert await crowd[1][0].read() == b""
        for _, left in [*crowd, (reader, writer)]:
            left.close()
        await until(lambda: not len(server.guests))


async def test_no_token_waits_for_the_one_before_it_to_be_acknowledged() -> None:
    """Nagle's algorithm is off: it holds a second small piece back for 40 ms and more."""
    async with serving(Echo()) as (server, port), asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: server.server_state.connections)
        (connection,) = server.server_state.connections
        taken = connection.transport.get_extra_info("socket")
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()


async def test_h22_a_thousand_requests_in_one_go_are_answered_in_order() -> None:
    async with connection(Echo(), Patience()) as (reader, writer), asyncio.timeout(30):
        writer.write(b"".join(HEAD + b"%05d" % number for number in range(1000)))
        for number in range(1000):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(5) == b"%05d" % number


async def test_h24_a_retired_listener_that_is_cut_waits_for_nobody() -> None:
    """A service ends in seconds, also after its listener moved away under a client that never reads."""
    app = Echo(answer=BIG)
    async with asyncio.timeout(20), serving(app, PATIENCE) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"hello")
        await until(lambda: app.begun == 1 and bool(server.guests.count(Phase.ANSWERING)))
        server.retire()
        server.cut()
    writer.transport.abort()
