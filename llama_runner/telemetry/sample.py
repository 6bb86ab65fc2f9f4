"""One moment of this machine. Unknown is None; zero means measured zero."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Final

Number = int | float


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One graphics card.

    Attributes:
        id: Stays the same between samples and restarts: the card's UUID, else its number.
        util_pct: Share of the driver's last sampling period in which any kernel ran.
        throttle_reasons: Why the clocks are held down, empty when they are not, None when unknown.
    """

    id: str
    name: str
    util_pct: float | None = None
    memory_util_pct: float | None = None
    vram_used_bytes: int | None = None
    vram_total_bytes: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: float | None = None
    fan_pct: float | None = None
    clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    throttle_reasons: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class GpuMemorySample:
    """The memory of one graphics card.

    Attributes:
        used_by: Bytes by process id; without processes whose share the driver does not tell.
    """

    name: str
    total_bytes: int
    free_bytes: int
    used_by: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostReading:
    """Processor, memory, disks and network.

    Attributes:
        ram_used_bytes: Total minus what programs could still get: caches do not count as used.
        disk_read_bps: Bytes per second over the time since the reading before; so are the other rates.
        net_recv_bps: All interfaces but loopback.
    """

    cpu_pct: float | None = None
    cpu_per_core_pct: tuple[float | None, ...] = ()
    ram_used_bytes: int | None = None
    ram_total_bytes: int | None = None
    swap_used_bytes: int | None = None
    swap_total_bytes: int | None = None
    disk_read_bps: float | None = None
    disk_write_bps: float | None = None
    net_recv_bps: float | None = None
    net_sent_bps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(HostReading):
    """Everything of one moment, under one stamp.

    Attributes:
        t_ns: The collector's monotonic clock, just before reading.
    """

    t_ns: int
    time_utc: datetime
    gpus: tuple[GpuSample, ...] = ()


HOST_SERIES: Final = tuple(f.name for f in fields(HostReading) if f.name != "cpu_per_core_pct")
_NOT_NUMBERS: Final = ("id", "name", "throttle_reasons")
GPU_SERIES: Final = tuple(f.name for f in fields(GpuSample) if f.name not in _NOT_NUMBERS)


def assemble(t_ns: int, time_utc: datetime, host: HostReading, gpus: tuple[GpuSample, ...]) -> Sample:
    """One sample from what the samplers read."""
    readings = {f.name: getattr(host, f.name) for f in fields(host)}
    return Sample(t_ns=t_ns, time_utc=time_utc, gpus=gpus, **readings)


def flatten(sample: Sample) -> dict[str, Number | None]:
    """Every number under a flat name (`cpu_core_0_pct`, `gpu_0_util_pct`): columns of charts and CSV."""
    flat: dict[str, Number | None] = {name: getattr(sample, name) for name in HOST_SERIES}
    flat |= {f"cpu_core_{i}_pct": value for i, value in enumerate(sample.cpu_per_core_pct)}
    for i, gpu in enumerate(sample.gpus):
        flat |= {f"gpu_{i}_{name}": getattr(gpu, name) for name in GPU_SERIES}
    return flat


def to_json(sample: Sample) -> dict[str, object]:
    """The document of `monitor --json`."""
    document: dict[str, object] = {"time": sample.time_utc.isoformat(timespec="milliseconds")}
    document |= {name: getattr(sample, name) for name in HOST_SERIES}
    document["cpu_per_core_pct"] = list(sample.cpu_per_core_pct)
    document["gpus"] = [_gpu_json(gpu) for gpu in sample.gpus]
    return document


def _gpu_json(gpu: GpuSample) -> dict[str, object]:
    document: dict[str, object] = {f.name: getattr(gpu, f.name) for f in fields(gpu)}
    if gpu.throttle_reasons is not None:
        document["throttle_reasons"] = list(gpu.throttle_reasons)
    return document
