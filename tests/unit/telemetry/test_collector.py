"""The sampling thread: deadlines, history, survival of bad readings, a clean end."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from llama_runner.telemetry import collector as collector_module
from llama_runner.telemetry.collector import TelemetryCollector
from llama_runner.telemetry.sample import GpuSample, HostReading, flatten, to_json

INTERVAL_S = 0.02


class SteadyHost:
    """A host that counts how often it was read and may be slow or failing at chosen reads."""

    def __init__(self, *, slow_at: int = -1, slow_s: float = 0.0, fail_at: int = -1) -> None:
        self.stamps_ns: list[int] = []
        self._slow_at, self._slow_s, self._fail_at = slow_at, slow_s, fail_at

    def read(self, t_ns: int) -> HostReading:
        self.stamps_ns.append(t_ns)
        if len(self.stamps_ns) == self._slow_at:
            threading.Event().wait(self._slow_s)
        if len(self.stamps_ns) == self._fail_at:
            raise ZeroDivisionError("a sensor gone mad")
        return HostReading(cpu_pct=float(len(self.stamps_ns)), cpu_per_core_pct=(1.0, None))


class OneGpu:
    """A card that is there until closed."""

    note: str | None = None
    closed = False

    def read(self) -> tuple[GpuSample, ...]:
        return (GpuSample(id="GPU-1", name="Card", util_pct=7.0, throttle_reasons=("power cap",)),)

    def close(self) -> None:
        self.closed = True


@contextmanager
def collecting(host: SteadyHost, gpus: OneGpu | None = None) -> Iterator[TelemetryCollector]:
    collector = TelemetryCollector(INTERVAL_S, 60.0, host=host, gpus=gpus or OneGpu())
    collector.start()
    try:
        yield collector
    finally:
        collector.close()


def wait_for(collector: TelemetryCollector, revision: int) -> None:
    while collector.revision < revision:
        assert collector.wait_newer(collector.revision, 5.0) > 0


def test_deadlines_do_not_drift() -> None:
    host = SteadyHost()
    with collecting(host) as collector:
        wait_for(collector, 60)
    late_s = (np.array(host.stamps_ns) - host.stamps_ns[0]) / 1e9 % INTERVAL_S
    # A tick may be late by what waking a thread takes; lateness must not add up over 60 ticks.
    assert np.median(late_s[-20:]) < INTERVAL_S / 2
    ticks = np.round((host.stamps_ns[-1] - host.stamps_ns[0]) / 1e9 / INTERVAL_S)
    assert ticks == len(host.stamps_ns) - 1 + collector.missed_ticks


def test_a_slow_reading_skips_ticks_instead_of_catching_up_and_leaves_a_gap() -> None:
    host = SteadyHost(slow_at=3, slow_s=8.5 * INTERVAL_S)
    with collecting(host) as collector:
        wait_for(collector, 6)
        series = collector.series("cpu_pct")
    assert collector.missed_ticks >= 8
    assert np.isnan(series.values).sum() == 1
    assert min(np.diff(np.array(host.stamps_ns))) > 0.2 * INTERVAL_S * 1e9


def test_a_reading_that_raises_is_logged_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), collecting(SteadyHost(fail_at=2)) as collector:
        wait_for(collector, 3)
    assert "sampling failed" in caplog.text


def test_series_and_latest_hold_host_and_cards_under_flat_names() -> None:
    with collecting(SteadyHost()) as collector:
        wait_for(collector, 2)
        sample = collector.latest
        assert sample is not None
        assert set(collector.names) == set(flatten(sample))
        assert collector.series("gpu_0_util_pct").values[0] == 7.0
        assert np.isnan(collector.series("cpu_core_1_pct").values).all()
        document = to_json(sample)
    assert document["gpus"] == [
        {
            "id": "GPU-1",
            "name": "Card",
            "util_pct": 7.0,
            "memory_util_pct": None,
            "vram_used_bytes": None,
            "vram_total_bytes": None,
            "power_w": None,
            "power_limit_w": None,
            "temperature_c": None,
            "fan_pct": None,
            "clock_mhz": None,
            "memory_clock_mhz": None,
            "throttle_reasons": ["power cap"],
        }
    ]
    assert document["time"] == sample.time_utc.isoformat(timespec="milliseconds")
    assert sample.time_utc.utcoffset() is not None


def test_closing_ends_the_thread_lets_go_of_the_cards_and_wakes_who_waits() -> None:
    gpus = OneGpu()
    collector = TelemetryCollector(3600.0, 7200.0, host=SteadyHost(), gpus=gpus)
    collector.start()
    collector.start()
    assert collector.wait_newer(0, 5.0) == 1
    waiter = threading.Thread(target=collector.wait_newer, args=(1, 30.0))
    waiter.start()
    collector.close()
    waiter.join(5.0)
    assert not waiter.is_alive() and gpus.closed
    collector.close()
    assert "telemetry" not in {thread.name for thread in threading.enumerate()}


def test_nobody_waits_longer_than_asked() -> None:
    collector = TelemetryCollector(1.0, 60.0, host=SteadyHost(), gpus=OneGpu())
    assert collector.wait_newer(0, 0.01) == 0
    collector.close()
    collector.start()
    assert collector.revision == 0


def test_a_real_machine_gives_plausible_figures_and_says_why_there_is_no_card() -> None:
    collector = TelemetryCollector(0.1, 10.0)
    collector.start()
    try:
        wait_for(collector, 3)
        sample = collector.latest
        assert sample is not None and sample.cpu_pct is not None and 0 <= sample.cpu_pct <= 100
        assert sample.ram_used_bytes and sample.ram_total_bytes
        assert sample.ram_used_bytes < sample.ram_total_bytes
        assert bool(sample.gpus) == (collector.gpu_note is None)
    finally:
        collector.close()


def test_a_driver_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: nobody can take a thread out of a call that does not return."""
    monkeypatch.setattr(collector_module, "CLOSE_LIMIT_S", 0.1)
    reading, released = threading.Event(), threading.Event()

    class HangingHost(SteadyHost):
        def read(self, t_ns: int) -> HostReading:
            reading.set()
            released.wait(10)
            return super().read(t_ns)

    collector = TelemetryCollector(INTERVAL_S, 60.0, host=HangingHost(), gpus=OneGpu())
    collector.start()
    assert reading.wait(5)
    collector.close()
    assert not released.is_set()
    released.set()
