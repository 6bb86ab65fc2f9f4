"""Encrypted connections to servers that are not what they should be (D14, R3, R11)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import certifi
import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ServerError, TlsError, UnreachableError, UsageError
from llama_runner.net.client import Timeouts, open_http
from llama_runner.net.fetch import fetch
from llama_runner.net.load import LoadClient
from llama_runner.net.stream import open_answer
from llama_runner.net.tls import parse_fingerprint, peer_certificate, tls_context, wants_tls
from tests.fakes.certificates import DAY, NOW, Signed, certificate
from tests.fakes.raw_server import RawServer, raw_server, response

CLOCK = SystemClock()
SECRET: Final = "Bearer sk-must-not-arrive"


@dataclass(frozen=True)
class Wire:
    url: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Authorization": SECRET})
    body: bytes = b"{}"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Signed]:
    """The one authority that this machine trusts."""
    signed = certificate("test authority", authority=True)
    path = signed.save(tmp_path, "authority")
    monkeypatch.setattr(certifi, "where", lambda: str(path))
    tls_context.cache_clear()
    yield signed
    tls_context.cache_clear()


@asynccontextmanager
async def server_with(signed: Signed, folder: Path) -> AsyncIterator[RawServer]:
    async with raw_server(lambda n, head: response(b"{}"), tls=signed.context(folder, "server")) as server:
        yield server


async def every_way(url: str, pin: str | None = None) -> list[ServerError | None]:
    """What a probe, a chat and a load worker say."""
    found: list[ServerError | None] = []
    async with open_http(pin_of=lambda origin: pin if origin == url else None) as http:
        try:
            await fetch(http, url + "/v1/models", headers={"Authorization": SECRET})
            found.append(None)
        except ServerError as error:
            found.append(error)
        try:
            async with open_answer(http, Wire(url), CLOCK) as answer:
                assert await answer.read()
            found.append(None)
        except ServerError as error:
            found.append(error)
    async with LoadClient(clock=CLOCK, pin=pin) as client:
        found.append((await client.send(Wire(url), timeout_s=5)).error)
    return found


WRONG: Final[dict[str, tuple[Callable[[Signed], Signed], str]]] = {
    "self-signed": (lambda ca: certificate("127.0.0.1"), "self-signed"),
    "expired": (
        lambda ca: certificate("127.0.0.1", issuer=ca, begins=NOW - 2 * DAY, ends=NOW - DAY),
        "expired",
    ),
    "not yet": (
        lambda ca: certificate("127.0.0.1", issuer=ca, begins=NOW + DAY, ends=NOW + 2 * DAY),
        "not valid yet",
    ),
    "other host": (lambda ca: certificate("elsewhere.example", issuer=ca), "belongs to another"),
    "other address": (lambda ca: certificate("127.0.0.2", issuer=ca), "belongs to another address"),
    "unknown authority": (
        lambda ca: certificate("127.0.0.1", issuer=certificate("other authority", authority=True)),
        "authority that this machine does not know",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_d14_a_wrong_certificate_is_told_apart_and_nothing_is_sent(
    wrong: str, authority: Signed, tmp_path: Path
) -> None:
    make, words = WRONG[wrong]
    signed = make(authority)
    async with server_with(signed, tmp_path) as server:
        for error in await every_way(server.url):
            assert isinstance(error, TlsError)
            assert error.certificate
            assert words in error.message
            assert error.hint
        shown = await peer_certificate(server.url)
        assert [head for head in server.heads if head] == []
    assert shown.sha256 == signed.sha256
    assert words in shown.problem


async def test_a_certificate_of_a_known_authority_is_accepted(authority: Signed, tmp_path: Path) -> None:
    async with server_with(certificate("127.0.0.1", issuer=authority), tmp_path) as server:
        assert await every_way(server.url) == [None, None, None]
        assert (await peer_certificate(server.url)).problem == ""


@pytest.mark.parametrize("wrong", WRONG)
async def test_d14_exactly_the_certificate_that_a_person_trusts_is_accepted(
    wrong: str, authority: Signed, tmp_path: Path
) -> None:
    signed = WRONG[wrong][0](authority)
    async with server_with(signed, tmp_path) as server:
        assert await every_way(server.url, signed.sha256) == [None, None, None]


async def test_a_pin_refuses_every_other_certificate_even_a_good_one(
    authority: Signed, tmp_path: Path
) -> None:
    """R11: the server changed, or somebody is in between."""
    async with server_with(certificate("127.0.0.1", issuer=authority), tmp_path) as server:
        for error in await every_way(server.url, certificate("127.0.0.1").sha256):
            assert isinstance(error, TlsError)
            assert "is another one" in error.message
        assert [head for head in server.heads if head] == []


async def test_a_pin_counts_from_the_next_request_on_also_when_it_is_taken_away(tmp_path: Path) -> None:
    signed = certificate("127.0.0.1")
    pins: dict[str, str] = {}
    keep = response(b"{}", more="Connection: keep-alive\r\n")
    async with (
        raw_server(lambda n, head: keep, tls=signed.context(tmp_path, "server")) as server,
        open_http(pin_of=pins.get) as http,
    ):
        with pytest.raises(TlsError):
            await fetch(http, server.url + "/x")
        pins[server.url] = signed.sha256
        await fetch(http, server.url + "/x")
        pins.clear()
        with pytest.raises(TlsError):
            await fetch(http, server.url + "/x")
        pins["https://127.0.0.1:1"] = signed.sha256
        with pytest.raises(TlsError):
            await fetch(http, server.url + "/x")


@asynccontextmanager
async def plain_server(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Speaks no TLS: answers whatever comes at once, as HTTP servers do to bytes that are no request."""
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(4096))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.9\r\n", b"\0" * 40, b"x"]
)
async def test_d14_plain_text_on_a_tls_port_is_an_error_and_no_reason_to_go_on_without_tls(
    answer: bytes,
) -> None:
    async with plain_server(answer) as (url, heard):
        for error in await every_way(url):
            assert isinstance(error, TlsError)
            assert not error.certificate
        with pytest.raises(TlsError):
            await peer_certificate(url)
    # A handshake and nothing else, each time.
    assert all(data.startswith(b"\x16\x03") for data in heard)
    assert all(b"sk-must-not-arrive" not in data and b"HTTP" not in data for data in heard)
    assert len(heard) == 4


async def test_d14_http_is_said_to_be_what_answers_on_a_tls_port() -> None:
    async with plain_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, _):
        for error in await every_way(url):
            assert error is not None
            assert "without encryption" in error.message
            assert "http://" in error.message


async def test_a_tls_port_that_never_answers_is_given_up() -> None:
    async with raw_server(lambda n, head: None) as server:
        url = server.url.replace("http", "https")
        async with open_http(Timeouts(connect_s=0.2)) as http:
            with pytest.raises(UnreachableError, match="does not answer"):
                await fetch(http, url + "/x")
        with pytest.raises(UnreachableError, match="does not answer"):
            await peer_certificate(url, timeout_s=0.2)


async def test_d14_http_asked_of_a_tls_port_is_an_error_that_says_so_where_it_can(tmp_path: Path) -> None:
    async with server_with(certificate("127.0.0.1"), tmp_path) as server:
        plain = server.url.replace("https", "http")
        for error in await every_way(plain):
            assert isinstance(error, ServerError)
        assert await wants_tls(plain)


async def test_a_plain_server_does_not_speak_tls() -> None:
    async with plain_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, _):
        assert not await wants_tls(url.replace("https", "http"))
    assert not await wants_tls("http://127.0.0.1:1")


async def test_only_https_has_a_certificate() -> None:
    with pytest.raises(UsageError):
        await peer_certificate("http://127.0.0.1:1")
    with pytest.raises(UnreachableError, match="Nothing listens"):
        await peer_certificate("https://127.0.0.1:1")


@pytest.mark.parametrize("typed", ["AB" * 32, ":".join(["ab"] * 32), "sha256=" + "ab" * 32, " " + "ab" * 32])
def test_fingerprints_are_read_as_people_paste_them(typed: str) -> None:
    assert parse_fingerprint(typed) == "ab" * 32


@pytest.mark.parametrize("typed", ["", "ab", "g" * 64, "ab" * 33, "ab" * 20])
def test_what_is_no_sha256_is_refused(typed: str) -> None:
    with pytest.raises(UsageError):
        parse_fingerprint(typed)
