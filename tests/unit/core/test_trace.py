from collections.abc import Sequence

import pytest

from llama_runner.core import trace as t
from llama_runner.core.trace import RequestTrace, ServerTimings, TokenKind, TokensSource, TokenStamp, Usage

MS = 1_000_000
SEND = 10_000 * MS


def stamps(
    times_ms: Sequence[float], counts: Sequence[int | None] | None = None, kind: TokenKind = TokenKind.TEXT
) -> tuple[TokenStamp, ...]:
    counts = counts or [None] * len(times_ms)
    return tuple(TokenStamp(SEND + round(at * MS), kind, n) for at, n in zip(times_ms, counts, strict=True))


EVERY_20_MS = [200 + 20 * i for i in range(101)]


def test_a_regular_stream_gives_its_plan() -> None:
    trace = RequestTrace(
        SEND,
        stamps(EVERY_20_MS),
        t_end_ns=SEND + 2250 * MS,
        usage=Usage(prompt_tokens=7, output_tokens=101, reasoning_tokens=0, cached_tokens=3),
    )
    metrics = t.request_metrics(trace)
    assert metrics.ttft_s == metrics.ttfat_s == pytest.approx(0.2)
    assert metrics.e2e_s == pytest.approx(2.2)
    assert metrics.tpot_s == pytest.approx(0.02)
    assert metrics.decode_tps == pytest.approx(50)
    assert (metrics.prompt_tokens, metrics.cached_tokens, metrics.output_tokens) == (7, 3, 101)
    assert metrics.reasoning_tokens == 0
    assert metrics.tokens_source is TokensSource.USAGE
    assert t.tail_s(trace) == pytest.approx(0.05)
    assert t.e2e_tps(trace) == pytest.approx(101 / 2.2)


def test_a_trace_without_tokens_has_no_figures() -> None:
    empty = RequestTrace(SEND, t_end_ns=SEND + 1)
    assert t.request_metrics(empty) == t.NO_METRICS
    assert t.tail_s(empty) is None
    assert t.e2e_tps(empty) is None
    assert t.stall_max_s(empty) is None
    assert t.stalls(empty) is None
    assert t.decode_tps_pooled([empty]) is None


def test_usage_without_a_single_token_event_gives_a_count_but_no_speed() -> None:
    metrics = t.request_metrics(RequestTrace(SEND, usage=Usage(output_tokens=9)))
    assert (metrics.output_tokens, metrics.tokens_source) == (9, TokensSource.USAGE)
    assert metrics.tpot_s is metrics.decode_tps is metrics.e2e_s is None


def test_reasoning_sets_ttft_and_the_answer_has_a_figure_of_its_own() -> None:
    thinking = stamps([100, 150], kind=TokenKind.REASONING)
    trace = RequestTrace(SEND, thinking + stamps([400, 450]))
    assert t.ttft_s(trace) == pytest.approx(0.1)
    assert t.ttfat_s(trace) == pytest.approx(0.4)
    assert t.ttfat_s(RequestTrace(SEND, thinking)) is None


def test_a_first_event_of_several_tokens_does_not_speed_up_decoding() -> None:
    """T4: four tokens at 200 ms, then three every 60 ms."""
    times = [200 + 60 * i for i in range(33)]
    counts = [4 + 3 * i for i in range(33)]
    trace = RequestTrace(SEND, stamps(times, counts), usage=Usage(output_tokens=100))
    assert t.output_tokens(trace) == (100, TokensSource.CHUNK_USAGE)
    assert t.tpot_s(trace) == pytest.approx(0.02)
    gaps = t.inter_token_s(trace)
    assert [weight for _, weight in gaps] == [3] * 32
    assert [gap for gap, _ in gaps] == pytest.approx([0.02] * 32)


def test_an_end_token_that_no_event_carried_counts_but_takes_no_time() -> None:
    trace = RequestTrace(SEND, stamps(EVERY_20_MS, range(1, 102)), usage=Usage(output_tokens=102))
    assert t.output_tokens(trace) == (102, TokensSource.CHUNK_USAGE)
    assert t.tpot_s(trace) == pytest.approx(0.02)


def test_a_final_usage_below_the_events_own_count_is_not_believed() -> None:
    trace = RequestTrace(SEND, stamps([1, 2], [5, 9]), usage=Usage(output_tokens=2))
    assert t.output_tokens(trace) == (9, TokensSource.CHUNK_USAGE)


def test_counts_in_some_events_only_still_give_the_total() -> None:
    trace = RequestTrace(SEND, stamps([0, 20, 40, 60], [2, None, 8, None]))
    assert t.output_tokens(trace) == (8, TokensSource.CHUNK_USAGE)
    assert t.tpot_s(trace) == pytest.approx(0.01)
    assert t.inter_token_s(trace) == ()


def test_events_between_which_the_count_stood_still_have_no_gap_per_token() -> None:
    assert t.inter_token_s(RequestTrace(SEND, stamps([0, 20], [3, 3]))) == ()


def test_without_any_count_chunks_are_counted_and_named_so() -> None:
    trace = RequestTrace(SEND, stamps([0, 20, 40]), usage=Usage(prompt_tokens=5))
    assert t.output_tokens(trace) == (3, TokensSource.CHUNKS)


def test_too_few_steps_or_all_at_once_give_no_decode_speed() -> None:
    assert t.decode_steps(RequestTrace(SEND, stamps([0, 20, 40, 60]))) is None
    assert t.decode_steps(RequestTrace(SEND, stamps([0, 20, 40, 60, 80]))) == 4
    assert t.decode_steps(RequestTrace(SEND, stamps([5]), usage=Usage(output_tokens=50))) is None


def test_hidden_reasoning_makes_decode_speed_unknown_and_streamed_reasoning_does_not() -> None:
    """T6: thousands of counted tokens that never came over the wire."""
    usage = Usage(output_tokens=500, reasoning_tokens=400)
    hidden = RequestTrace(SEND, stamps(EVERY_20_MS), usage=usage)
    shown = RequestTrace(SEND, stamps(EVERY_20_MS, kind=TokenKind.REASONING), usage=usage)
    assert t.has_hidden_reasoning(hidden) and t.tpot_s(hidden) is None
    assert not t.has_hidden_reasoning(shown) and t.tpot_s(shown) is not None
    assert not t.has_hidden_reasoning(RequestTrace(SEND))


def test_pooled_decode_speed_weighs_long_answers_more() -> None:
    long = RequestTrace(SEND, stamps([10 * i for i in range(101)]))
    short = RequestTrace(SEND, stamps([100 * i for i in range(11)]))
    assert t.decode_tps_pooled([long, short, RequestTrace(SEND)]) == pytest.approx(110 / 2)


def test_planned_arrivals_count_the_wait_before_sending() -> None:
    """T10: the user waits from the planned moment on."""
    trace = RequestTrace(SEND, stamps([200, 300]), t_sched_ns=SEND - 500 * MS)
    assert t.queue_delay_s(trace) == pytest.approx(0.5)
    assert t.ttft_user_s(trace) == pytest.approx(0.7)
    assert t.e2e_user_s(trace) == pytest.approx(0.8)
    closed_loop = RequestTrace(SEND, stamps([200]))
    assert t.queue_delay_s(closed_loop) is t.ttft_user_s(closed_loop) is t.e2e_user_s(closed_loop) is None
    assert t.tail_s(closed_loop) is None


def test_stalls_are_gaps_far_beyond_the_usual_one() -> None:
    trace = RequestTrace(SEND, stamps([0, 20, 40, 60, 500, 520, 760]))
    assert t.inter_chunk_s(trace) == pytest.approx([0.02, 0.02, 0.02, 0.44, 0.02, 0.24])
    assert t.stall_max_s(trace) == pytest.approx(0.44)
    assert t.stalls(trace) == 1


def test_a_slow_but_even_stream_has_no_stalls() -> None:
    assert t.stalls(RequestTrace(SEND, stamps([0, 400, 800, 1200]))) == 0


def test_prefill_speed_is_the_servers_own_or_unknown() -> None:
    def with_timings(timings: ServerTimings | None) -> float | None:
        return t.prefill_tps(RequestTrace(SEND, server_timings=timings))

    assert with_timings(ServerTimings(prompt_tokens=100, prompt_s=0.5)) == 200
    assert with_timings(ServerTimings(prompt_tokens=100)) is None
    assert with_timings(ServerTimings(prompt_tokens=0, prompt_s=0.5)) is None
    assert with_timings(None) is None


def test_the_cache_hit_rate_uses_only_requests_that_report_both_counts() -> None:
    traces = [
        RequestTrace(SEND, usage=Usage(prompt_tokens=100, cached_tokens=50)),
        RequestTrace(SEND, usage=Usage(prompt_tokens=300, cached_tokens=0)),
        RequestTrace(SEND, usage=Usage(prompt_tokens=900)),
        RequestTrace(SEND, usage=Usage(cached_tokens=900)),
        RequestTrace(SEND),
    ]
    assert t.cache_hit(traces) == 0.125
    assert t.cache_hit([]) is None


@pytest.mark.parametrize(
    ("counts", "usage", "tokenized", "expected"),
    [
        ([2, 5], Usage(output_tokens=6), 9, (6, TokensSource.CHUNK_USAGE)),
        ([None, None], Usage(output_tokens=6), 9, (6, TokensSource.USAGE)),
        ([None, None], Usage(prompt_tokens=3), 9, (9, TokensSource.SERVER_TOKENIZER)),
        ([None, None], None, None, (2, TokensSource.CHUNKS)),
    ],
)
def test_the_best_count_there_is_is_taken(
    counts: list[int | None],
    usage: Usage | None,
    tokenized: int | None,
    expected: tuple[int, TokensSource],
) -> None:
    """Measurement A4: the ladder, best first, and the source is kept."""
    trace = RequestTrace(SEND, stamps([100, 200], counts), usage=usage, tokenized=tokenized)
    assert t.output_tokens(trace) == expected


def test_a_tokenizers_count_gives_a_speed_too() -> None:
    trace = RequestTrace(SEND, stamps([100, 200]), tokenized=11)
    assert t.request_metrics(trace).decode_tps == pytest.approx(100)


def test_a_count_of_nothing_that_came_is_no_count() -> None:
    assert t.output_tokens(RequestTrace(SEND, tokenized=3)) == (None, None)
