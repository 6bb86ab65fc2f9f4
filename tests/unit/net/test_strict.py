"""HTTP/1.1 read strictly (H10, H11): the pieces in which it arrives change nothing."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.net.strict import MAX_HEADERS, MAX_LINE_BYTES, Head, RequestReader, RequestRefusedError

START = b"POST / HTTP/1.1\r\nHost: x\r\n"
GOOD = START + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n"
BAD = {
    START.replace(b"\r", b"") + b"\n": 400,
    START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    START + b"Content-Length: 5, 5\r\n\r\n": 400,
    START + b"Content-Length: 18446744073709551616\r\n\r\n": 400,
    START + b"Transfer-Encoding: gzip, chunked\r\n\r\n": 400,
    START + b"A: b\r\n c\r\n\r\n": 400,
    START + b"\n": 400,
    b"\r\n\r\n" + GOOD: 400,
    START + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n": 431,
    START + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 2 * MAX_LINE_BYTES: 400,
    START + b"A: b\r\n" * MAX_HEADERS + b"\r\n": 431,
    START + b"A: " + b"b" * MAX_LINE_BYTES + b"\r\n\r\n": 431,
    START + b"A: b\r\n" * 10_000: 431,
}


def read(pieces: list[bytes]) -> list[tuple[Head, bytes]] | int:
    """The whole requests; or the status that they are refused with."""
    reader, found, head, body = RequestReader(), list[tuple[Head, bytes]](), None, b""
    try:
        for piece in pieces:
            reader.feed(piece)
            while reader.n_unread or (head is not None and not reader.in_body):
                if head is None:
                    head, body = reader.next_head(), b""
                    if head is None:
                        break
                if reader.in_body:
                    body += reader.next_body()
                    if reader.in_body:
                        break
                found.append((head, body))
                head = None
    except RequestRefusedError as error:
        return error.status
    return found


def bodies(pieces: list[bytes]) -> list[bytes]:
    found = read(pieces)
    assert not isinstance(found, int), found
    return [body for _, body in found]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % len(data) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize(("data", "status"), BAD.items())
@given(places=st.lists(st.integers(0, 10_000), max_size=8))
def test_what_could_be_read_in_two_ways_is_refused_however_it_arrives(
    data: bytes, status: int, places: list[int]
) -> None:
    assert read(cut(data, places)) == status


def test_chunks_are_over_with_their_request() -> None:
    """Clients that do not know a body's length beforehand use a connection again, too."""
    assert bodies([CHUNKED, GOOD, CHUNKED, CHUNKED]) == [b"hello"] * 4


def test_a_body_of_tiny_chunks_is_a_body() -> None:
    head = START + b"Transfer-Encoding: chunked\r\n\r\n"
    assert bodies([head + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n"]) == [b"a" * 50_000]


@given(places=st.lists(st.integers(0, 1000), max_size=8))
def test_plain_requests_pass_however_they_arrive(places: list[int]) -> None:
    most = START + b"A: b\r\n" * (MAX_HEADERS - 2) + b"Content-Length: 0\r\n\r\n"
    assert bodies(cut(GOOD + most + GOOD, places)) == [b"hello", b"", b"hello"]
    assert bodies(cut(CHUNKED, places)) == [b"hello"]


def test_a_head_says_what_was_asked() -> None:
    (head, _), *_ = read([b"GET /v1/models?a=b#c HTTP/1.1\r\nHoSt: x\r\nConnection: close\r\n\r\n"])  # type: ignore[misc]
    assert (head.method, head.target, head.version) == ("GET", b"/v1/models?a=b#c", "1.1")
    assert head.headers == [(b"host", b"x"), (b"connection", b"close")]
    assert (head.value(b"host"), head.value(b"accept")) == (b"x", b"")
    assert not head.keep_alive


def test_an_upgrade_that_most_clients_do_not_get_changes_nothing() -> None:
    """Java's client offers HTTP/2 with every request, those with a body too."""
    offered = START + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello"
    assert bodies([offered + offered]) == [b"hello", b"hello"]
    plain = START + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert bodies([plain + GOOD]) == [b"", b"hello"]


def test_what_comes_behind_chunks_at_once_is_not_read() -> None:
    """Where it begins cannot be told: the request before it counts, and the connection ends with it."""
    reader = RequestReader()
    reader.feed(CHUNKED + GOOD)
    assert reader.next_head() is not None
    assert (reader.next_body(), reader.in_body, reader.overrun) == (b"hello", False, True)
    reader.feed(GOOD)
    assert reader.n_unread == 0
