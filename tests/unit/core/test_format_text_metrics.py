import dataclasses
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core import format as f
from llama_runner.core import trace
from llama_runner.core.metrics import METRICS
from llama_runner.core.text import cut, visible_controls


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
        (0, "0"),
        (0.01234, "0.0123"),
        (1.234, "1.23"),
        (9.996, "10.0"),
        (48.26, "48.3"),
        (999.6, "1,000"),
        (1234.4, "1,234"),
        (-0.5, "-0.500"),
        (1e-300, "1.00e-300"),
        (1.797e308, "1.80e+308"),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert f.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0, "0 ms"),
        (0.0000831, "83.1 µs"),
        (0.0009996, "1.00 ms"),
        (0.212, "212 ms"),
        (0.9996, "1.00 s"),
        (1.234, "1.23 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (-2.5, "-2.50 s"),
    ],
)
def test_durations_choose_their_unit(value: float | None, text: str) -> None:
    assert f.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.inf, "–"),
        (0, "0 B"),
        (512, "512 B"),
        (1023.6, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (1048575, "1.00 MiB"),
        (1.5 * 2**30, "1.50 GiB"),
        (2**60, "1,024 PiB"),
    ],
)
def test_sizes_are_binary(value: float | None, text: str) -> None:
    assert f.size(value) == text


def test_units_follow_a_known_number_only() -> None:
    assert f.rate(48.26) == "48.3 tok/s"
    assert f.rate(2.0, "req/s") == "2.00 req/s"
    assert f.quantity(61.2, "°C") == "61.2 °C"
    assert f.percent(12.34) == "12.3 %"
    assert f.size_rate(1.5 * 2**20) == "1.50 MiB/s"
    assert f.count(1234567) == "1,234,567"
    assert {f.rate(None), f.percent(None), f.size_rate(None), f.count(None), f.moment(None)} == {f.UNKNOWN}


def test_moments_are_shown_in_utc() -> None:
    assert f.moment(datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)) == "2026-01-31 12:00:05 UTC"
    east = timezone(timedelta(hours=2))
    assert f.moment(datetime(2026, 1, 31, 12, 0, 5, tzinfo=east)) == "2026-01-31 10:00:05 UTC"


@pytest.mark.parametrize(
    ("passed_s", "text"),
    [
        (-5, "now"),
        (0.4, "now"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3 * 3600, "3 h ago"),
        (86_400, "1 day ago"),
        (12 * 86_400 + 5, "12 days ago"),
    ],
)
def test_how_long_ago_something_was_is_told_roughly(passed_s: float, text: str) -> None:
    now = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)

    assert f.ago(now - timedelta(seconds=passed_s), now) == text
    assert f.ago(None, now) == f.UNKNOWN


@given(st.floats(allow_nan=True, allow_infinity=True) | st.none())
def test_any_number_can_be_printed(value: float | None) -> None:
    assert all(show(value) for show in (f.number, f.seconds, f.size, f.percent))


def test_d7_hostile_names_become_one_visible_line() -> None:
    name = "a\u202eb\x1b[31m\r\n\x00\x85\ud800\u200d\u2028\u3164"
    shown = visible_controls(name)
    assert shown == "a⟨U+202E⟩b␛[31m␍␊␀⟨U+0085⟩⟨U+D800⟩⟨U+200D⟩⟨U+2028⟩⟨U+3164⟩"
    assert shown.isprintable()


def test_d7_a_name_of_a_megabyte_is_cut_with_an_ellipsis() -> None:
    assert visible_controls("x" * 1_000_000) == "x" * 255 + "…"
    assert visible_controls("x" * 256) == "x" * 256
    # Making controls visible lengthens a name that fitted before.
    assert visible_controls("\u202e" * 200, limit=20) == "⟨U+202E⟩⟨U+202E⟩⟨U+…"


def test_u7_piled_up_marks_are_thinned_out() -> None:
    assert visible_controls("e" + "\u0301" * 100 + "x") == "e" + "\u0301" * 4 + "x"


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("SmolLM2 135M — Q8_0", "通义千问", "Größe 😀", "<b>&amp;%s{}</b>"):
        assert visible_controls(name) == name


@given(st.text(alphabet=st.characters(), max_size=400), st.integers(1, 300))
def test_visible_text_is_short_encodable_and_on_one_line(text: str, limit: int) -> None:
    shown = visible_controls(text, limit)
    assert len(shown) <= limit
    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) <= 1


def test_cutting_keeps_short_texts_and_survives_a_limit_of_nothing() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
    assert cut("abc", 0) == "…"


def test_every_figure_of_a_request_is_a_registered_metric() -> None:
    names = {field.name for field in dataclasses.fields(trace.RequestMetrics)}
    assert names <= set(METRICS)


def test_every_function_that_computes_a_figure_is_registered_under_its_name() -> None:
    for name in ("queue_delay_s", "ttft_user_s", "e2e_user_s", "tail_s", "e2e_tps", "decode_tps_pooled"):
        assert name in METRICS and callable(getattr(trace, name))
    for name in ("stall_max_s", "stalls", "prefill_tps", "cache_hit"):
        assert name in METRICS and callable(getattr(trace, name))


def test_metrics_are_complete_and_keyed_by_their_own_name() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.title and metric.formula and metric.help.endswith(".")
        assert not name.endswith("_s") or metric.unit == "s"
        assert not name.endswith("_tps") or metric.unit == "tok/s"
