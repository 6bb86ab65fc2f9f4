"""The OpenAI stream and everything that goes wrong with it (catalogue S, measurement T5 to T7)."""

import json
from typing import Any

import pytest

from llama_runner.backends.events import (
    Finished,
    PromptProgress,
    ReasoningDelta,
    TextDelta,
    TimingsReport,
    ToolCallDelta,
    UsageReport,
)
from llama_runner.core.errors import (
    ContextOverflowError,
    OverloadedError,
    ProtocolError,
    ServerError,
    TruncatedError,
)
from llama_runner.core.trace import ServerTimings, Usage
from llama_runner.net.lines import StreamCaps
from tests.unit.backends.helpers import DONE, delta, openai, reasoning, sse, text

LLAMA_SERVER = (
    sse(delta(role="assistant", content=None))
    + b":\n\n"
    + sse({**delta(), "prompt_progress": {"total": 34, "cache": 0, "processed": 17, "time_ms": 3}})
    + sse({**delta(reasoning_content="Hm"), "timings": {"predicted_n": 1}})
    + sse({**delta(content="He"), "timings": {"predicted_n": 2}})
    + sse(delta(done="stop"))
    + sse(
        {
            "choices": [],
            "usage": {
                "completion_tokens": 3,
                "prompt_tokens": 34,
                "prompt_tokens_details": {"cached_tokens": 20},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
            "timings": {"prompt_n": 14, "prompt_ms": 20.0, "predicted_n": 3, "predicted_ms": 30.0},
        }
    )
    + DONE
)


def test_a_llama_server_stream_becomes_events() -> None:
    events, decoder = openai(LLAMA_SERVER)
    assert events == [
        PromptProgress(1, 17, 34),
        ReasoningDelta(1, "Hm", 1),
        TextDelta(1, "He", 2),
        UsageReport(1, Usage(34, 3, 1, 20)),
        TimingsReport(1, ServerTimings(14, 0.02, 3, 0.03)),
        Finished(1, "stop"),
    ]
    assert decoder.failure is None


def test_a_stream_cut_at_every_byte_gives_the_same_events() -> None:
    """S1."""
    whole, _ = openai(LLAMA_SERVER)
    for cut in range(len(LLAMA_SERVER) + 1):
        assert openai(LLAMA_SERVER[:cut], LLAMA_SERVER[cut:])[0] == whole
    assert openai(*(bytes([byte]) for byte in LLAMA_SERVER))[0] == whole


@pytest.mark.parametrize("end", [b"\r", b"\r\n"])
def test_other_line_ends_give_the_same_events(end: bytes) -> None:
    """S2."""
    whole, _ = openai(LLAMA_SERVER)
    assert openai(b"\xef\xbb\xbf" + LLAMA_SERVER.replace(b"\n", end))[0] == whole


def test_characters_that_look_like_line_ends_do_not_split() -> None:
    """S3."""
    words = "a\u2028b\u2029c"
    raw = b'data: {"choices":[{"delta":{"content":"' + words.encode() + b'"}}]}\n\n'
    controls = "x\x85y\x0bz\x0c!"
    for data in (raw, sse(delta(content=words))):
        assert text(openai(data + DONE)[0]) == words
    raw = b'data: {"choices":[{"delta":{"content":"x\xc2\x85y\\u000bz\\f!"}}]}\n\n'
    for data in (raw, sse(delta(content=controls))):
        assert text(openai(data + DONE)[0]) == controls


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("ž".encode(), "ž"),
        (b"a\xffb", "a\ufffdb"),
        (b"\xc0\xaf", "\ufffd\ufffd"),
        (b"\xe2\x82", "\ufffd"),
        (b"\\ud800x", "\ufffdx"),
        (b"\\ud83d\\ude00", "😀"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
    ],
)
def test_broken_text_is_replaced_and_can_be_stored(content: bytes, wanted: str) -> None:
    """S4."""
    data = b'data: {"choices":[{"delta":{"content":"' + content + b'"}}]}\n\n' + DONE
    for reads in ([data], [bytes([byte]) for byte in data]):
        events, decoder = openai(*reads)
        assert text(events) == wanted
        assert decoder.bad_events == 0
        text(events).encode("utf-8")


def test_spacing_multiple_lines_and_unknown_fields_follow_the_specification() -> None:
    """S5."""
    data = (
        b'data:{"choices":\ndata: [{"delta":\ndata: {"content":"hi"}}]}\nid: 1\nretry: 9e99\nx: y\n\n: p\n\n'
    )
    events, decoder = openai(data + DONE)
    assert text(events) == "hi"
    assert decoder.bad_events == 0


@pytest.mark.parametrize(
    "data",
    [
        sse(delta(content="part")),
        sse(delta(content="part")) + b'data: {"choices":[{"delta":{"cont',
        sse(delta(content="part")) + b"data: [DO",
    ],
    ids=["no marker", "event cut", "marker cut"],
)
def test_a_stream_without_its_end_marker_is_truncated_and_keeps_its_text(data: bytes) -> None:
    """S6."""
    events, decoder = openai(data)
    assert text(events) == "part"
    assert isinstance(decoder.failure, TruncatedError)
    assert not any(isinstance(event, Finished) for event in events)


def test_a_reason_to_finish_and_an_orderly_end_are_an_end_marker() -> None:
    """S6: transformers' server sends no [DONE]."""
    chunks = sse(delta(content="part"), delta(done="length"))
    usage = sse({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 1}})
    for data in (chunks, chunks + usage):
        events, decoder = openai(data)
        assert text(events) == "part"
        assert decoder.failure is None
        assert isinstance(events[-1], Finished) and events[-1].reason == "length"


def test_an_empty_stream_is_truncated() -> None:
    """S6."""
    for reads in ([], [b""], [b"\n\n  \n"]):
        events, decoder = openai(*reads)
        assert events == []
        assert isinstance(decoder.failure, TruncatedError)


def test_the_last_blank_line_may_be_missing() -> None:
    events, decoder = openai(sse(delta(content="a")) + b"data: [DONE]")
    assert isinstance(events[-1], Finished)
    assert decoder.failure is None


def test_what_comes_after_the_end_marker_is_ignored_and_counted() -> None:
    """S7."""
    events, decoder = openai(
        sse(delta(content="a")) + DONE + sse(delta(content="b")) + DONE + b"data: junk\n\n"
    )
    assert text(events) == "a"
    assert sum(isinstance(event, Finished) for event in events) == 1
    assert decoder.late_events == 3
    assert decoder.failure is None


def test_a_line_without_end_is_cut_and_what_came_before_kept() -> None:
    """S8."""
    decoder_events, decoder = openai(sse(delta(content="a")), *([b"x" * 65_536] * 40))
    assert text(decoder_events) == "a"
    assert isinstance(decoder.failure, ProtocolError)
    assert "line_too_long" in decoder.failure.message


def test_stream_and_event_caps_end_the_answer() -> None:
    """S9."""
    _, decoder = openai(*[sse(delta(content="a"))] * 100, caps=StreamCaps(stream=1000))
    assert decoder.failure is not None
    assert "stream_too_long" in decoder.failure.message
    _, decoder = openai(b"data: x\n" * 100, caps=StreamCaps(event=100))
    assert decoder.failure is not None
    assert "event_too_long" in decoder.failure.message


@pytest.mark.parametrize(
    ("event", "kind", "said"),
    [
        (sse({"error": {"message": "boom", "code": 500}}), ServerError, "boom"),
        (sse({"error": {"message": "busy", "code": 503}}), OverloadedError, "busy"),
        (sse({"error": "boom"}), ServerError, "boom"),
        (sse({"object": "error", "message": "boom", "code": 500}), ServerError, "boom"),
        (b'event: error\ndata: {"message":"boom"}\n\n', ServerError, "boom"),
        (b"event: error\ndata: plain boom\n\n", ServerError, "plain boom"),
        (
            sse({"error": {"type": "exceed_context_size_error", "message": "long"}}),
            ContextOverflowError,
            "long",
        ),
    ],
)
def test_an_error_in_the_stream_keeps_the_text_before_it(
    event: bytes, kind: type[ServerError], said: str
) -> None:
    """S11: also when both come in one read."""
    data = sse(delta(content="partial")) + event + sse(delta(content="never")) + DONE
    for reads in ([data], [bytes([byte]) for byte in data]):
        events, decoder = openai(*reads)
        assert text(events) == "partial"
        assert type(decoder.failure) is kind
        assert said in str(decoder.failure)


BAD_EVENTS = [
    b'{"a":' * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"n":' + b"9" * 5000 + b"}",
    b"[]",
    b'"text"',
    b"null",
    b"17",
    b"{]",
    b'{"choices":[]} {"choices":[]}',
]


@pytest.mark.parametrize("bad", BAD_EVENTS, ids=lambda data: data[:8].decode())
def test_an_event_that_is_no_object_is_dropped_and_counted(bad: bytes) -> None:
    """S12."""
    events, decoder = openai(
        sse(delta(content="a")) + b"data: " + bad + b"\n\n" + sse(delta(content="b")) + DONE
    )
    assert text(events) == "ab"
    assert decoder.bad_events == 1
    assert decoder.failure is None


def test_more_than_a_hundred_bad_events_end_the_stream() -> None:
    """S12."""
    _, decoder = openai(b"data: {]\n\n" * 100 + DONE)
    assert decoder.failure is None
    _, decoder = openai(b"data: {]\n\n" * 101 + DONE)
    assert isinstance(decoder.failure, ProtocolError)


def test_numbers_that_are_not_finite_and_double_keys_cost_no_text() -> None:
    """S12."""
    data = b'data: {"x":NaN,"y":1e999,"z":-Infinity,"choices":[],"choices":[{"delta":{"content":"a"}}]}\n\n'
    events, decoder = openai(data + DONE)
    assert text(events) == "a"
    assert decoder.bad_events == 0


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"choices": None},
        {"choices": {}},
        {"choices": "x"},
        {"choices": []},
        {"choices": [None, 1, "x", []]},
        {"choices": [{"index": -1, "delta": {"content": "no"}}]},
        {"choices": [{"index": 1, "delta": {"content": "no"}}]},
        {"choices": [{"index": "0", "delta": {"content": "no"}}]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": "text"}]},
        {"choices": [{"delta": [1]}]},
        {"choices": [{"delta": {"content": 7}}]},
        {"choices": [{"delta": {"content": {"a": 1}}}]},
        {"choices": [{"delta": {"content": [1, None, {"text": 5}]}}]},
        {"choices": [{"delta": {"tool_calls": "x"}}]},
        {"choices": [{"delta": {"tool_calls": [None, 1, {"function": 3}]}}]},
        {"choices": [{"delta": {"role": "user"}, "finish_reason": 7}]},
        {"choices": [{"delta": {"reasoning": {"x": 1}}}]},
        {"prompt_progress": [1]},
        {"prompt_progress": {"total": "x", "processed": -1}},
        {"usage": "x", "timings": 7},
    ],
)
def test_any_shape_is_taken_without_an_exception(document: Any) -> None:
    """S13."""
    events, decoder = openai(sse(document, delta(content="a")) + DONE)
    assert events == [TextDelta(1, "a"), Finished(1, None)]
    assert decoder.failure is None
    assert decoder.bad_events == 0


def test_ten_thousand_choices_are_not_all_looked_at() -> None:
    """S13."""
    choices = [{"index": 1, "delta": {"content": "x"}}] * 10_000 + [
        {"index": 0, "delta": {"content": "late"}}
    ]
    events, _ = openai(sse({"choices": choices}) + DONE)
    assert text(events) == ""


def test_content_in_parts_and_role_changes_are_read() -> None:
    """S13."""
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    events, _ = openai(sse(delta(content=parts), delta(role="tool", content="c")) + DONE)
    assert text(events) == "abc"


def test_unknown_event_types_are_ignored() -> None:
    """S14."""
    data = b"".join(
        b"event: %b\ndata: %b\n\n" % (name, json.dumps(delta(content="no")).encode())
        for name in (b"execute", b"tool", b"\xff")
    )
    data += b"event: message\n" + sse(delta(content="yes"))
    events, decoder = openai(data + DONE)
    assert text(events) == "yes"
    assert decoder.bad_events == 0


@pytest.mark.parametrize("bad", [-1, "7", 2**70, 1.5, True, None, [], {}, float("nan"), float("inf")])
def test_counts_that_cannot_be_are_unknown(bad: Any) -> None:
    """S15."""
    usage = {"prompt_tokens": bad, "completion_tokens": bad, "prompt_tokens_details": bad}
    timings = {"prompt_n": bad, "predicted_n": bad}
    events, decoder = openai(sse({**delta(content="a"), "usage": usage, "timings": timings}) + DONE)
    assert events == [TextDelta(1, "a"), Finished(1, None)]
    assert decoder.bad_events == 0


@pytest.mark.parametrize("bad", [0, -1.0, "7", 1e300, float("nan"), float("inf"), True])
def test_durations_that_cannot_be_are_unknown(bad: Any) -> None:
    """S15."""
    events, _ = openai(
        sse({"choices": [], "timings": {"prompt_ms": bad, "predicted_ms": bad, "predicted_n": 4}}) + DONE
    )
    assert events[0] == TimingsReport(1, ServerTimings(output_tokens=4))


def test_counts_written_as_whole_floats_are_counts() -> None:
    events, _ = openai(sse({"choices": [], "usage": {"completion_tokens": 7.0}}) + DONE)
    assert events[0] == UsageReport(1, Usage(output_tokens=7))


def test_usage_in_every_chunk_counts_each_and_reports_once() -> None:
    """T7."""
    chunks = [{**delta(content="ab"), "usage": {"completion_tokens": n, "prompt_tokens": 5}} for n in (2, 4)]
    events, _ = openai(sse(*chunks) + DONE)
    assert [e.cumulative_tokens for e in events if isinstance(e, TextDelta)] == [2, 4]
    assert [e for e in events if isinstance(e, UsageReport)] == [UsageReport(1, Usage(5, 4))]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_found_under_each_of_its_names(key: str) -> None:
    """T6."""
    events, _ = openai(sse(delta(**{key: "hm"}), delta(content="a")) + DONE)
    assert (reasoning(events), text(events)) == ("hm", "a")


def test_reasoning_sent_under_two_names_counts_once() -> None:
    events, _ = openai(sse(delta(reasoning_content="hm", reasoning="hm", content=None)) + DONE)
    assert reasoning(events) == "hm"


def test_a_refusal_is_text() -> None:
    events, _ = openai(sse(delta(refusal="I will not.")) + DONE)
    assert text(events) == "I will not."


def test_tool_calls_arrive_in_fragments() -> None:
    calls: list[dict[str, Any]] = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a'}},
        {"index": 1, "id": "c2", "function": {"name": "g", "arguments": {"b": "ž"}}},
        {"index": 0, "function": {"arguments": ""}},
    ]
    events, _ = openai(sse(*(delta(tool_calls=[call]) for call in calls)) + DONE)
    assert [event for event in events if isinstance(event, ToolCallDelta)] == [
        ToolCallDelta(1, 0, "c1", "f", ""),
        ToolCallDelta(1, 0, None, None, '{"a'),
        ToolCallDelta(1, 1, "c2", "g", '{"b": "ž"}'),
    ]


def test_a_web_page_is_refused() -> None:
    """S17."""
    _, decoder = openai(b"\n <!DOCTYPE html><html>data: [DONE]\n\n")
    assert isinstance(decoder.failure, ProtocolError)
    assert "web page" in decoder.failure.message


def test_a_whole_answer_instead_of_a_stream_is_read() -> None:
    """S17."""
    message = {"role": "assistant", "content": "hello", "reasoning_content": "hm"}
    document = {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 2},
    }
    data = json.dumps(document, indent=1).encode()
    for reads in ([data], [bytes([byte]) for byte in data]):
        events, decoder = openai(*reads)
        assert (reasoning(events), text(events)) == ("hm", "hello")
        assert events[-1] == Finished(1, "stop")
        assert decoder.failure is None


def test_a_whole_answer_that_is_an_error_or_something_else_is_named() -> None:
    """S11, S17: LM Studio answers unknown paths with status 200."""
    _, decoder = openai(b'{"error":"Unexpected endpoint or method."}')
    assert "Unexpected endpoint" in str(decoder.failure)
    for data in (b'{"status":"ok"}', b'{"cut":'):
        _, decoder = openai(data)
        assert isinstance(decoder.failure, ProtocolError)
    _, decoder = openai(b"{" + b" " * 100, caps=StreamCaps(event=50))
    assert isinstance(decoder.failure, ProtocolError)


def test_after_a_failure_nothing_more_is_read() -> None:
    _, decoder = openai(b"<html>")
    failure = decoder.failure
    assert decoder.feed(1, sse(delta(content="a"))) == []
    assert decoder.close(1) == []
    assert decoder.failure is failure
