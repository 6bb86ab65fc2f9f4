"""Figures of a level against values worked out by hand."""

import math
from typing import Any

import pytest

from llama_runner.core.trace import NO_METRICS
from llama_runner.stress.level import summarise_level
from llama_runner.stress.records import Outcome, RequestRecord
from tests.unit.stress.values import MS, a_record


def test_throughput_is_all_tokens_over_first_send_to_last_token() -> None:
    level = summarise_level(2, [a_record(0), a_record(1, send_ms=100)])
    # The second request's last token: 100 + 200 + 9 * 20 = 480 ms after the first send.
    assert level.window_s == pytest.approx(0.480)
    assert level.output_tokens == 20
    assert level.output_tps == pytest.approx(20 / 0.480)
    assert level.rps == pytest.approx(2 / 0.480)
    assert level.decode_tps_pooled == pytest.approx(18 / 0.360)
    assert level.mean_in_flight == pytest.approx(2 * 0.380 / 0.480)
    assert level.ttft_s.mean == pytest.approx(0.2)
    assert (level.prompt_tokens, level.cached_tokens, level.cache_hit) == (20, 0, 0.0)
    assert (level.tokens_source, level.tokens_per_event) == ({"usage": 2}, 1.0)


def test_t17_failed_and_aborted_requests_count_exactly_and_stay_out_of_the_latencies() -> None:
    slow: dict[str, Any] = {"first_ms": 9000, "tokens": 3}
    records = [
        *(a_record(i, send_ms=i) for i in range(93)),
        *(a_record(i, outcome=Outcome.FAILED, error_kind="server", tokens=0) for i in range(93, 98)),
        a_record(98, outcome=Outcome.FAILED, error_kind="truncated", **slow),
        a_record(99, outcome=Outcome.FAILED, error_kind="timeout", **slow),
        a_record(100, outcome=Outcome.ABORTED, **slow),
    ]
    level = summarise_level(8, records, lost=2)
    assert (level.requests.sent, level.requests.ok, level.requests.failed, level.requests.aborted) == (
        103,
        93,
        7,
        3,
    )
    assert level.errors == {"server": 5, "timeout": 1, "truncated": 1}
    assert level.error_rate == pytest.approx(7 / 103)
    assert level.ttft_s.n == 93
    assert level.ttft_s.max == pytest.approx(0.2)
    # Tokens that arrived are throughput all the same.
    assert level.output_tokens == 93 * 10 + 3 * 3


def test_without_any_token_there_is_no_throughput_and_no_zero() -> None:
    record = RequestRecord(0, 0, Outcome.FAILED, 0, 5 * MS, metrics=NO_METRICS, error_kind="unreachable")
    level = summarise_level(1, [record])
    unknown = (level.output_tps, level.window_s, level.rps, level.mean_in_flight, level.decode_tps_pooled)
    assert unknown == (None,) * 5
    assert (level.cache_hit, level.tokens_per_event, level.stall_max_s) == (None, None, None)
    assert level.ttft_s.n == 0


def test_nothing_sent_gives_an_empty_level() -> None:
    level = summarise_level(4, [])
    assert level.requests.sent == 0 and level.error_rate is None


def test_every_figure_is_finite() -> None:
    level = summarise_level(1, [a_record(tokens=1), a_record(1, tokens=1)])
    assert level.tpot_s.n == 0
    assert level.output_tps is not None and math.isfinite(level.output_tps)
