"""Bytes to lines, events and documents: the same for every split (S1, S2, S5, S8, S9, S20)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.net.lines import LineSplitter, StreamCaps, StreamLimitError
from llama_runner.net.ndjson import NdjsonParser
from llama_runner.net.sse import SseEvent, SseParser

pieces = st.lists(
    st.sampled_from(
        [b"data: {}", b"data:x", b"event: error", b": ping", b"id: 7", b"\xe2\x80\xa8", b"\x85\x0b\x0c"]
    )
    | st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r"]),
    max_size=12,
).map(b"".join)


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def sse(reads: list[bytes], caps: StreamCaps | None = None) -> list[SseEvent]:
    parser = SseParser(caps) if caps else SseParser()
    events = [event for data in reads for event in parser.feed(data)]
    return [*events, *parser.close()]


@given(data=pieces, cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_every_split_gives_the_same_lines_and_events(data: bytes, cuts: list[int]) -> None:
    reads = cut_at(data, cuts)
    whole, split = LineSplitter(), LineSplitter()
    lines = [line for read in reads for line in split.feed(read)]
    assert (lines, split.close()) == (list(whole.feed(data)), whole.close())
    assert sse(reads) == sse([data])


def test_a_stream_cut_at_every_byte_gives_the_same_events() -> None:
    """S1, T5."""
    data = 'event: x\r\ndata: {"a": "žluťoučký 🐎"}\r\n\r\n: ping\n\ndata: [DONE]\n\n'.encode()
    whole = sse([data])
    assert [event.name for event in whole] == ["x", ""]
    for cut in range(len(data) + 1):
        assert sse([data[:cut], data[cut:]]) == whole
    assert sse([bytes([byte]) for byte in data]) == whole


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_all_line_ends_and_a_first_byte_order_mark_are_the_same(end: bytes) -> None:
    """S2."""
    data = b"\xef\xbb\xbf" + end.join([b"data: a", b"data: b", b"", b"data: c", b"", b""])
    assert sse([data]) == [SseEvent("", b"a\nb"), SseEvent("", b"c")]


def test_a_line_that_ends_in_cr_is_there_at_once_and_its_lf_adds_nothing() -> None:
    splitter = LineSplitter()
    assert list(splitter.feed(b"a\r")) == [b"a"]
    assert list(splitter.feed(b"\n")) == []
    assert list(splitter.feed(b"")) == []
    assert list(splitter.feed(b"\nb\n")) == [b"", b"b"]


def test_unicode_line_separators_do_not_split() -> None:
    """S3."""
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    assert sse([f"data: {text}\n\n".encode()]) == [SseEvent("", text.encode())]


def test_fields_are_read_as_the_specification_says() -> None:
    """S5."""
    data = b"data:no space\ndata\ndata:  two\nid: 1\nretry: 9e99\nunknown: x\n: comment\nnonsense\n\n"
    assert sse([data]) == [SseEvent("", b"no space\n\n two")]


def test_an_event_without_data_is_none_and_forgets_its_name() -> None:
    assert sse([b"event: error\n\ndata: a\n\n"]) == [SseEvent("", b"a")]


def test_the_last_blank_line_may_be_missing() -> None:
    """S6."""
    assert sse([b"data: [DONE]"]) == [SseEvent("", b"[DONE]")]
    assert sse([b"data: [DONE]\n"]) == [SseEvent("", b"[DONE]")]
    assert sse([b""]) == []


@pytest.mark.parametrize("size", [1, 1000, 65_536])
def test_a_line_without_end_is_cut_at_its_cap(size: int) -> None:
    """S8: memory never holds more than the cap and one read."""
    splitter = LineSplitter(StreamCaps(line=100_000))
    with pytest.raises(StreamLimitError, match="line_too_long") as caught:
        for _ in range(64 * 1024 * 1024 // size):
            list(splitter.feed(b"x" * size))
    assert caught.value.reason == "line_too_long"


def test_a_long_line_in_the_middle_of_a_read_is_refused_too() -> None:
    with pytest.raises(StreamLimitError, match="line_too_long"):
        list(LineSplitter(StreamCaps(line=10)).feed(b"a\n" + b"x" * 11 + b"\nb\n"))


def test_an_event_of_many_lines_is_cut_at_its_cap() -> None:
    with pytest.raises(StreamLimitError, match="event_too_long"):
        sse([b"data: 12345678\n" * 100], StreamCaps(event=500))


def test_a_stream_is_cut_at_its_cap() -> None:
    """S9."""
    splitter = LineSplitter(StreamCaps(stream=1000))
    with pytest.raises(StreamLimitError, match="stream_too_long"):
        for _ in range(200):
            list(splitter.feed(b"data:\n"))


def test_documents_per_line_tolerate_blanks_line_ends_and_marks() -> None:
    """S20."""
    parser = NdjsonParser()
    assert list(parser.feed(b'\xef\xbb\xbf{"a":1}\r\n\r\n \t\n\xef\xbb\xbf{"b":2}\n{"c"')) == [
        b'{"a":1}',
        b'{"b":2}',
    ]
    assert list(parser.feed(b":3}")) == []
    assert parser.close() == [b'{"c":3}']
    assert NdjsonParser().close() == []


@pytest.mark.parametrize(
    "before", [b"", b"x\n", b"event: e\n", b"data: p\n", b"da", b"\r", b"data: q\r", b"\n"]
)
@pytest.mark.parametrize(
    "alone",
    [
        b"data: a\n\n",
        b"data: a\rdata: b\n\n",
        b"data: a\r\n\n",
        b"data: \n\n",
        b"data: a\nb\n\n",
        b"data: \n",
    ],
)
def test_an_event_in_a_read_of_its_own_is_the_same_as_in_a_stream(before: bytes, alone: bytes) -> None:
    start, end = b"data: first\n\n", b"data: last\n\n"
    assert sse([start, before, alone, end]) == sse([start + before + alone + end])


def test_caps_hold_for_events_in_reads_of_their_own() -> None:
    for caps in (StreamCaps(line=20), StreamCaps(event=20), StreamCaps(stream=100)):
        with pytest.raises(StreamLimitError):
            sse([b"data: a\n\n"] * 5 + [b"data: " + b"a" * 30 + b"\n\n"] * 5, caps)
