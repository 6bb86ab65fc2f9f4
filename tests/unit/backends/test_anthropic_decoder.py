"""Anthropic's stream of events: blocks of every kind, counts, errors, and answers that are no stream."""

import json
from typing import Any

import pytest

from llama_runner.backends.anthropic_decoder import AnthropicDecoder
from llama_runner.backends.events import Finished, StreamEvent, ToolCallDelta, UsageReport
from llama_runner.core.errors import (
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RefusedError,
    ServerError,
    TruncatedError,
)
from llama_runner.core.trace import Usage
from tests.unit.backends.helpers import URL, reasoning, run, text


def sse(*documents: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: " + d["type"].encode() + b"\ndata: " + json.dumps(d).encode() + b"\n\n" for d in documents
    )


def start(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": usage}}


def block(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def end(reason: str | None = "end_turn", **usage: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": usage,
    }, {"type": "message_stop"}


def decode(*reads: bytes) -> tuple[list[StreamEvent], AnthropicDecoder]:
    decoder = AnthropicDecoder(URL)
    return run(decoder, *reads), decoder


def calls(events: list[StreamEvent]) -> list[tuple[int, str | None, str | None, str]]:
    return [(e.index, e.call_id, e.name, e.arguments) for e in events if isinstance(e, ToolCallDelta)]


def usage(events: list[StreamEvent]) -> Usage:
    return next(e.usage for e in events if isinstance(e, UsageReport))


FULL = sse(
    start(input_tokens=8, cache_read_input_tokens=4, cache_creation_input_tokens=2, output_tokens=1),
    block(0, "thinking", thinking="", signature=""),
    {"type": "ping"},
    delta(0, "thinking_delta", thinking="hm, "),
    delta(0, "thinking_delta", thinking="ž"),
    delta(0, "signature_delta", signature="EqQB"),
    {"type": "content_block_stop", "index": 0},
    block(1, "text", text=""),
    delta(1, "text_delta", text="It "),
    delta(1, "text_delta", text="is"),
    {"type": "content_block_stop", "index": 1},
    block(2, "tool_use", id="toolu_1", name="clock", input={}),
    delta(2, "input_json_delta", partial_json=""),
    delta(2, "input_json_delta", partial_json='{"zone":'),
    delta(2, "input_json_delta", partial_json=' "UTC"}'),
    {"type": "content_block_stop", "index": 2},
    block(3, "tool_use", id="toolu_2", name="date", input={}),
    delta(3, "input_json_delta", partial_json="{}"),
    *end("tool_use", output_tokens=9, output_tokens_details={"thinking_tokens": 3}),
)


def test_every_kind_of_block_becomes_its_events() -> None:
    events, decoder = decode(FULL)
    assert decoder.failure is None
    assert (reasoning(events), text(events)) == ("hm, ž", "It is")
    assert calls(events) == [
        (0, "toolu_1", "clock", ""),
        (0, None, None, '{"zone":'),
        (0, None, None, ' "UTC"}'),
        (1, "toolu_2", "date", ""),
        (1, None, None, "{}"),
    ]
    assert usage(events) == Usage(prompt_tokens=14, output_tokens=9, reasoning_tokens=3, cached_tokens=4)
    assert events[-1] == Finished(1, "tool_calls")


def test_any_split_of_the_bytes_gives_the_same_events() -> None:
    """S1."""
    whole, _ = decode(FULL)
    for size in (1, 2, 3, 7, 50):
        pieces, decoder = decode(*(FULL[at : at + size] for at in range(0, len(FULL), size)))
        assert pieces == whole
        assert decoder.failure is None


def test_calls_of_interleaved_blocks_are_told_apart_by_their_index() -> None:
    """T2."""
    events, _ = decode(
        sse(
            block(4, "tool_use", id="a", name="f", input={}),
            block(7, "tool_use", id="b", name="g", input={}),
            delta(7, "input_json_delta", partial_json="[7]"),
            delta(4, "input_json_delta", partial_json="[4]"),
            *end(),
        )
    )
    assert [(index, arguments) for index, _, _, arguments in calls(events)] == [
        (0, ""),
        (1, ""),
        (1, "[7]"),
        (0, "[4]"),
    ]


def test_a_call_that_comes_whole_keeps_its_arguments() -> None:
    events, _ = decode(sse(block(0, "tool_use", id="a", name="f", input={"x": "ž"}), *end()))
    assert calls(events) == [(0, "a", "f", '{"x": "ž"}')]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        (None, None),
    ],
)
def test_reasons_to_stop_are_told_in_the_words_of_all_dialects(said: str | None, meant: str | None) -> None:
    events, _ = decode(sse(start(input_tokens=1), *end(said)))
    assert events[-1] == Finished(1, meant)


def test_a_count_that_was_never_finished_is_not_reported() -> None:
    """The message's start says how much is written so far, which is nothing."""
    events, _ = decode(sse(start(input_tokens=3, output_tokens=1), delta(0, "text_delta", text="a"), *end()))
    assert usage(events) == Usage(prompt_tokens=3)


def test_implausible_counts_are_unknown() -> None:
    """S15."""
    events, _ = decode(sse(start(input_tokens=-1), *end(output_tokens="9")))
    assert not [event for event in events if isinstance(event, UsageReport)]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", OverloadedError),
        ("rate_limit_error", OverloadedError),
        ("invalid_request_error", InvalidRequestError),
        ("authentication_error", RefusedError),
        ("not_found_error", NotFoundError),
        ("api_error", ServerError),
    ],
)
def test_an_error_in_the_stream_keeps_the_text_and_its_kind(kind: str, error: type[ServerError]) -> None:
    """S11."""
    failed = {"type": "error", "error": {"type": kind, "message": "as it is"}, "request_id": "req_1"}
    events, decoder = decode(sse(start(), delta(0, "text_delta", text="half"), failed))
    assert text(events) == "half"
    assert type(decoder.failure) is error
    assert "as it is" in decoder.failure.message


def test_an_error_in_another_dialects_shape_is_an_error_too() -> None:
    _, decoder = decode(b'data: {"error": {"code": 500, "message": "slot lost"}}\n\n')
    assert decoder.failure is not None and "slot lost" in decoder.failure.message


@pytest.mark.parametrize("cut", [0, 200, len(FULL) - 30])
def test_an_end_without_message_stop_is_truncated(cut: int) -> None:
    """S6."""
    _, decoder = decode(FULL[:cut])
    assert isinstance(decoder.failure, TruncatedError)


def test_what_comes_after_the_end_is_ignored() -> None:
    """S7."""
    events, decoder = decode(FULL + sse(delta(1, "text_delta", text="more")))
    assert text(events) == "It is"
    assert decoder.late_events == 1


def test_a_whole_message_is_read_as_the_answer() -> None:
    """S17."""
    message = {
        "type": "message",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "text", "text": "yes"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        ],
        "stop_reason": "max_tokens",
        "usage": {"input_tokens": 3, "output_tokens": 5},
    }
    events, decoder = decode(json.dumps(message).encode())
    assert decoder.failure is None
    assert (reasoning(events), text(events), calls(events)) == ("hm", "yes", [(0, "a", "f", '{"x": 1}')])
    assert usage(events) == Usage(prompt_tokens=3, output_tokens=5)
    assert events[-1] == Finished(1, "length")


@pytest.mark.parametrize("body", [b"<html>", b'{"choices": []}', b'{"content"', b"{}"])
def test_another_document_is_refused(body: bytes) -> None:
    """S17."""
    _, decoder = decode(body)
    assert isinstance(decoder.failure, ProtocolError)


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "content_block_delta"},
        {"type": "content_block_delta", "index": "x", "delta": []},
        {"type": "content_block_delta", "index": -4, "delta": {"type": "text_delta", "text": 7}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use"}},
        {"type": "content_block_start", "content_block": None},
        {"type": "message_start", "message": "x"},
        {"type": "message_delta", "delta": None, "usage": []},
        {"type": "brand_new"},
        {"type": 7},
    ],
)
def test_odd_and_unknown_events_cost_nothing(odd: dict[str, Any]) -> None:
    """S13."""
    data = b"data: " + json.dumps(odd).encode() + b"\n\n"
    events, decoder = decode(data + sse(delta(0, "text_delta", text="ok"), *end()))
    assert (text(events), decoder.failure) == ("ok", None)


def test_broken_events_are_dropped_until_there_are_too_many() -> None:
    """S12."""
    events, decoder = decode(b"data: {\n\n" * 3 + FULL)
    assert (text(events), decoder.bad_events, decoder.failure) == ("It is", 3, None)
    _, decoder = decode(b"data: nonsense\n\n" * 200)
    assert isinstance(decoder.failure, ProtocolError)
