"""Catalogue S (safety 4.3) in every dialect: S1 to S20, each once and for all decoders alike.

What is particular to one dialect is in its own tests; S16 for a whole chat in tests/integration.
"""

import gzip
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from llama_runner.backends.anthropic_decoder import AnthropicDecoder
from llama_runner.backends.base import Endpoint, Engine
from llama_runner.backends.decode import decode_reads
from llama_runner.backends.decoding import MAX_BAD_EVENTS, DecoderBase
from llama_runner.backends.events import Finished, StreamEvent, TimingsReport, UsageReport
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.ollama_decoder import OllamaDecoder
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.backends.registry import connect, decoder_for
from llama_runner.backends.request import ChatRequest, Message, Role
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ProtocolError, ServerError, TruncatedError
from llama_runner.core.trace import TokensSource
from llama_runner.net.client import open_http
from llama_runner.net.lines import DEFAULT_CAPS, StreamCaps
from llama_runner.net.load import LoadClient
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan
from tests.fakes.raw_server import raw_server, response
from tests.unit.backends.helpers import URL, reasoning, run, sse, text

CLOCK: Final = SystemClock()
ODD: Final[tuple[Any, ...]] = (None, 7, True, "x", [], [1, None], {}, {"a": 1}, ["x"], -1)


@dataclass(frozen=True)
class Dialect:
    """How one decoder's server spells an answer."""

    name: str
    make: Callable[[str, StreamCaps], DecoderBase]
    engine: Engine
    says: Callable[[Any], Any]
    thinks: Callable[[Any], Any]
    framed: Callable[[bytes], bytes]
    end: bytes
    counts: Callable[[Any], bytes]

    def text(self, content: Any) -> bytes:
        return self.event(self.says(content))

    def event(self, document: Any) -> bytes:
        return self.framed(json.dumps(document).encode())

    def read(self, *reads: bytes, caps: StreamCaps = DEFAULT_CAPS) -> tuple[list[StreamEvent], DecoderBase]:
        decoder = self.make(URL, caps)
        return run(decoder, *reads), decoder


def _line(data: bytes) -> bytes:
    return data + b"\n"


def _data(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _delta(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **fields}}


def _ollama_counts(bad: Any) -> bytes:
    counts = {"eval_count": bad, "prompt_eval_count": bad, "eval_duration": bad, "prompt_eval_duration": bad}
    return _line(json.dumps({"message": {"content": ""}, "done": True, **counts}).encode())


DIALECTS: Final = (
    Dialect(
        "openai",
        OpenAIDecoder,
        Engine.OPENAI,
        lambda content: {"choices": [{"index": 0, "delta": {"content": content}}]},
        lambda content: {"choices": [{"index": 0, "delta": {"reasoning_content": content}}]},
        _data,
        b"data: [DONE]\n\n",
        lambda bad: (
            sse({"choices": [], "usage": {"completion_tokens": bad}, "timings": {"predicted_ms": bad}})
            + b"data: [DONE]\n\n"
        ),
    ),
    Dialect(
        "ollama",
        OllamaDecoder,
        Engine.OLLAMA,
        lambda content: {"message": {"content": content}, "done": False},
        lambda content: {"message": {"content": "", "thinking": content}, "done": False},
        _line,
        b'{"message":{"content":""},"done":true,"done_reason":"stop"}\n',
        _ollama_counts,
    ),
    Dialect(
        "anthropic",
        AnthropicDecoder,
        Engine.ANTHROPIC,
        lambda content: _delta("text_delta", text=content),
        lambda content: _delta("thinking_delta", thinking=content),
        _data,
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        lambda bad: (
            sse({"type": "message_delta", "delta": {}, "usage": {"output_tokens": bad}})
            + b'data: {"type":"message_stop"}\n\n'
        ),
    ),
)
every = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@every
def test_s1_events_cut_at_every_byte(dialect: Dialect) -> None:
    data = dialect.event(dialect.thinks("hm")) + dialect.text("Hé 😀") + dialect.text("b") + dialect.end
    whole, _ = dialect.read(data)
    assert (reasoning(whole), text(whole)) == ("hm", "Hé 😀b")
    for cut in range(len(data) + 1):
        assert dialect.read(data[:cut], data[cut:])[0] == whole
    assert dialect.read(*(bytes([byte]) for byte in data))[0] == whole


@every
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_s2_line_ends_of_every_kind_after_a_byte_order_mark(dialect: Dialect, end: bytes) -> None:
    data = b"\xef\xbb\xbf" + (dialect.text("a") + dialect.text("b") + dialect.end).replace(b"\n", end)
    for reads in ([data], [bytes([byte]) for byte in data]):
        events, decoder = dialect.read(*reads)
        assert text(events) == "ab"
        assert decoder.failure is None


@every
def test_s3_characters_that_look_like_line_ends(dialect: Dialect) -> None:
    words = "a\u2028b\u2029c\x85d\x0be\x0cf"
    raw = json.dumps(dialect.says("?"), ensure_ascii=False).encode()
    unescaped = dialect.framed(raw.replace(b"?", "a\u2028b\u2029c\x85d\\u000be\\ff".encode()))
    for data in (dialect.text(words), unescaped):
        assert text(dialect.read(data + dialect.end)[0]) == words


@every
@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"\xc0\xaf", "\ufffd\ufffd"),
        (b"\\ud800x", "\ufffdx"),
        (b"\\u001b[1m", "\ufffd[1m"),
    ],
    ids=["invalid", "overlong", "lone surrogate", "escape"],
)
def test_s4_broken_text_is_replaced_and_can_be_stored(dialect: Dialect, raw: bytes, wanted: str) -> None:
    data = dialect.framed(json.dumps(dialect.says("?")).encode().replace(b"?", raw)) + dialect.end
    for reads in ([data], [bytes([byte]) for byte in data]):
        events, decoder = dialect.read(*reads)
        assert text(events) == wanted
        assert decoder.bad_events == 0


@every
def test_s5_fields_and_comments_are_taken_as_the_specification_says(dialect: Dialect) -> None:
    if dialect.name == "ollama":
        pytest.skip("lines have no fields")
    first, second = json.dumps(dialect.says("a"), indent=1).encode().split(b"\n", 1)
    lines = [first, *second.split(b"\n")]
    data = (
        b": c\n\nid: 1\nretry: 9e99\nx: y\n"
        + b"".join(b"data:" + line + b"\n" for line in lines)
        + b"\n:\n\n"
    )
    events, decoder = dialect.read(data + dialect.end)
    assert text(events) == "a"
    assert decoder.bad_events == 0


@every
@pytest.mark.parametrize("cut", ["nothing", "before the end", "in an event", "in the end"])
def test_s6_a_stream_without_its_end_is_truncated_and_keeps_its_text(dialect: Dialect, cut: str) -> None:
    part = dialect.text("part")
    data = {
        "nothing": b"",
        "before the end": part,
        "in an event": part + dialect.text("more")[:-9],
        "in the end": part + dialect.end[:-6],
    }[cut]
    events, decoder = dialect.read(data)
    assert text(events) == ("" if cut == "nothing" else "part")
    assert isinstance(decoder.failure, TruncatedError)
    assert not any(isinstance(event, Finished) for event in events)


@every
def test_s7_what_comes_after_the_end_is_ignored_and_counted(dialect: Dialect) -> None:
    events, decoder = dialect.read(dialect.text("a") + dialect.end + dialect.text("b") + dialect.end)
    assert text(events) == "a"
    assert sum(isinstance(event, Finished) for event in events) == 1
    assert decoder.late_events == 2
    assert decoder.failure is None


@every
@pytest.mark.parametrize("size", [1000, 8 * 1024 * 1024])
def test_s8_a_line_without_end_is_cut(dialect: Dialect, size: int) -> None:
    """Also when all of it comes in one read, with the text before it."""
    caps = DEFAULT_CAPS if size > 1000 else StreamCaps(line=500)
    events, decoder = dialect.read(dialect.text("a") + b"x" * size, caps=caps)
    assert text(events) == "a"
    assert isinstance(decoder.failure, ProtocolError)
    assert "line_too_long" in decoder.failure.message


@every
def test_s9_a_stream_beyond_its_cap_is_cut(dialect: Dialect) -> None:
    events, decoder = dialect.read(*[dialect.text("a")] * 1000, caps=StreamCaps(stream=20_000))
    assert 100 < len(text(events)) < 1000
    assert decoder.failure is not None
    assert "stream_too_long" in decoder.failure.message


async def test_s9_a_compressed_bomb_is_refused_unread() -> None:
    bomb = response(gzip.compress(b"0" * 10_000_000), more="Content-Encoding: gzip\r\n")
    async with raw_server(lambda n, head: bomb) as server, open_http() as http:
        backend = connect(Endpoint(server.url, Engine.OPENAI), http=http, clock=CLOCK)
        request = ChatRequest("m", (Message(Role.USER, "x"),))
        with pytest.raises(ProtocolError, match="compressed"):
            async for event in backend.stream(request):
                assert not isinstance(event, Finished)
        async with LoadClient(clock=CLOCK) as client:
            raw = await client.send(backend.encode(request), timeout_s=5)
    # A load worker keeps what came, and never unpacks it.
    assert sum(len(data) for _, data in raw.reads) < 20_000
    assert isinstance(decode_reads(decoder_for(Engine.OPENAI, server.url), raw).error, ServerError)


@every
@pytest.mark.parametrize("error", [{"error": {"message": "boom"}}, {"error": "boom"}])
def test_s11_an_error_in_the_stream_keeps_the_text_before_it(dialect: Dialect, error: Any) -> None:
    events, decoder = dialect.read(
        dialect.text("part") + dialect.event(error) + dialect.text("never") + dialect.end
    )
    assert text(events) == "part"
    assert "boom" in str(decoder.failure)


@every
@pytest.mark.parametrize(
    "bad",
    [b"[" * 100_000 + b"]" * 100_000, b"9" * 5000, b"[1]", b'{"a":', b"'a'", b"nul"],
    ids=["depth", "digits", "array", "cut", "quotes", "word"],
)
def test_s12_broken_json_costs_only_itself_and_too_much_of_it_ends_the_stream(
    dialect: Dialect, bad: bytes
) -> None:
    around = dialect.text("a") + dialect.framed(bad) + dialect.text("b") + dialect.end
    events, decoder = dialect.read(around)
    assert text(events) == "ab"
    assert decoder.bad_events == 1
    _, decoder = dialect.read(dialect.framed(bad) * (MAX_BAD_EVENTS + 1) + dialect.end)
    assert isinstance(decoder.failure, ProtocolError)


@every
def test_s12_numbers_beyond_all_bounds_and_double_keys_cost_no_text(dialect: Dialect) -> None:
    document = json.dumps(dialect.says("a")).encode().replace(b"{", b'{"n":NaN,"i":1e999,"n":-Infinity,', 1)
    events, decoder = dialect.read(dialect.framed(document) + dialect.end)
    assert text(events) == "a"
    assert decoder.bad_events == 0


@every
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_s13_any_value_in_any_place_is_taken_without_an_exception(dialect: Dialect, odd: Any) -> None:
    def variants(value: Any) -> list[Any]:
        """The document with each of its values, one at a time, replaced."""
        found = [odd]
        if isinstance(value, dict):
            found += [{**value, key: other} for key, inner in value.items() for other in variants(inner)]
        if isinstance(value, list):
            found += [[other] for other in variants(value[0])]
        return found

    for document in (*variants(dialect.says("a")), *variants(dialect.thinks("a"))):
        events, decoder = dialect.read(dialect.event(document) + dialect.text("b") + dialect.end)
        assert text(events).endswith("b") or document.get("done") is True
        assert decoder.failure is None


@every
def test_s14_unknown_events_are_ignored(dialect: Dialect) -> None:
    if dialect.name == "ollama":
        pytest.skip("lines have no names")
    named = b"".join(b"event: " + name + b"\ndata: {}\n\n" for name in (b"execute", b"tool", b"\xff"))
    events, decoder = dialect.read(
        named + dialect.event({"type": "execute"}) + dialect.text("a") + dialect.end
    )
    assert text(events) == "a"
    assert decoder.bad_events == 0


@every
@pytest.mark.parametrize("bad", [None, -1, "7", 2**70, float("nan"), float("inf"), 0.5, True], ids=repr)
def test_s15_counts_and_durations_that_cannot_be_are_unknown(dialect: Dialect, bad: Any) -> None:
    events, _ = dialect.read(dialect.text("a") + dialect.counts(bad))
    fold = AnswerFold()
    for event in events:
        fold.add(event)
    for event in events:
        if isinstance(event, UsageReport):
            assert event.usage.output_tokens is None
        assert not isinstance(event, TimingsReport) or bad in (0.5, 2**70)
    assert fold.finished


@every
def test_s16_comments_for_ever_are_no_tokens(dialect: Dialect) -> None:
    ping = b"\n" if dialect.name == "ollama" else b": ping\n\n"
    decoder = dialect.make(URL, DEFAULT_CAPS)
    assert all(decoder.feed(1, ping * 100) == [] for _ in range(100))
    assert decoder.failure is None


@every
def test_s17_a_page_or_another_document_is_refused_and_a_whole_answer_read(dialect: Dialect) -> None:
    _, decoder = dialect.read(b"<!DOCTYPE html><html>\n" + dialect.text("a") + dialect.end)
    assert isinstance(decoder.failure, ProtocolError)
    assert "web page" in decoder.failure.message
    _, decoder = dialect.read(b'{"status":"ok"}\n')
    assert isinstance(decoder.failure, ServerError)


@every
def test_s18_tags_that_never_close_or_nest_without_end_are_shown(dialect: Dialect) -> None:
    unclosed = "<think>" * 10_000 + "deep"
    for pieces in ([unclosed], [unclosed[at : at + 70] for at in range(0, len(unclosed), 70)]):
        events, decoder = dialect.read(b"".join(map(dialect.text, pieces)) + dialect.end)
        assert reasoning(events) == "<think>" * 9_999 + "deep"
        assert text(events) == ""
        assert decoder.failure is None


@every
def test_s18_reasoning_and_text_that_take_turns_are_both_kept(dialect: Dialect) -> None:
    turns = dialect.event(dialect.thinks("h")) + dialect.text("<think>a") + dialect.event(dialect.thinks("m"))
    events, _ = dialect.read(turns + dialect.text("</think>b") + dialect.end)
    assert (reasoning(events), text(events)) == ("hm", "<think>a</think>b")


@every
def test_s19_a_stream_for_hours_leaves_nothing_behind_in_its_decoder(dialect: Dialect) -> None:
    decoder = dialect.make(URL, DEFAULT_CAPS)
    tokens = [dialect.text(f"word {number} ") for number in range(100)]

    def an_hour() -> None:
        for _ in range(36):
            for token in tokens:
                decoder.feed(1, token)

    an_hour()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        an_hour()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 16 * 1024
    assert decoder.failure is None


async def test_s19_a_request_of_a_load_worker_ends_at_its_own_timeout(metronome: Metronome) -> None:
    model = Plan(id="s19", tokens=100_000, gap_ms=10).model_id()
    async with LoadClient(clock=CLOCK) as client, open_http() as http:
        backend = connect(Endpoint(metronome.url, Engine.OPENAI), http=http, clock=CLOCK)
        raw = await client.send(backend.encode(ChatRequest(model, (Message(Role.USER, "x"),))), timeout_s=0.3)
    assert raw.timed_out
    fold = decode_reads(decoder_for(Engine.OPENAI, metronome.url), raw)
    assert fold.snapshot().n_events > 3
    assert fold.metrics().tokens_source is TokensSource.CHUNKS


def test_s20_lines_with_blanks_marks_and_more_than_one_object() -> None:
    ollama = DIALECTS[1]
    one, two = ollama.text("a"), ollama.text("b")
    data = b"\xef\xbb\xbf" + one + b"\n\r\n \t\r\n\xef\xbb\xbf" + two.replace(b"\n", b"\r\n")
    broken = one.strip() + two + one.strip() + b",\n"
    events, decoder = ollama.read(data + broken + ollama.end)
    assert text(events) == "ab"
    assert decoder.bad_events == 2
