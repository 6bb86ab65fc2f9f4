"""Quantiles and their intervals from exact values. A quantile that n cannot support is None.

Type-7 quantiles (NumPy's "linear"); intervals from exact binomial ranks, free of any distribution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
REPORTED: Final = (0.05, 0.50, 0.90, 0.95, 0.99)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true value lies with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What a set of per-request values says. Field names are the names in JSON.

    Attributes:
        n: Values there were.
        p50_ci: 95 % interval of the median; None with the median, so are the others.
    """

    n: int
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    p5: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p50_ci: Interval | None = None
    p95_ci: Interval | None = None
    p99_ci: Interval | None = None


def min_n(q: float) -> int:
    """Fewest values that give quantile `q` a two-sided 95 % interval: 6 for p50, 72 for p95, 368 for p99.

    The lowest and the highest of n values enclose quantile q unless all lie on one side of it: q**n and
    (1 - q)**n must not exceed 2.5 % each.
    """
    rarest = max(q, 1 - q)
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(rarest))


def quantile(ordered: Sequence[float] | FloatArray, q: float) -> float:
    """Quantile `q` of ascending values, at least one, by linear interpolation between neighbours (type 7)."""
    position = (len(ordered) - 1) * q
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    low, high = float(ordered[below]), float(ordered[above])
    return low + (high - low) * (position - below)


def quantile_ranks(n: int, q: float) -> tuple[int, int] | None:
    """Ranks (from 1) of the two values that enclose quantile `q` with 95 % confidence; None if n is small.

    The lower rank l is the largest with P(B < l) <= 2.5 %, the upper rank u the smallest with
    P(B < u) >= 97.5 %, where B is binomial(n, q): the number of values below the quantile.
    """
    if n < min_n(q):
        return None
    tail = (1 - CONFIDENCE) / 2
    # Rounding in the sums must not move a rank where a tail meets 2.5 % exactly.
    slack = 1e-12
    below = _binomial_cdf(n, q)  # below[k] = P(B <= k)
    low = int(np.searchsorted(below, tail + slack, side="right"))
    high = int(np.searchsorted(below, 1 - tail - slack, side="left")) + 1
    return (low, high) if low >= 1 and high <= n else None


def quantile_interval(ordered: Sequence[float] | FloatArray, q: float) -> Interval | None:
    """95 % interval of quantile `q` of ascending values; None when there are too few."""
    ranks = quantile_ranks(len(ordered), q)
    return None if ranks is None else Interval(float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1]))


def summarise(values: Sequence[float]) -> Summary:
    """Mean, extremes, quantiles and their intervals; every quantile only where n supports it."""
    if not values:
        return Summary(n=0)
    ordered: FloatArray = np.sort(np.asarray(values, dtype=np.float64))
    p5, p50, p90, p95, p99 = (quantile(ordered, q) if ordered.size >= min_n(q) else None for q in REPORTED)
    return Summary(
        n=int(ordered.size),
        mean=float(ordered.mean()),
        min=float(ordered[0]),
        max=float(ordered[-1]),
        p5=p5,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        p50_ci=quantile_interval(ordered, 0.50),
        p95_ci=quantile_interval(ordered, 0.95),
        p99_ci=quantile_interval(ordered, 0.99),
    )


@lru_cache(maxsize=32)
def _binomial_cdf(n: int, q: float) -> FloatArray:
    """P(B <= k) for k = 0..n, in logarithms: the coefficients of a few thousand values overflow a float."""
    k = np.arange(n + 1)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    log_choose = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
    cdf: FloatArray = np.cumsum(np.exp(log_choose + k * math.log(q) + (n - k) * math.log1p(-q)))
    return cdf
