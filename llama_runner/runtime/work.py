"""Whether an engine that says it works gets anywhere. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from llama_runner.core.clock import seconds

_BUSY: Final = re.compile(rb"^llamacpp:requests_processing [1-9]", re.MULTILINE)
# Who comes and goes is no work done.
_QUEUES: Final = re.compile(rb"^llamacpp:requests_.*$", re.MULTILINE)
# Of one processor: a thread that waits for another one uses next to none, one that computes nearly all.
_COMPUTING: Final = 0.05


@dataclass(frozen=True, slots=True)
class Standstill:
    """For how long the work of an engine has not moved; 0 when there is none or it goes on.

    Attributes:
        still_s: Without a count of it moving and without use of a processor: it hangs.
        fruitless_s: Without a count of it moving, whatever it computes meanwhile. None of its requests gets a
            token: it turns in circles, or is in the middle of a batch that takes it so long.
    """

    still_s: float = 0.0
    fruitless_s: float = 0.0


NO_STANDSTILL: Final = Standstill()


class WorkWatch:
    """Told of every look at an engine, knows for how long its work has stood still."""

    def __init__(self) -> None:
        self._done: bytes | None = None
        self._cpu_s: float | None = None
        self._looked_ns: int | None = None
        self._moved_ns: int | None = None
        self._counted_ns: int | None = None

    def look(self, now_ns: int, counters: bytes | None, cpu_s: float | None) -> Standstill:
        """What a look tells.

        Args:
            counters: What `/metrics` said; None when it did not answer, as engines do in the middle of work.
            cpu_s: Processor time it has used so far; None when the system does not say, and nothing is told.
        """
        idle = counters is not None and not _BUSY.search(counters)
        done = None if counters is None else _QUEUES.sub(b"", counters)
        further = done is not None and done != self._done
        if self._counted_ns is None or cpu_s is None or idle or further:
            self._counted_ns = self._moved_ns = now_ns
        if self._moved_ns is None or self._computes(now_ns, cpu_s):
            self._moved_ns = now_ns
        self._done = done or self._done
        self._cpu_s, self._looked_ns = cpu_s, now_ns
        return Standstill(seconds(now_ns, self._moved_ns), seconds(now_ns, self._counted_ns))

    def _computes(self, now_ns: int, cpu_s: float | None) -> bool:
        if cpu_s is None or self._cpu_s is None or self._looked_ns is None:
            return True
        return cpu_s - self._cpu_s > _COMPUTING * seconds(now_ns, self._looked_ns)
