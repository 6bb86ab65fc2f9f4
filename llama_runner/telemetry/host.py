"""Processor, memory, disk and network through psutil. A source that fails becomes None, never an error.

Keeps its own counters: psutil's own "since last call" state is shared by every caller in the process.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import psutil

from llama_runner.telemetry.sample import HostReading

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of one core since it started: at work, and altogether."""

    busy_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Counters:
    """Running totals of one moment, from which rates follow. None where the system does not tell."""

    t_ns: int
    cores: tuple[CpuTime, ...] | None = None
    disk: tuple[int, int] | None = None
    net: tuple[int, int] | None = None


class HostSource(Protocol):
    """What a collector asks about the host."""

    def read(self, t_ns: int) -> HostReading:
        """The host now; rates cover the time since the call before, None on the first."""
        ...


def cpu_time(times: Any) -> CpuTime:
    """Busy and total seconds of a psutil times tuple, by psutil's own rule."""
    # Linux counts guests into user and nice already.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return CpuTime(busy_s=total - times.idle - getattr(times, "iowait", 0.0), total_s=total)


def busy_pct(before: CpuTime, after: CpuTime) -> float | None:
    """Share of the time between two readings spent at work, in percent; None when no time passed."""
    elapsed_s = after.total_s - before.total_s
    if elapsed_s <= 0:
        return None
    # Counters tick in hundredths of a second: what is finer is dust of their subtraction as floats.
    share_pct = round(100.0 * (after.busy_s - before.busy_s) / elapsed_s, 3)
    # A counter may step back by a tick when a core sleeps: keep the share a share.
    return min(100.0, max(0.0, share_pct))


def per_second(before: int, after: int, elapsed_s: float) -> float | None:
    """Rate of a running total; None when it was reset or no time passed."""
    return None if elapsed_s <= 0 or after < before else (after - before) / elapsed_s


def is_loopback_name(name: str) -> bool:
    """Whether an interface only talks to this machine, by the names Linux, macOS and Windows give it."""
    return name == "lo" or name.lower().startswith(("lo0", "loopback"))


def host_rates(before: Counters, after: Counters) -> dict[str, Any]:
    """The fields of `HostReading` that need two moments; empty where a moment lacks them."""
    elapsed_s = (after.t_ns - before.t_ns) / 1e9
    fields: dict[str, Any] = {}
    if before.cores and after.cores and len(before.cores) == len(after.cores):
        pairs = list(zip(before.cores, after.cores, strict=True))
        fields["cpu_per_core_pct"] = tuple(busy_pct(b, a) for b, a in pairs)
        fields["cpu_pct"] = busy_pct(_total(before.cores), _total(after.cores))
    if before.disk and after.disk:
        fields["disk_read_bps"] = per_second(before.disk[0], after.disk[0], elapsed_s)
        fields["disk_write_bps"] = per_second(before.disk[1], after.disk[1], elapsed_s)
    if before.net and after.net:
        fields["net_recv_bps"] = per_second(before.net[0], after.net[0], elapsed_s)
        fields["net_sent_bps"] = per_second(before.net[1], after.net[1], elapsed_s)
    return fields


def _total(cores: tuple[CpuTime, ...]) -> CpuTime:
    return CpuTime(sum(c.busy_s for c in cores), sum(c.total_s for c in cores))


class HostSampler:
    """Reads this machine. One reader at a time."""

    def __init__(self) -> None:
        self._before: Counters | None = None

    def read(self, t_ns: int) -> HostReading:
        """The host now; rates cover the time since the call before, None on the first."""
        after = _counters(t_ns)
        rates = host_rates(self._before, after) if self._before else {}
        self._before = after
        memory = _or_none(psutil.virtual_memory)
        swap = _or_none(psutil.swap_memory)
        return HostReading(
            ram_used_bytes=memory.total - memory.available if memory else None,
            ram_total_bytes=memory.total if memory else None,
            swap_used_bytes=swap.used if swap else None,
            swap_total_bytes=swap.total if swap else None,
            **rates,
        )


def _counters(t_ns: int) -> Counters:
    cores = _or_none(lambda: psutil.cpu_times(percpu=True))
    disk = _or_none(psutil.disk_io_counters)
    return Counters(
        t_ns=t_ns,
        cores=tuple(cpu_time(core) for core in cores) if cores else None,
        disk=(disk.read_bytes, disk.write_bytes) if disk else None,
        net=_or_none(_net_totals),
    )


def _net_totals() -> tuple[int, int] | None:
    interfaces = psutil.net_io_counters(pernic=True)
    outward = [c for name, c in interfaces.items() if not is_loopback_name(name)]
    return (sum(c.bytes_recv for c in outward), sum(c.bytes_sent for c in outward)) if outward else None


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    # RuntimeError and NotImplementedError: psutil's words for counters that this system or container lacks.
    except (psutil.Error, OSError, RuntimeError, NotImplementedError):
        return None
