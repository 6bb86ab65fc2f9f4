"""Time as a collaborator: monotonic nanoseconds for measuring, aware UTC for display only."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What anything that measures or waits asks for the time."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds; on Linux comparable between processes of one machine."""
        ...

    def utc(self) -> datetime:
        """Wall time, aware, for showing and for file names; never for durations."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ns(self) -> int:
        """`time.perf_counter_ns`."""
        return time.perf_counter_ns()

    def utc(self) -> datetime:
        """Now, in UTC."""
        return datetime.now(UTC)


def seconds(later_ns: int, earlier_ns: int) -> float:
    """Seconds from `earlier_ns` to `later_ns`."""
    return (later_ns - earlier_ns) / 1e9
