"""Whether an engine that says it works gets anywhere. Pure."""

import re
from typing import Final

from llama_runner.core.clock import seconds

_BUSY: Final = re.compile(rb"^llamacpp:requests_processing [1-9]", re.MULTILINE)
# Of one processor: a thread that waits for another one uses next to none, one that computes nearly all.
_COMPUTING: Final = 0.05


class WorkWatch:
    """Told of every look at an engine, knows for how long its work has stood still.

    Work goes on while the engine's own counters move, or while it uses a processor: in the middle of a large
    batch the counters rest for minutes. An engine that turns in circles is not told from one that computes.
    """

    def __init__(self) -> None:
        self._counters: bytes | None = None
        self._cpu_s: float | None = None
        self._looked_ns: int | None = None
        self._moved_ns: int | None = None

    def still_s(self, now_ns: int, counters: bytes | None, cpu_s: float | None) -> float:
        """Seconds without any progress of work that is there; 0 when there is none or it goes on.

        Args:
            counters: What `/metrics` said; None when it did not answer, as old builds do while they work.
            cpu_s: Processor time it has used so far; None when the system does not say, and nothing is told.
        """
        idle = counters is not None and not _BUSY.search(counters)
        if self._moved_ns is None or cpu_s is None or idle or self._moves(now_ns, counters, cpu_s):
            self._moved_ns = now_ns
        self._counters = counters or self._counters
        self._cpu_s, self._looked_ns = cpu_s, now_ns
        return seconds(now_ns, self._moved_ns)

    def _moves(self, now_ns: int, counters: bytes | None, cpu_s: float) -> bool:
        if self._cpu_s is None or self._looked_ns is None:
            return True
        if counters is not None and counters != self._counters:
            return True
        return cpu_s - self._cpu_s > _COMPUTING * seconds(now_ns, self._looked_ns)
