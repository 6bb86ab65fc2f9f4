"""One response of HTTP/1.1 out of bytes: the same for every split, and nothing that reads in two ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.net.http1 import MAX_HEAD_BYTES, MAX_TRAILER_BYTES, HttpFormatError, HttpResponse

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"


def read(*reads: bytes) -> tuple[HttpResponse, bytes]:
    response = HttpResponse()
    body = b"".join(response.feed(data) for data in reads)
    response.close()
    return response, body


def framed(*chunks: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    parts = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    return CHUNKED + parts + b"0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize(
    "data",
    [
        framed(b"abc", b"d", b"\r\n0\r\n\r\n", b"e" * 300),
        framed(b"abc", b"d\r\n0\r\n\r\n" + b"e" * 300, extension=b" ;x=y", trailers=b"A: b\r\nC: d\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + framed(b"abcd", b"\r\n0\r\n\r\n" + b"e" * 300),
        b"HTTP/1.1 200 OK\r\nContent-Length: 311\r\n\r\nabcd\r\n0\r\n\r\n" + b"e" * 300,
        b"HTTP/1.0 200\r\n\r\nabcd\r\n0\r\n\r\n" + b"e" * 300,
    ],
    ids=["chunks", "extensions and trailers", "continue", "length", "until the end"],
)
def test_every_split_gives_the_same_body(data: bytes) -> None:
    for reads in ([data], [bytes([byte]) for byte in data]):
        response, body = read(*reads)
        assert body == b"abcd\r\n0\r\n\r\n" + b"e" * 300
        assert (response.status, response.done) == (200, True)
    for cut in range(len(data)):
        assert read(data[:cut], data[cut:])[1] == body


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(0, 999), max_size=6),
)
def test_chunks_of_anything_come_back(chunks: list[bytes], cuts: list[int]) -> None:
    data = framed(*chunks)
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    reads = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    response, body = read(*reads)
    assert body == b"".join(chunks)
    assert response.done


@given(data=st.binary(max_size=80), cut=st.integers(0, 80))
def test_noise_is_refused_or_waited_for_the_same_however_it_is_cut(data: bytes, cut: int) -> None:
    def outcome(*reads: bytes) -> tuple[str, bytes]:
        response, body = HttpResponse(), b""
        try:
            for part in reads:
                body += response.feed(part)
        except HttpFormatError:
            return "refused", b""
        return f"{response.status} {response.done}", body

    for start in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED):
        assert outcome(start, data) == outcome(start + data[:cut], data[cut:]) or data == b""


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD_BYTES,
        CHUNKED + b"0x3\r\nabc\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"3\nabc\r\n",
        CHUNKED + b"3\r\nabcd\r\n",
        CHUNKED + b"3\r\nabc\n",
        CHUNKED + b"f" * 16 + b"\r\n",
        CHUNKED + b"3;" + b"x" * 2000,
        CHUNKED + b"0\r\n" + b"a: b\r\n" * (MAX_TRAILER_BYTES // 6 + 2),
        CHUNKED + b"0\r\n" + b"a" * (MAX_TRAILER_BYTES + 1),
    ],
    ids=lambda data: repr(data[:60]),
)
def test_i34_what_could_be_read_in_two_ways_or_never_ends_is_refused(data: bytes) -> None:
    with pytest.raises(HttpFormatError):
        read(data)
    with pytest.raises(HttpFormatError):
        read(*(bytes([byte]) for byte in data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
        CHUNKED,
        CHUNKED + b"3\r\nab",
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"3\r\nabc\r\n0\r\n",
    ],
)
def test_an_end_before_the_end_is_no_complete_response(data: bytes) -> None:
    assert not read(data)[0].done


def test_a_status_without_a_body_is_complete_and_more_is_dropped() -> None:
    response, body = read(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    assert (response.status, response.done, body) == (204, True, b"")
    response, body = read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\nx: b\r\n\r\nabHTTP")
    assert (response.headers["x"], body) == ("b", b"ab")
