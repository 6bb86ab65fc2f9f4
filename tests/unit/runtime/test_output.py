import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core.clock import SystemClock
from llama_runner.runtime.output import LineSplitter, LogFile, Output, OutputRing, drain, parse_state


class FakeClock:
    def __init__(self) -> None:
        self.t_ns = 0

    def now_ns(self) -> int:
        return self.t_ns

    def utc(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


def _output(
    tmp_path: Path, clock: FakeClock, ring: OutputRing, secret: str = "the-secret"
) -> tuple[Output, LogFile]:
    file = LogFile(tmp_path / "model.log", max_bytes=100_000, file_count=2, clock=SystemClock())
    return Output(ring, file, secret=secret, clock=clock), file


@given(
    lines=st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"").rstrip(b"\r"))),
    size=st.integers(1, 7),
)
def test_lines_are_the_same_for_every_split_of_the_bytes(lines: list[bytes], size: int) -> None:
    data = b"".join(line + b"\n" for line in lines) + b"rest"
    splitter = LineSplitter()
    found = [line for at in range(0, len(data), size) for line in splitter.feed(data[at : at + size])]
    assert found == lines
    assert splitter.close() == [b"rest"]
    assert splitter.close() == []


def test_a_line_without_end_is_cut() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"x" * 200_000) == []
    assert [len(line) for line in splitter.feed(b"x" * 100_000)] == [300_000]


def test_the_ring_keeps_the_newest_lines_and_their_numbers() -> None:
    ring = OutputRing(max_bytes=29)
    for number in range(1, 11):
        ring.add(f"line {number:04d}")
    assert ring.after(0) == (("line 0009", "line 0010"), 10)
    assert ring.after(9) == (("line 0010",), 10)
    assert ring.after(10) == ((), 10)
    assert ring.after(99) == ((), 10)


def test_a_line_larger_than_the_ring_leaves_it_empty() -> None:
    ring = OutputRing(max_bytes=10)
    ring.add("x" * 100)
    assert ring.after(0) == ((), 1)


def test_output_goes_to_ring_and_file_without_the_key_and_without_controls(tmp_path: Path) -> None:
    ring = OutputRing(10_000)
    output, file = _output(tmp_path, FakeClock(), ring)
    output.take(b"key the-secret \x1b[31mred\xff")
    file.close()
    (line,) = ring.after(0)[0]
    assert "the-secret" not in line
    assert "\x1b" not in line
    assert (tmp_path / "model.log").read_text(encoding="utf-8") == line + "\n"


def test_f8_a_flood_is_counted_not_kept(tmp_path: Path) -> None:
    clock, ring = FakeClock(), OutputRing(10_000_000)
    output, file = _output(tmp_path, clock, ring)
    for _ in range(30_000):
        output.take(b"x" * 99)
    output.take(b"last words")
    kept = ring.after(0)[1]
    assert 10_000 < kept < 11_000
    assert output.last_words()[-1] == "last words"
    clock.t_ns = 2_000_000_000
    output.take(b"calm again")
    lines = ring.after(kept)[0]
    assert "bytes of output left out" in lines[0]
    assert lines[1] == "calm again"
    output.close()
    file.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 250_000


def test_a_flood_that_ends_the_child_is_told_too(tmp_path: Path) -> None:
    ring = OutputRing(10_000_000)
    output, file = _output(tmp_path, FakeClock(), ring)
    for _ in range(12_000):
        output.take(b"x" * 99)
    output.close()
    file.close()
    assert "left out" in ring.after(0)[0][-1]


async def test_draining_reads_to_the_end_with_an_unfinished_line() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"one\r\ntwo\nthree")
    stream.feed_eof()
    lines: list[bytes] = []
    await drain(stream, lines.append)
    assert lines == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'cmd_child_to_router:state:{"state":"loading","payload":{"value":0.5}}', ("loading", 0.5)),
        (b'cmd_child_to_router:state:{"state":"ready","payload":{"id":"x"}}', ("ready", None)),
        (b'cmd_child_to_router:state:{"state":"sleeping"}', ("sleeping", None)),
        (b'cmd_child_to_router:state:{"state":"loading","payload":{"value":true}}', ("loading", None)),
        (b'cmd_child_to_router:state:{"state":"loading","payload":{"value":7}}', ("loading", None)),
        (b'cmd_child_to_router:state:{"state":"loading","payload":[1]}', ("loading", None)),
        (b"cmd_child_to_router:state:nonsense", None),
        (b"cmd_child_to_router:state:[1]", None),
        (b"cmd_child_to_router:state:" + b"[" * 100_000, None),
        (b"an ordinary line", None),
    ],
)
def test_the_child_protocol_is_understood_or_ignored(
    line: bytes, expected: tuple[str, float | None] | None
) -> None:
    assert parse_state(line) == expected
