"""Graphics cards for the runtime's plan, from the driver that telemetry reads."""

import threading
from typing import TYPE_CHECKING

from llama_runner.runtime.gpu import Card

if TYPE_CHECKING:
    from llama_runner.telemetry.nvidia import NvidiaSampler


class NvmlCards:
    """Implements `runtime.gpu.GpuMemory` with NVIDIA's driver; the driver is opened by the first look."""

    def __init__(self) -> None:
        self._sampler: NvidiaSampler | None = None
        self._lock = threading.Lock()

    def read(self) -> tuple[Card, ...]:
        """Every card now; empty when there is none."""
        # Not before it is needed: the binding alone costs a service without models some megabytes.
        from llama_runner.telemetry.nvidia import NvidiaSampler

        with self._lock:
            self._sampler = self._sampler or NvidiaSampler()
            return tuple(
                Card(one.name, one.total_bytes, one.free_bytes, one.used_by) for one in self._sampler.memory()
            )
