"""The last so many samples as columns. One thread writes, others read; unknown is NaN only here."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# A pause this many intervals long is a gap in the data: charts must not draw a line across it.
GAP_INTERVALS: Final = 2.5


@dataclass(frozen=True, slots=True)
class Series:
    """One column over time.

    Attributes:
        t_s: Shape (n,), float64, seconds since the collector started.
        values: Shape (n,), float64, NaN where missing.
    """

    t_s: FloatArray
    values: FloatArray


class RingBuffer:
    """Keeps the newest rows; columns appear when they are first written.

    Args:
        capacity: Rows kept.
        interval_s: The usual time between rows; after a much longer one a row of NaN marks the gap.
    """

    def __init__(self, capacity: int, interval_s: float) -> None:
        self._lock = threading.Lock()
        self._capacity = capacity
        self._gap_s = GAP_INTERVALS * interval_s
        self._interval_s = interval_s
        self._t_s: FloatArray = np.full(capacity, np.nan)
        self._columns: dict[str, FloatArray] = {}
        self._written = 0

    def append(self, t_s: float, row: Mapping[str, float | None]) -> None:
        """Write one row; a column that `row` lacks becomes NaN."""
        with self._lock:
            if self._written and t_s - self._last_t_s() > self._gap_s:
                self._write(self._last_t_s() + self._interval_s, {})
            self._write(t_s, row)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns ever written, in order of appearance."""
        with self._lock:
            return tuple(self._columns)

    def series(self, name: str) -> Series:
        """A copy of one column, oldest first; an unknown name gives NaN throughout."""
        with self._lock:
            order = self._order()
            column = self._columns.get(name)
            values = np.full(order.size, np.nan) if column is None else column[order]
            return Series(self._t_s[order], values)

    def _last_t_s(self) -> float:
        return float(self._t_s[(self._written - 1) % self._capacity])

    def _write(self, t_s: float, row: Mapping[str, float | None]) -> None:
        at = self._written % self._capacity
        for name in row:
            if name not in self._columns:
                self._columns[name] = np.full(self._capacity, np.nan)
        self._t_s[at] = t_s
        for name, column in self._columns.items():
            value = row.get(name)
            column[at] = np.nan if value is None else value
        self._written += 1

    def _order(self) -> NDArray[np.intp]:
        n = min(self._written, self._capacity)
        return (np.arange(n, dtype=np.intp) + (self._written - n)) % self._capacity
