"""Events folded into answers, and raw reads of load workers into the same."""

import pytest

from llama_runner.backends.base import Engine
from llama_runner.backends.decode import decode_reads
from llama_runner.backends.events import (
    Finished,
    PromptProgress,
    ReasoningDelta,
    RequestSent,
    Started,
    StreamEvent,
    TextDelta,
    TimingsReport,
    ToolCallDelta,
    UsageReport,
)
from llama_runner.backends.fold import AnswerFold, AnswerSnapshot
from llama_runner.backends.registry import decoder_for
from llama_runner.backends.request import ToolCall
from llama_runner.core.errors import OverloadedError, ServerError, TruncatedError
from llama_runner.core.trace import NO_METRICS, ServerTimings, TokensSource, Usage
from llama_runner.net.load import RawAnswer
from tests.unit.backends.helpers import DONE, URL, delta, sse

MS = 1_000_000


def fold(*events: StreamEvent) -> AnswerFold:
    result = AnswerFold()
    for event in events:
        result.add(event)
    return result


def test_an_answer_is_its_text_reasoning_and_calls() -> None:
    snapshot = fold(
        RequestSent(0),
        Started(1),
        PromptProgress(1, 5, 10),
        ReasoningDelta(2, "h"),
        ReasoningDelta(3, "m"),
        TextDelta(4, "a"),
        ToolCallDelta(5, 1, "c", "f", ""),
        ToolCallDelta(6, 1, None, None, "{}"),
        ToolCallDelta(7, 0, None, "g", "1"),
        Finished(8, "tool_calls"),
    ).snapshot()
    assert snapshot == AnswerSnapshot(
        text="a",
        reasoning="hm",
        tool_calls=(ToolCall(None, "g", "1"), ToolCall("c", "f", "{}")),
        n_events=6,
        started=True,
        finished=True,
        finish_reason="tool_calls",
        prompt_progress=0.5,
    )


def test_snapshots_grow_with_the_answer() -> None:
    growing = fold(RequestSent(0))
    texts = []
    for word in ("a", "b", "c"):
        growing.add(TextDelta(1, word))
        texts.append(growing.snapshot().text)
    assert texts == ["a", "ab", "abc"]


def test_figures_follow_from_the_trace() -> None:
    tokens = [TextDelta((200 + 20 * n) * MS, "w", n + 1) for n in range(11)]
    answer = fold(
        RequestSent(0),
        *tokens,
        UsageReport(1, Usage(prompt_tokens=5, output_tokens=11)),
        TimingsReport(1, ServerTimings(output_s=1.0)),
        Finished(500 * MS, "stop"),
    )
    metrics = answer.metrics()
    assert metrics.ttft_s == pytest.approx(0.2)
    assert metrics.tpot_s == pytest.approx(0.02)
    assert (metrics.output_tokens, metrics.tokens_source) == (11, TokensSource.CHUNK_USAGE)
    trace = answer.trace()
    assert trace is not None
    assert (trace.t_end_ns, trace.server_timings) == (500 * MS, ServerTimings(output_s=1.0))


def test_what_was_never_sent_has_no_figures() -> None:
    assert fold().trace() is None
    assert fold().metrics() == NO_METRICS
    assert fold(PromptProgress(1, 0, 0)).snapshot().prompt_progress is None


def raw(*reads: bytes, error: ServerError | None = None) -> RawAnswer:
    stamped = [((number + 1) * 20 * MS, data) for number, data in enumerate(reads)]
    return RawAnswer(
        URL, t_send_ns=0, t_headers_ns=1, status=200, reads=stamped, t_end_ns=999 * MS, error=error
    )


def test_raw_reads_decode_to_the_same_answer() -> None:
    answer = decode_reads(
        decoder_for(Engine.OPENAI, URL), raw(sse(delta(content="a")), sse(delta(content="b")), DONE)
    )
    assert answer.error is None
    assert answer.snapshot().text == "ab"
    assert answer.snapshot().started
    trace = answer.trace()
    assert trace is not None
    assert [stamp.t_ns for stamp in trace.stamps] == [20 * MS, 40 * MS]
    assert trace.t_end_ns == 60 * MS


def test_raw_reads_that_break_off_keep_their_text_and_say_why() -> None:
    part = sse(delta(content="a"))
    truncated = decode_reads(decoder_for(Engine.OPENAI, URL), raw(part))
    assert isinstance(truncated.error, TruncatedError)
    told = decode_reads(
        decoder_for(Engine.OPENAI, URL), raw(part + sse({"error": {"message": "x", "code": 503}}))
    )
    assert isinstance(told.error, OverloadedError)
    lost = TruncatedError("lost")
    cut = decode_reads(decoder_for(Engine.OLLAMA, URL), raw(b'{"message":{"content":"a"}}\n', error=lost))
    assert cut.error is lost
    for answer in (truncated, told, cut):
        assert answer.snapshot().text == "a"
        trace = answer.trace()
        assert trace is not None
        assert trace.t_end_ns == 999 * MS


def test_a_connection_lost_after_the_end_marker_harms_nothing() -> None:
    answer = decode_reads(
        decoder_for(Engine.OPENAI, URL), raw(sse(delta(content="a")) + DONE, error=TruncatedError("late"))
    )
    assert answer.error is None


def test_a_request_that_was_never_sent_decodes_to_its_error() -> None:
    refused = OverloadedError("busy")
    answer = decode_reads(decoder_for(Engine.OPENAI, URL), RawAnswer(URL, error=refused))
    assert answer.error is refused
    assert answer.trace() is None


def test_a_last_event_without_its_blank_line_counts() -> None:
    answer = decode_reads(decoder_for(Engine.OPENAI, URL), raw(sse(delta(content="a")) + b"data: [DONE]"))
    assert (answer.error, answer.finished) == (None, True)
