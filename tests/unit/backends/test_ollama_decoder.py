"""Ollama's stream and everything that goes wrong with it."""

import json
from typing import Any

import pytest

from llama_runner.backends.events import (
    Finished,
    ReasoningDelta,
    TextDelta,
    TimingsReport,
    ToolCallDelta,
    UsageReport,
)
from llama_runner.core.errors import ContextOverflowError, ProtocolError, ServerError, TruncatedError
from llama_runner.core.trace import ServerTimings, Usage
from tests.unit.backends.helpers import ollama, text


def line(content: str = "", **fields: Any) -> bytes:
    message = {"role": "assistant", "content": content, **fields.pop("message", {})}
    return json.dumps({"model": "m", "message": message, "done": False, **fields}).encode() + b"\n"


END = line(
    done=True,
    done_reason="stop",
    prompt_eval_count=12,
    prompt_eval_duration=20_000_000,
    eval_count=3,
    eval_duration=30_000_000,
)
CALL = {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
STREAM = line(message={"thinking": "hm"}) + line("Hé") + line(message={"tool_calls": [CALL]}) + END


def test_a_stream_becomes_events() -> None:
    events, decoder = ollama(STREAM)
    assert events == [
        ReasoningDelta(1, "hm"),
        TextDelta(1, "Hé"),
        ToolCallDelta(1, 0, "c1", "f", '{"a": 1}'),
        UsageReport(1, Usage(12, 3)),
        TimingsReport(1, ServerTimings(12, 0.02, 3, 0.03)),
        Finished(1, "stop"),
    ]
    assert decoder.failure is None


def test_a_stream_cut_at_every_byte_gives_the_same_events() -> None:
    """S1, S2."""
    whole, _ = ollama(STREAM)
    for cut in range(len(STREAM) + 1):
        assert ollama(STREAM[:cut], STREAM[cut:])[0] == whole
    assert ollama(*(bytes([byte]) for byte in STREAM.replace(b"\n", b"\r\n")))[0] == whole
    assert ollama(STREAM.removesuffix(b"\n"))[0] == whole


def test_blank_lines_pass_and_other_breakage_is_counted() -> None:
    """S20."""
    data = (
        b"\n\r\n"
        + line("a")
        + line("x").strip()
        + line("y")
        + b'{"message":{"content":"z"}},\n'
        + line("b")
        + END
    )
    events, decoder = ollama(data)
    assert text(events) == "ab"
    assert decoder.bad_events == 2


def test_a_stream_without_done_is_truncated_and_keeps_its_text() -> None:
    """S6."""
    for data in (line("part"), line("part") + END[:-5], line("part", done="true")):
        events, decoder = ollama(data)
        assert text(events) == "part"
        assert isinstance(decoder.failure, TruncatedError)


def test_done_twice_counts_once() -> None:
    """S7."""
    events, decoder = ollama(line("a") + END + line("b") + END)
    assert text(events) == "a"
    assert sum(isinstance(event, Finished) for event in events) == 1
    assert decoder.late_events == 2


def test_an_error_line_keeps_the_text_before_it() -> None:
    """S11."""
    events, decoder = ollama(line("part") + b'{"error":"llama-server process no longer running"}\n')
    assert text(events) == "part"
    assert type(decoder.failure) is ServerError
    assert "no longer running" in decoder.failure.message
    _, decoder = ollama(b'{"error":"the input length exceeds the context length"}\n')
    assert isinstance(decoder.failure, ContextOverflowError)


@pytest.mark.parametrize("bad", [-1, "3", 2**70, True, None, [], {}])
def test_counts_that_cannot_be_are_unknown(bad: Any) -> None:
    """S15."""
    end = line(done=True, eval_count=bad, prompt_eval_count=bad, eval_duration=bad, prompt_eval_duration=bad)
    events, _ = ollama(line("a") + end)
    assert events == [TextDelta(1, "a"), Finished(1, None)]


@pytest.mark.parametrize("message", [None, "x", [], 7, {"content": None, "thinking": 3, "tool_calls": {}}])
def test_any_shape_is_taken_without_an_exception(message: Any) -> None:
    """S13."""
    odd = json.dumps({"message": message}).encode() + b"\n"
    events, decoder = ollama(odd + line("a") + END)
    assert text(events) == "a"
    assert decoder.failure is None


def test_a_last_line_may_hold_text() -> None:
    events, _ = ollama(line("all of it", done=True, done_reason="length"))
    assert events == [TextDelta(1, "all of it"), Finished(1, "length")]


def test_a_web_page_and_an_endless_line_are_refused() -> None:
    """S8, S17."""
    _, decoder = ollama(b"<html>\n<body>\n")
    assert isinstance(decoder.failure, ProtocolError)
    _, decoder = ollama(*([b"x" * 65_536] * 40))
    assert decoder.failure is not None
    assert "line_too_long" in decoder.failure.message
