"""NVIDIA graphics cards through NVML, the driver's own library.

A missing driver is a note, not an error; a value that a card does not offer is None.
"""

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import pynvml

from llama_runner.telemetry.sample import GpuMemorySample, GpuSample

log = logging.getLogger(__name__)
T = TypeVar("T")

_THROTTLE_REASONS: Final = {
    pynvml.nvmlClocksEventReasonApplicationsClocksSetting: "clock setting",
    pynvml.nvmlClocksEventReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSyncBoost: "sync boost",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "thermal, driver",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "thermal, hardware",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
}


class GpuSource(Protocol):
    """What a collector asks about graphics cards."""

    note: str | None

    def read(self) -> tuple[GpuSample, ...]:
        """Every card now; empty when there is none."""
        ...

    def close(self) -> None:
        """Let go of the driver."""
        ...


def throttle_names(mask: int) -> tuple[str, ...]:
    """Names of the reasons set in NVML's bit mask; being idle is not a reason."""
    return tuple(name for bit, name in _THROTTLE_REASONS.items() if mask & bit)


class NvidiaSampler:
    """Reads every NVIDIA card. Opens the driver at the first read; one reader at a time.

    Attributes:
        note: Why there are no cards, for a tooltip; None when there are.
    """

    def __init__(self) -> None:
        self.note: str | None = None
        self._handles: list[Any] | None = None
        self._open = False

    def read(self) -> tuple[GpuSample, ...]:
        """Every card now; empty when there is no card or no driver."""
        if self._handles is None:
            self._handles = self._find()
        return tuple(_read_card(number, handle) for number, handle in enumerate(self._handles))

    def close(self) -> None:
        """Let go of the driver. Idempotent."""
        if self._open:
            self._open = False
            _ask(pynvml.nvmlShutdown)
        self._handles = None

    def _find(self) -> list[Any]:
        try:
            pynvml.nvmlInit()
            self._open = True
            found = (_ask(pynvml.nvmlDeviceGetHandleByIndex, i) for i in range(pynvml.nvmlDeviceGetCount()))
        except pynvml.NVMLError as error:
            self.note = _why_none(error)
            log.info("no NVIDIA readings reason=%s", error)
            return []
        handles = [handle for handle in found if handle is not None]
        self.note = None if handles else "The NVIDIA driver reports no graphics card."
        return handles

    def memory(self) -> tuple[GpuMemorySample, ...]:
        """Memory of every card now, with what each process holds of it, as far as the driver tells."""
        if self._handles is None:
            self._handles = self._find()
        found = (_read_memory(number, handle) for number, handle in enumerate(self._handles))
        return tuple(sample for sample in found if sample is not None)


def _read_memory(number: int, handle: Any) -> GpuMemorySample | None:
    memory = _memory(handle)
    if memory is None:
        return None
    used: dict[int, int] = {}
    # A process that computes and draws is in both lists with the same figure.
    for ask in (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses):
        for process in _ask(ask, handle) or ():
            # Windows drivers do not tell; that is no zero.
            if process.usedGpuMemory is not None:
                used[process.pid] = max(used.get(process.pid, 0), int(process.usedGpuMemory))
    name = _text(_ask(pynvml.nvmlDeviceGetName, handle)) or f"NVIDIA GPU {number}"
    return GpuMemorySample(name, int(memory.total), int(memory.free), used)


def _why_none(error: Exception) -> str:
    if isinstance(error, pynvml.NVMLError_LibraryNotFound):
        return "No NVIDIA driver is installed on this machine."
    if isinstance(error, pynvml.NVMLError_DriverNotLoaded):
        return "The NVIDIA driver is installed but not loaded; restarting the machine usually loads it."
    return f"The NVIDIA driver gives no readings ({error})."


def _read_card(number: int, handle: Any) -> GpuSample:
    use = _ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    memory = _memory(handle)
    throttle = _ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if throttle is None:
        throttle = _ask(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    return GpuSample(
        id=_text(_ask(pynvml.nvmlDeviceGetUUID, handle)) or str(number),
        name=_text(_ask(pynvml.nvmlDeviceGetName, handle)) or f"NVIDIA GPU {number}",
        util_pct=_number(use and use.gpu),
        memory_util_pct=_number(use and use.memory),
        vram_used_bytes=int(memory.used) if memory else None,
        vram_total_bytes=int(memory.total) if memory else None,
        power_w=_number(_ask(pynvml.nvmlDeviceGetPowerUsage, handle), 1e-3),
        power_limit_w=_number(_ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle), 1e-3),
        temperature_c=_number(_temperature(handle)),
        fan_pct=_number(_ask(pynvml.nvmlDeviceGetFanSpeed, handle)),
        clock_mhz=_number(_ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)),
        memory_clock_mhz=_number(_ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM)),
        throttle_reasons=None if throttle is None else throttle_names(throttle),
    )


def _temperature(handle: Any) -> float | None:
    sensor = pynvml.NVML_TEMPERATURE_GPU
    # The old call ends with CUDA 14; older drivers know only that one.
    value = _ask(pynvml.nvmlDeviceGetTemperatureV, handle, sensor)
    return value if value is not None else _ask(pynvml.nvmlDeviceGetTemperature, handle, sensor)


def _memory(handle: Any) -> Any:
    # The second version counts memory the driver keeps for itself apart from "used", as nvidia-smi does.
    return _ask(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2) or _ask(
        pynvml.nvmlDeviceGetMemoryInfo, handle
    )


def _ask(function: Callable[..., T], *args: Any) -> T | None:
    try:
        return function(*args)
    # A name that is not UTF-8 is as unknown as one the card does not tell.
    except (pynvml.NVMLError, UnicodeDecodeError):
        return None


def _number(value: float | None, scale: float = 1.0) -> float | None:
    return None if value is None else value * scale


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else (value or "")
