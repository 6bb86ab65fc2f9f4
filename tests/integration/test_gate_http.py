"""Bytes that no HTTP client sends, on the listeners of a real service: refused, and nobody notices."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from llama_runner.core.paths import create_folders, home_at
from tests.integration.raw_http import exchange
from tests.integration.service_process import ServiceProcess, started_service

TOKEN = "a-token-of-my-own-0123456789"
MIB = 1 << 20
DOORS = ("openai", "ollama", "control")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    home = tmp_path_factory.mktemp("gate")
    create_folders(home_at(home))
    with started_service(home, "--openai", "127.0.0.1:0", "--ollama", "127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def guarded_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The same, with a token asked for at every door of the proxy."""
    home = tmp_path_factory.mktemp("token")
    create_folders(home_at(home))
    (home / "token").write_text(TOKEN + "\n")
    free = "127.0.0.1:0"
    with started_service(
        home, "--openai", free, "--ollama", free, "--token-file", str(home / "token")
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def guarded(shared: ServiceProcess, guarded_service: ServiceProcess, leak_guard: None) -> None:
    """The services before the guard looks: they are no leak of the first test."""


def port_of(service: ServiceProcess, door: str) -> int:
    return int(str(service.ready[door]).rpartition(":")[2])


def head(port: int, *more: bytes, method: bytes = b"GET", target: bytes = b"/v1/models") -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: 127.0.0.1:%d" % port, *more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


# --- H1, H4, H5: who is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("request_head", "statuses"),
    [
        (b"GET /v1/models HTTP/1.1\r\n\r\n", (400,)),
        (b"GET /v1/models HTTP/1.1\r\nHost: \r\n\r\n", (421,)),
        (b"GET /v1/models HTTP/1.1\r\nHost: HERE\r\nHost: HERE\r\n\r\n", (400,)),
        (b"GET /v1/models HTTP/1.1\r\nHost: HERE\r\nHost: evil.test\r\n\r\n", (400,)),
        (b"GET http://evil.test/v1/models HTTP/1.1\r\nHost: HERE\r\n\r\n", (400,)),
        (b"GET http://HERE/v1/models HTTP/1.1\r\nHost: evil.test\r\n\r\n", (421,)),
        (b"GET /v1/models HTTP/1.1\r\nHost: evil.test\r\nX-Forwarded-Host: HERE\r\n\r\n", (421,)),
        (b"GET /v1/models HTTP/1.1\r\nHost: evil.test\r\nForwarded: host=HERE\r\n\r\n", (421,)),
        (b"GET /v1/models HTTP/1.0\r\n\r\n", (400, 505)),
        (b"GET /v1/models HTTP/1.0\r\nHost: HERE\r\n\r\n", (505,)),
        (b"GET /v1/models\r\n\r\n", (400, 505)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
        (b"GET /v1/models HTTP/2\r\nHost: HERE\r\n\r\n", (400, 505)),
        (b"CONNECT evil.test:443 HTTP/1.1\r\nHost: HERE\r\n\r\n", (400,)),
        (b"OPTIONS * HTTP/1.1\r\nHost: HERE\r\n\r\n", (400,)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a greeting of TLS\r\n\r\n", (400,)),
    ],
)
async def test_h1_h4_h5_what_names_another_server_or_another_http(
    shared: ServiceProcess, door: str, request_head: bytes, statuses: tuple[int, ...]
) -> None:
    port = port_of(shared, door)
    answer = await exchange(port, request_head.replace(b"HERE", b"127.0.0.1:%d" % port))
    assert status_of(answer) in statuses, answer
    assert b"x-llama-runner" in answer


# --- H10, H11: where a request ends ------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"Content-Length: 5, 5\r\n\r\nhello",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: +5\r\n\r\nhello",
        b"Content-Length: 0x5\r\n\r\nhello",
        b"Content-Length: 9223372036854775808\r\n\r\n",
        b"Content-Length: \r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * MIB + b"\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"\nContent-Length: 5\r\n\r\nhello",
        b"A: b\n\r\n",
        b"A: b\r\n folded\r\n\r\n",
        b"A : b\r\n\r\n",
        b" A: b\r\n\r\n",
        b"A\x00: b\r\n\r\n",
        b"A: b\x00c\r\n\r\n",
        b"A: b\rc\r\n\r\n",
        b": b\r\n\r\n",
        b"A\r\n\r\n",
        b"A: b\r\n" * 65 + b"\r\n",
        b"A: b\r\n" * 10_000 + b"\r\n",
        b"A: " + b"b" * MIB + b"\r\n\r\n",
    ],
)
async def test_h10_h11_what_could_be_read_in_two_ways_or_is_too_much(
    shared: ServiceProcess, door: str, rest: bytes
) -> None:
    """One answer, the connection closed, and nothing of the rest taken for another request."""
    port = port_of(shared, door)
    start = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port
    answer = await exchange(port, start + rest + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status_of(answer) in (400, 413, 431), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in answer


@pytest.mark.parametrize("target", [b"/" + b"a" * 9000, b"/v1/models?" + b"a" * 9000])
async def test_h16_a_long_path_is_refused(shared: ServiceProcess, target: bytes) -> None:
    port = port_of(shared, "openai")
    assert status_of(await exchange(port, head(port, target=target))) == 431


# --- H14: bodies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
async def test_h14_bodies_too_large_compressed_or_cut_short(shared: ServiceProcess, door: str) -> None:
    port = port_of(shared, door)
    limit = (32 if door != "control" else 1) * MIB
    token = b"Authorization: Bearer " + shared.run_file.token.encode()
    target = b"/v1/chat/completions" if door != "control" else b"/api/v1/instances"

    def post(*more: bytes) -> bytes:
        return head(port, token, *more, method=b"POST", target=target)

    told = await exchange(port, post(b"Content-Length: %d" % (limit + 1)))
    assert status_of(told) == 413
    untold = await exchange(port, post(b"Transfer-Encoding: chunked"), *_chunks(limit + MIB))
    assert status_of(untold) == 413
    packed = await exchange(port, post(b"Content-Length: 2", b"Content-Encoding: gzip"), b"{}")
    assert status_of(packed) == 415
    short = await exchange(port, post(b"Content-Length: 100"), b"{", eof=True)
    assert status_of(short) in (0, 400)


def _chunks(total: int) -> list[bytes]:
    return [b"100000\r\n" + b" " * MIB + b"\r\n"] * (total // MIB)


async def test_h14_many_large_bodies_at_once_take_bounded_memory(shared: ServiceProcess) -> None:
    """20 times 31 MiB are offered; what does not fit is told to come back."""
    port = port_of(shared, "openai")
    process = psutil.Process(shared.process.pid)
    before = process.memory_info().rss
    size = 31 * MIB
    streams: list[asyncio.StreamWriter] = []
    async with asyncio.timeout(60):
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            streams.append(writer)
            writer.write(
                head(port, b"Content-Length: %d" % (size + 1), method=b"POST", target=b"/v1/completions")
            )
            with contextlib.suppress(ConnectionError):
                for _ in range(31):
                    writer.write(b" " * MIB)
                    await writer.drain()
        for writer in streams:
            writer.close()
    assert process.memory_info().rss - before < 450 * MIB
    assert await _answers(shared)


# --- H16, H20, H21 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ("openai", "ollama"))
@pytest.mark.parametrize(
    "target",
    [
        b"//",
        b"//v1/models",
        b"/v1//models",
        b"/..%2f..%2fetc%2fpasswd",
        b"/v1/../admin",
        b"/v1/models/",
        b"/v1/models/..%2f..%2fetc",
        b"/v1/models/%00",
        b"/v1/models/%ff",
        b"/v1/models/%252e%252e",
        b"/v1/models;x=1",
        b"/V1/MODELS",
        b"/v1/models/C:%5Cx",
        b"/v1/models/" + b"a" * 8000,
        b"/v1%2fmodels%2fx%0d%0aX-Injected:1",
    ],
)
async def test_h16_paths_lead_nowhere_but_where_they_are_routed(
    shared: ServiceProcess, door: str, target: bytes
) -> None:
    port = port_of(shared, door)
    answer = await exchange(port, head(port, b"Connection: close", target=target))
    assert status_of(answer) in (400, 404), answer
    assert b"\r\nX-Injected" not in answer


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT", b"FOO", b"OPTIONS", b"get", b"G\x00T", b"G T", b""])
async def test_h21_other_methods_do_nothing(shared: ServiceProcess, door: str, method: bytes) -> None:
    port = port_of(shared, door)
    token = b"Authorization: Bearer " + shared.run_file.token.encode()
    answer = await exchange(port, head(port, token, b"Connection: close", method=method))
    assert status_of(answer) in (400, 404, 405, 501), answer


# --- H12, H13: tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ("openai", "ollama"))
async def test_h12_h13_a_token_is_shown_once_and_whole(guarded_service: ServiceProcess, door: str) -> None:
    """SDKs send it as OpenAI's or as Anthropic's; whatever else stands there is told in the dialect."""
    port = port_of(guarded_service, door)
    good = [{"Authorization": f"Bearer {TOKEN}"}, {"x-api-key": TOKEN}]
    good.append({**good[0], **good[1]})
    bad = [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer x' OR '1'='1"},
        {"x-api-key": TOKEN[:-1]},
        {"Cookie": f"token={TOKEN}"},
    ]
    two = [
        {"Authorization": f"Bearer {TOKEN}", "x-api-key": "other"},
        {"Authorization": "Basic eDp5", "x-api-key": TOKEN},
    ]
    path = "/v1/models" if door == "openai" else "/api/tags"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        for headers in good:
            assert (await http.get(path, headers=headers)).status_code == 200
        for headers in two:
            assert (await http.get(path, headers=headers)).status_code == 400
        for headers in bad:
            answer = await http.get(path, headers=headers)
            assert answer.status_code == 401
            error = answer.json()["error"]
            assert isinstance(error, str if door == "ollama" else dict)
            assert "token" in json.dumps(error) and TOKEN not in answer.text
        assert (await http.get(path, params={"token": TOKEN, "api_key": TOKEN})).status_code == 401
    for odd in (b"Authorization: Bearer ", "Authorization: Bearer ключ".encode()):
        assert status_of(await exchange(port, head(port, odd))) == 401
    long = await exchange(port, head(port, b"Authorization: Bearer " + b"x" * MIB))
    assert status_of(long) == 431


async def test_h13_who_guesses_is_turned_away_for_a_while(tmp_path: Path) -> None:
    """R1.6; a client that has no token at all guesses nothing and locks nobody out."""
    create_folders(home_at(tmp_path))
    (tmp_path / "token").write_text(TOKEN)
    arguments = ("--openai", "127.0.0.1:0", "--token-file", str(tmp_path / "token"))
    with started_service(tmp_path, *arguments) as service:
        async with httpx.AsyncClient(base_url=service.ready["openai"], timeout=60) as http:
            right = {"Authorization": f"Bearer {TOKEN}"}
            assert {(await http.get("/v1/models")).status_code for _ in range(20)} == {401}
            assert (await http.get("/v1/models", headers=right)).status_code == 200
            for guess in range(10):
                wrong = {"Authorization": f"Bearer {guess}"}
                assert (await http.get("/v1/models", headers=wrong)).status_code == 401
            refused = await http.get("/v1/models", headers=right)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
            assert refused.json()["error"]["type"] == "rate_limit_error"
        assert TOKEN not in "".join(path.read_text() for path in (tmp_path / "logs").glob("*.log"))


async def _answers(service: ServiceProcess) -> bool:
    async with httpx.AsyncClient(timeout=60) as http:
        return (await http.get(f"{service.ready['openai']}/v1/models")).status_code == 200
