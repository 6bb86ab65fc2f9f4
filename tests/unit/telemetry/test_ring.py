"""The ring buffer: order, gaps, unknown values, columns that appear late."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.telemetry.ring import RingBuffer


def test_unknown_values_and_unknown_names_are_nan() -> None:
    ring = RingBuffer(capacity=4, interval_s=1.0)
    ring.append(0.0, {"a": 1.0, "b": None})
    assert ring.series("a").values.tolist() == [1.0]
    assert np.isnan(ring.series("b").values).tolist() == [True]
    assert np.isnan(ring.series("never written").values).tolist() == [True]


def test_a_column_that_appears_late_is_nan_before() -> None:
    ring = RingBuffer(capacity=4, interval_s=1.0)
    ring.append(0.0, {"a": 1.0})
    ring.append(1.0, {"a": 2.0, "gpu_0_util_pct": 50.0})
    ring.append(2.0, {"a": 3.0})
    np.testing.assert_array_equal(ring.series("gpu_0_util_pct").values, [np.nan, 50.0, np.nan])
    assert ring.names == ("a", "gpu_0_util_pct")


def test_a_pause_leaves_one_row_of_nan_so_that_no_line_crosses_it() -> None:
    ring = RingBuffer(capacity=8, interval_s=1.0)
    ring.append(0.0, {"a": 1.0})
    ring.append(60.0, {"a": 2.0})
    series = ring.series("a")
    np.testing.assert_array_equal(series.t_s, [0.0, 1.0, 60.0])
    np.testing.assert_array_equal(series.values, [1.0, np.nan, 2.0])


def test_a_late_tick_is_not_a_pause() -> None:
    ring = RingBuffer(capacity=8, interval_s=1.0)
    ring.append(0.0, {"a": 1.0})
    ring.append(2.4, {"a": 2.0})
    assert ring.series("a").t_s.tolist() == [0.0, 2.4]


def test_an_empty_ring_gives_empty_series() -> None:
    series = RingBuffer(capacity=8, interval_s=1.0).series("a")
    assert series.t_s.shape == series.values.shape == (0,)


def test_what_a_reader_holds_does_not_change_when_more_is_written() -> None:
    ring = RingBuffer(capacity=2, interval_s=1.0)
    ring.append(0.0, {"a": 1.0})
    held = ring.series("a")
    ring.append(1.0, {"a": 2.0})
    ring.append(2.0, {"a": 3.0})
    assert held.values.tolist() == [1.0]


@given(st.integers(2, 20), st.lists(st.floats(-1e9, 1e9), max_size=60))
def test_the_newest_rows_are_kept_in_order(capacity: int, values: list[float]) -> None:
    ring = RingBuffer(capacity=capacity, interval_s=1.0)
    for i, value in enumerate(values):
        ring.append(float(i), {"a": value})
    assert ring.series("a").values.tolist() == values[-capacity:]
    assert ring.series("a").t_s.tolist() == [float(i) for i in range(len(values))][-capacity:]
