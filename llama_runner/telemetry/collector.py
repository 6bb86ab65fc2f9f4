"""The one sampling thread: fixed deadlines, one frozen sample per tick, history in a ring buffer.

Readers come from any thread at their own rate; nobody is called back.
"""

import logging
import math
import threading
from typing import Final

from llama_runner.core.clock import Clock, SystemClock
from llama_runner.telemetry.host import HostSampler, HostSource
from llama_runner.telemetry.nvidia import GpuSource, NvidiaSampler
from llama_runner.telemetry.ring import RingBuffer, Series
from llama_runner.telemetry.sample import Sample, assemble, flatten

log = logging.getLogger(__name__)

# A reading takes milliseconds; a graphics driver that hangs must not hang the window's close.
CLOSE_LIMIT_S: Final = 1.0


class TelemetryCollector:
    """Samples this machine until closed.

    Args:
        interval_s: Seconds between samples; ticks fall on whole multiples after the start and do not drift.
        history_s: How far back `series` reaches.

    Attributes:
        latest: The newest sample, None before the first.
        revision: How many samples there have been.
        missed_ticks: Ticks skipped because sampling or the machine was too slow for them.
    """

    def __init__(
        self,
        interval_s: float = 1.0,
        history_s: float = 600.0,
        *,
        clock: Clock | None = None,
        host: HostSource | None = None,
        gpus: GpuSource | None = None,
    ) -> None:
        self.interval_s = interval_s
        self.latest: Sample | None = None
        self.revision = 0
        self.missed_ticks = 0
        self._clock = clock or SystemClock()
        self._host = host or HostSampler()
        self._gpus = gpus or NvidiaSampler()
        self._ring = RingBuffer(max(2, math.ceil(history_s / interval_s)), interval_s)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def gpu_note(self) -> str | None:
        """Why there are no graphics readings; None when there are, or before the first sample."""
        return self._gpus.note

    @property
    def names(self) -> tuple[str, ...]:
        """Names that `series` knows by now."""
        return self._ring.names

    def series(self, name: str) -> Series:
        """History of one flat name (`sample.flatten`), oldest first, NaN where unknown."""
        return self._ring.series(name)

    def start(self) -> None:
        """Begin sampling. A second call does nothing."""
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop sampling and wait for the thread to end, unless a driver holds it. Idempotent."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSE_LIMIT_S)
            if self._thread.is_alive():
                # A daemon: it cannot keep the program from ending.
                log.error("a reading does not return, its thread is left behind")
            self._thread = None

    def wait_newer(self, revision: int, timeout_s: float) -> int:
        """Block until there is a sample after `revision`, the collector closes, or the time is up.

        Returns:
            The revision now.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.revision > revision or self._stop.is_set(), timeout_s)
            return self.revision

    def _run(self) -> None:
        start_ns = self._clock.now_ns()
        tick = 0
        try:
            while not self._stop.is_set():
                self._sample(start_ns)
                tick = self._next_tick(tick, start_ns)
                deadline_ns = start_ns + int(tick * self.interval_s * 1e9)
                self._stop.wait(max(0.0, (deadline_ns - self._clock.now_ns()) / 1e9))
        finally:
            self._gpus.close()

    def _next_tick(self, tick: int, start_ns: int) -> int:
        elapsed_s = (self._clock.now_ns() - start_ns) / 1e9
        following = max(tick + 1, math.ceil(elapsed_s / self.interval_s))
        self.missed_ticks += following - tick - 1
        return following

    def _sample(self, start_ns: int) -> None:
        t_ns = self._clock.now_ns()
        try:
            sample = assemble(t_ns, self._clock.utc(), self._host.read(t_ns), self._gpus.read())
        except Exception:  # the thread's top edge: one bad reading must not end the charts for good
            log.exception("sampling failed")
            return
        self._ring.append((t_ns - start_ns) / 1e9, flatten(sample))
        with self._changed:
            self.latest = sample
            self.revision += 1
            self._changed.notify_all()
