"""HTTP/1.1 read strictly (H10, H11): the pieces in which it arrives change nothing."""

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.net.strict import MAX_HEADERS, MAX_LINE_BYTES, StrictConnection

START = b"POST / HTTP/1.1\r\nHost: x\r\n"
GOOD = START + b"Content-Length: 5\r\n\r\nhello"
BAD = {
    START.replace(b"\r", b"") + b"\n": 400,
    START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    START + b"Content-Length: 5, 5\r\n\r\n": 400,
    START + b"A: b\r\n c\r\n\r\n": 400,
    START + b"\n": 400,
    START + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n": 431,
    START + b"A: b\r\n" * MAX_HEADERS + b"\r\n": 431,
    START + b"A: " + b"b" * MAX_LINE_BYTES + b"\r\n\r\n": 431,
}


def read(pieces: list[bytes]) -> tuple[int, bytes]:
    """The status that it is refused with, 200 for none; and its body."""
    connection, body = StrictConnection(), b""
    try:
        for piece in pieces:
            connection.receive_data(piece)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Data):
                    body += event.data
                if isinstance(event, h11.EndOfMessage):
                    return 200, body
    except h11.RemoteProtocolError:
        return connection.refused_with, body
    return 0, body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % len(data) for place in places), len(data)]
    # h11 takes an empty piece for the end.
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


@pytest.mark.parametrize(("data", "status"), BAD.items())
@given(places=st.lists(st.integers(0, 10_000), max_size=8))
def test_what_could_be_read_in_two_ways_is_refused_however_it_arrives(
    data: bytes, status: int, places: list[int]
) -> None:
    assert read(cut(data, places))[0] == status


@given(places=st.lists(st.integers(0, 100), max_size=8))
def test_a_plain_request_passes_however_it_arrives(places: list[int]) -> None:
    assert read(cut(GOOD, places)) == (200, b"hello")
    most = START + b"A: b\r\n" * (MAX_HEADERS - 2) + b"Content-Length: 0\r\n\r\n"
    assert read(cut(most, places)) == (200, b"")
