"""T20: quantiles against NumPy, ranks against exact binomial sums, nothing claimed below its threshold."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.stress.statistics import (
    Interval,
    Summary,
    min_n,
    quantile,
    quantile_interval,
    quantile_ranks,
    summarise,
)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.floats(0, 1))
def test_quantiles_equal_numpys_linear_ones(values: list[float], q: float) -> None:
    assert quantile(sorted(values), q) == pytest.approx(float(np.quantile(values, q)), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize(
    ("q", "n"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.999, 3688), (0.05, 72), (0.1, 36)]
)
def test_fewest_values_per_quantile_are_those_of_the_literature(q: float, n: int) -> None:
    assert min_n(q) == n
    assert quantile_ranks(n - 1, q) is None
    low, high = quantile_ranks(n, q) or (0, 0)
    # At the threshold the interval just reaches the outermost value on the rarer side.
    assert high == n if q >= 0.5 else low == 1


def exact_ranks(n: int, q: Fraction) -> tuple[int, int] | None:
    """The definition, in exact fractions: slow and beyond doubt."""
    tail = Fraction(25, 1000)
    below = [Fraction(0)]  # below[k] = P(B < k)
    for k in range(n + 1):
        below.append(below[-1] + comb(n, k) * q**k * (1 - q) ** (n - k))
    low = max((k for k in range(1, n + 1) if below[k] <= tail), default=0)
    high = min((k for k in range(1, n + 1) if below[k] >= 1 - tail), default=n + 1)
    return (low, high) if low >= 1 and high <= n else None


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 10, 32, 71, 72, 73, 100, 367, 368, 400])
@pytest.mark.parametrize("q", [Fraction(percent, 100) for percent in (5, 50, 90, 95, 99)])
def test_ranks_equal_exact_binomial_ones(n: int, q: Fraction) -> None:
    assert quantile_ranks(n, float(q)) == exact_ranks(n, q)


def test_ranks_of_many_values_do_not_overflow() -> None:
    low, high = quantile_ranks(100_000, 0.5) or (0, 0)
    # The normal approximation is good to a rank at this size.
    assert abs(low - (50_000 - 1.96 * 0.5 * 100_000**0.5)) <= 2
    assert abs(high - (50_001 + 1.96 * 0.5 * 100_000**0.5)) <= 2


@pytest.mark.parametrize(
    ("n", "supported"),
    [
        (1, set()),
        (2, set()),
        (6, {"p50"}),
        (71, {"p50", "p90"}),
        (72, {"p5", "p50", "p90", "p95"}),
        (367, {"p5", "p50", "p90", "p95"}),
        (368, {"p5", "p50", "p90", "p95", "p99"}),
    ],
)
def test_a_summary_claims_only_what_n_supports(n: int, supported: set[str]) -> None:
    summary = summarise([float(i) for i in range(n)])
    shown = {name for name in ("p5", "p50", "p90", "p95", "p99") if getattr(summary, name) is not None}
    assert shown == supported
    assert summary.n == n and summary.mean == pytest.approx((n - 1) / 2)
    for name in ("p50", "p95", "p99"):
        assert (getattr(summary, f"{name}_ci") is not None) == (name in supported)


def test_no_values_give_an_empty_summary() -> None:
    assert summarise([]) == Summary(n=0)


def test_the_interval_of_a_median_holds_the_values_at_its_ranks() -> None:
    assert quantile_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.5) == Interval(1.0, 6.0)
    assert quantile_interval([1.0, 2.0], 0.5) is None


def test_intervals_cover_the_true_median_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(2000):
        interval = quantile_interval(np.sort(rng.lognormal(size=60)), 0.5)
        assert interval is not None
        covered += interval.low <= 1.0 <= interval.high
    assert 0.93 <= covered / 2000 <= 0.985
