"""The client factory, raw streams and small fetches against real sockets (R3, D1, D3, D6, D10, D12, D15)."""

import asyncio
import gzip
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import (
    ProtocolError,
    RefusedError,
    ServerError,
    TruncatedError,
    UnreachableError,
)
from llama_runner.net.client import USER_AGENT, Timeouts, open_http
from llama_runner.net.connect import Knock, tcp_knock, tcp_open
from llama_runner.net.fetch import fetch
from llama_runner.net.ports import pick_free_port
from llama_runner.net.resolver import PinnedResolver
from llama_runner.net.stream import OpenAnswer, open_answer
from tests.fakes.raw_server import raw_server, response

CLOCK = SystemClock()


@dataclass(frozen=True)
class Wire:
    url: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"


async def collect(http: httpx.AsyncClient, wire: Wire) -> tuple[OpenAnswer, list[tuple[int, bytes]]]:
    """The answer, and all its reads with their stamps."""
    reads: list[tuple[int, bytes]] = []
    async with open_answer(http, wire, CLOCK) as answer:
        await answer.refuse_unless_plain()
        while data := await answer.read():
            reads.append((CLOCK.now_ns(), data))
    return answer, reads


async def test_requests_carry_our_name_and_ask_for_plain_bodies() -> None:
    async with raw_server(lambda n, head: response(b"{}")) as server, open_http() as http:
        await fetch(http, f"{server.url}/x")
    head = server.heads[0].decode().lower()
    assert f"user-agent: {USER_AGENT}".lower() in head
    assert "accept-encoding: identity" in head
    assert "cookie" not in head


async def test_a_stream_is_sent_headers_then_reads_in_order_of_time() -> None:
    answer = response(b"abc", content_type="Text/Event-Stream; a=b")
    async with raw_server(lambda n, head: answer) as server, open_http() as http:
        got, reads = await collect(http, Wire(server.url))
    assert got.content_type == "text/event-stream"
    assert b"".join(data for _, data in reads) == b"abc"
    stamps = [got.t_send_ns, got.t_headers_ns, *(t_ns for t_ns, _ in reads)]
    assert stamps == sorted(stamps)


async def test_the_send_stamp_leaves_the_connecting_out() -> None:
    class SlowResolver(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            await asyncio.sleep(0.2)  # what a slow name server does
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            return [
                ResolveResult(
                    hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=flags
                )
            ]

        async def close(self) -> None:
            return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llama_runner.net.resolver.ThreadedResolver", SlowResolver)
        async with raw_server(lambda n, head: response(b"{}")) as server, open_http() as http:
            began_ns = CLOCK.now_ns()
            answer, _ = await collect(http, Wire(f"http://slow.localhost:{server.port}"))
    assert (answer.t_send_ns - began_ns) / 1e9 >= 0.19
    assert (answer.t_headers_ns - answer.t_send_ns) / 1e9 < 0.1


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{other}/x", "file:///etc/passwd", "/again", "http://169.254.169.254/"]
)
async def test_a_redirect_is_never_followed_and_the_key_is_sent_once(status: str, target: str) -> None:
    """D10."""
    async with raw_server(lambda n, head: response(b"{}")) as other, open_http() as http:
        location = target.format(other=other.port)
        moved = response(b"", status=status, more=f"Location: {location}\r\n")
        async with raw_server(lambda n, head: moved) as server:
            key = {"Authorization": "Bearer sk-secret", "X-Api-Key": "sk-secret"}
            with pytest.raises(ProtocolError, match="redirects"):
                await collect(http, Wire(server.url, headers=key))
            reply = await fetch(http, f"{server.url}/x", headers=key)
            with pytest.raises(ProtocolError, match="redirects"):
                reply.raise_for_status()
    assert len(server.heads) == 2
    assert other.connections == 0


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, gzip", "whatever"])
async def test_a_compressed_body_is_refused(encoding: str) -> None:
    """D6: a bomb is never inflated."""
    body = gzip.compress(b"0" * 10_000_000)
    packed = response(body, more=f"Content-Encoding: {encoding}\r\n")
    async with raw_server(lambda n, head: packed) as server, open_http() as http:
        with pytest.raises(ProtocolError, match="compressed"):
            await collect(http, Wire(server.url))
        with pytest.raises(ProtocolError, match="compressed"):
            await fetch(http, server.url)


async def test_an_answer_larger_than_the_cap_is_not_read_further() -> None:
    """D5."""
    async with raw_server(lambda n, head: response(b"x" * 50_000_000)) as server, open_http() as http:
        with pytest.raises(ProtocolError, match="longer than"):
            await fetch(http, server.url, max_bytes=10_000)


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    """D1."""
    async with raw_server(lambda n, head: None) as server, open_http() as http:
        began_ns = CLOCK.now_ns()
        with pytest.raises(UnreachableError, match="within"):
            await fetch(http, server.url, timeout_s=0.2)
        assert (CLOCK.now_ns() - began_ns) / 1e9 < 2
        with pytest.raises(UnreachableError, match="stopped answering"):
            async with open_http(Timeouts(read_s=0.2)) as impatient:
                await collect(impatient, Wire(server.url))


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"<html>hello</html>",
        b"220 ftp ready\r\n",
        b"\x00" * 99,
    ],
)
async def test_something_that_is_no_web_server_is_named_so(garbage: bytes) -> None:
    """D3."""
    async with raw_server(lambda n, head: garbage) as server, open_http() as http:
        with pytest.raises(ServerError) as caught:
            await fetch(http, server.url)
    assert isinstance(caught.value, ProtocolError | UnreachableError)
    assert caught.value.hint


@pytest.mark.parametrize(
    "more",
    [
        "".join(f"X-{n}: y\r\n" for n in range(10_000)),
        f"X: {'y' * 1_000_000}\r\n",
        "Content-Length: 7\r\n",
        "Bad\x00: x\r\n",
    ],
    ids=["many", "long", "two lengths", "nul"],
)
async def test_a_header_bomb_is_closed(more: str) -> None:
    """D15."""
    async with raw_server(lambda n, head: response(b"{}", more=more)) as server, open_http() as http:
        with pytest.raises(ServerError):
            await fetch(http, server.url)


async def test_errors_say_whether_the_answer_had_begun() -> None:
    cut = response(b"abcdef")[:-3]
    async with raw_server(lambda n, head: cut if n else b"") as server, open_http() as http:
        with pytest.raises(UnreachableError):
            await collect(http, Wire(server.url))
        with pytest.raises(TruncatedError):
            await collect(http, Wire(server.url))
    async with open_http() as http:
        with pytest.raises(UnreachableError, match="Nothing listens"):
            await collect(http, Wire(f"http://127.0.0.1:{pick_free_port()}"))
        with pytest.raises(UnreachableError, match="cannot be found"):
            await fetch(http, "http://does-not-exist.invalid/")


async def test_a_refused_stream_raises_with_the_servers_words() -> None:
    body = b'{"error":{"message":"Invalid API Key","code":401}}'
    async with raw_server(lambda n, head: response(body, status="401 No")) as server, open_http() as http:
        with pytest.raises(RefusedError, match="Invalid API Key"):
            await collect(http, Wire(server.url))


async def test_posts_never_share_a_connection_and_gets_do() -> None:
    """A server that closes silently after a stream would lose the next request."""
    async with raw_server(lambda n, head: response(b"{}")) as server, open_http() as http:
        await collect(http, Wire(server.url))
        await collect(http, Wire(server.url))
    assert server.connections == 2
    assert all(b"connection: close" in head.lower() for head in server.heads)


async def test_closing_the_iterator_closes_the_connection() -> None:
    closed = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await reader.read()
        closed.set()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server, open_http() as http:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with open_answer(http, Wire(url, body=b""), CLOCK) as answer:
            assert await answer.read() == b"abc"
        async with asyncio.timeout(5):
            await closed.wait()


async def test_a_reply_that_is_no_json_says_so() -> None:
    async with raw_server(lambda n, head: response(b"<html>")) as server, open_http() as http:
        reply = await fetch(http, server.url)
    assert reply.raise_for_status() is reply
    assert reply.elapsed_s > 0
    with pytest.raises(ProtocolError, match="not JSON"):
        reply.json()


async def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with raw_server(lambda n, head: response(b"{}")) as server, open_http() as http:
        assert (await fetch(http, server.url)).status == 200


async def test_a_knock_tells_open_from_closed() -> None:
    async with raw_server(lambda n, head: None) as server:
        assert await tcp_open("127.0.0.1", server.port, 1.0)
    closed = pick_free_port()
    assert not await tcp_open("127.0.0.1", closed, 1.0)
    assert await tcp_knock("127.0.0.1", closed, 1.0) is Knock.CLOSED
    assert await tcp_knock("does-not-exist.invalid", 80, 5.0) is Knock.UNREACHABLE


async def test_a_connect_without_an_answer_is_given_up() -> None:
    # A listener whose queue is full drops further connection requests, as a firewall does.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            assert await tcp_knock("127.0.0.1", port, 0.2) is Knock.SILENT
        finally:
            for each in waiting:
                each.close()


def test_a_free_port_can_be_listened_on() -> None:
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        with socket.socket(family) as listener:
            listener.bind((host, pick_free_port(host)))


class ScriptedResolver(AbstractResolver):
    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self._answers.pop(0)
        ]

    async def close(self) -> None:
        return None


async def test_a_name_that_moves_to_another_distance_is_refused() -> None:
    """D12."""
    resolver = PinnedResolver(
        ScriptedResolver(["192.168.1.4"], ["127.0.0.1"], ["8.8.8.8"], ["192.168.1.9"], [])
    )
    assert [r["host"] for r in await resolver.resolve("box")] == ["192.168.1.4"]
    for _ in range(2):
        with pytest.raises(OSError, match="points elsewhere"):
            await resolver.resolve("box")
    assert [r["host"] for r in await resolver.resolve("box")] == ["192.168.1.9"]
    with pytest.raises(OSError, match="no address"):
        await resolver.resolve("box")
    await resolver.close()


async def test_of_mixed_answers_only_those_as_near_as_the_first_are_used() -> None:
    """D12."""
    resolver = PinnedResolver(ScriptedResolver(["10.0.0.1", "8.8.8.8", "127.0.0.1"]))
    assert [r["host"] for r in await resolver.resolve("mixed")] == ["10.0.0.1"]
