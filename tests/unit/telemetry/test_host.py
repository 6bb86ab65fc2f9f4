"""Host readings: the arithmetic on recorded counters, and real readings beside psutil's own."""

from collections import namedtuple
from collections.abc import Callable

import psutil
import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.telemetry.host import (
    Counters,
    CpuTime,
    HostSampler,
    busy_pct,
    cpu_time,
    host_rates,
    is_loopback_name,
    per_second,
)

LinuxTimes = namedtuple("LinuxTimes", "user nice system idle iowait irq softirq steal guest guest_nice")
WindowsTimes = namedtuple("WindowsTimes", "user system idle interrupt dpc")
SECOND_NS = 1_000_000_000


def test_waiting_for_a_disk_and_guest_time_counted_twice_are_not_busy() -> None:
    times = LinuxTimes(10, 1, 5, 80, 4, 0, 0, 0, 3, 1)
    assert cpu_time(times) == CpuTime(busy_s=16, total_s=100)


def test_windows_times_have_no_waiting_and_no_guests() -> None:
    assert cpu_time(WindowsTimes(10, 5, 80, 1, 1)) == CpuTime(busy_s=17, total_s=97)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (CpuTime(1, 10), CpuTime(2, 12), 50.0),
        (CpuTime(1, 10), CpuTime(1, 10), None),  # no tick between the two
        (CpuTime(5, 10), CpuTime(4.9, 12), 0.0),  # a counter that stepped back by a tick
        (CpuTime(1, 10), CpuTime(3.5, 12), 100.0),
    ],
)
def test_busy_share_is_between_0_and_100_and_unknown_without_time(
    before: CpuTime, after: CpuTime, expected: float | None
) -> None:
    assert busy_pct(before, after) == expected


def test_a_counter_that_was_reset_gives_an_unknown_rate_and_not_a_negative_one() -> None:
    assert per_second(100, 300, 2.0) == 100.0
    assert per_second(300, 100, 2.0) is None
    assert per_second(100, 300, 0.0) is None


def test_total_processor_use_weighs_every_core() -> None:
    before = Counters(0, cores=(CpuTime(0, 0), CpuTime(0, 0)), disk=(0, 0), net=(0, 0))
    after = Counters(2 * SECOND_NS, cores=(CpuTime(2, 2), CpuTime(0, 2)), disk=(4096, 0), net=(10, 20))
    assert host_rates(before, after) == {
        "cpu_per_core_pct": (100.0, 0.0),
        "cpu_pct": 50.0,
        "disk_read_bps": 2048.0,
        "disk_write_bps": 0.0,
        "net_recv_bps": 5.0,
        "net_sent_bps": 10.0,
    }


def test_missing_counters_and_a_changed_number_of_cores_leave_rates_unknown() -> None:
    before = Counters(0, cores=(CpuTime(0, 0),))
    after = Counters(SECOND_NS, cores=(CpuTime(1, 1), CpuTime(1, 1)), disk=(1, 1))
    assert host_rates(before, after) == {}


@pytest.mark.parametrize("name", ["lo", "lo0", "Loopback Pseudo-Interface 1"])
def test_loopback_is_recognised_on_every_system(name: str) -> None:
    assert is_loopback_name(name)


@pytest.mark.parametrize("name", ["eth0", "Ethernet", "LogicalWifi", "wlo1"])
def test_other_interfaces_are_not_loopback(name: str) -> None:
    assert not is_loopback_name(name)


def test_the_first_reading_knows_memory_but_no_rates() -> None:
    reading = HostSampler().read(0)
    assert reading.cpu_pct is None and reading.cpu_per_core_pct == () and reading.disk_read_bps is None
    assert reading.ram_total_bytes == psutil.virtual_memory().total


def test_readings_agree_with_psutil_read_directly() -> None:
    clock, sampler = SystemClock(), HostSampler()
    sampler.read(clock.now_ns())
    before_s = sum(psutil.cpu_times()[:4])
    while sum(psutil.cpu_times()[:4]) - before_s < 0.1:  # let the kernel's 10 ms ticks advance
        pass
    reading = sampler.read(clock.now_ns())
    memory = psutil.virtual_memory()
    assert reading.ram_used_bytes == pytest.approx(memory.total - memory.available, abs=256 * 1024**2)
    assert reading.swap_total_bytes == psutil.swap_memory().total
    assert len(reading.cpu_per_core_pct) == psutil.cpu_count()
    # This test itself kept one core busy.
    assert reading.cpu_pct is not None and 10 < reading.cpu_pct <= 100
    assert reading.net_recv_bps is None or reading.net_recv_bps >= 0


@pytest.mark.parametrize("source", ["virtual_memory", "swap_memory", "cpu_times", "net_io_counters"])
@pytest.mark.parametrize("error", [psutil.AccessDenied(1), OSError("no /proc"), RuntimeError("no counters")])
def test_a_source_that_fails_becomes_unknown_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch, source: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    replace: Callable[[object, str, object], None] = monkeypatch.setattr
    replace(psutil, source, fail)
    sampler = HostSampler()
    sampler.read(0)
    reading = sampler.read(SECOND_NS)
    assert (reading.ram_total_bytes is None) == (source == "virtual_memory")
    assert (reading.swap_total_bytes is None) == (source == "swap_memory")
    assert (reading.cpu_per_core_pct == ()) == (source == "cpu_times")
