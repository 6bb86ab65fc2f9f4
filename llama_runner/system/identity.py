"""Who a process is: a pid alone may be recycled, a pid with its creation time is not."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

log = logging.getLogger(__name__)

# Creation times are compared as floats that went through JSON; clock ticks are 10 ms apart.
_SAME_S: Final = 0.005
# Field 22 of /proc/PID/stat, counted after the command name in parentheses.
_START_TICKS_AFTER_NAME: Final = 19
_TICKS_PER_S: Final = 100.0


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, for ever.

    Attributes:
        create_time: Seconds since boot on Linux (wall time may jump), since the epoch elsewhere; for
            `is_same` only.
    """

    pid: int
    create_time: float


@dataclass(frozen=True, slots=True)
class ListenerInfo:
    """Who listens on a port; None where the system does not tell us."""

    pid: int | None
    name: str | None


def identity(pid: int) -> ProcessIdentity | None:
    """The identity of a running process; None when there is none or it is a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        created = _start_since_boot(pid) if sys.platform == "linux" else process.create_time()
    except (psutil.Error, OSError, ValueError):
        return None
    return ProcessIdentity(pid, created)


def is_same(known: ProcessIdentity) -> bool:
    """Whether that very process still runs."""
    now = identity(known.pid)
    return now is not None and abs(now.create_time - known.create_time) < _SAME_S


def _start_since_boot(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The name in parentheses may itself hold spaces and parentheses; the last one ends it.
    fields = stat[stat.rindex(")") + 1 :].split()
    return int(fields[_START_TICKS_AFTER_NAME]) / _TICKS_PER_S


def listener_of(port: int) -> ListenerInfo | None:
    """Who listens on a TCP port of this machine; None when nobody does or the system will not say."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError) as error:
        log.debug("cannot list listeners reason=%s", type(error).__name__)
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return ListenerInfo(connection.pid, _name(connection.pid))
    return None


def _name(pid: int | None) -> str | None:
    if pid is None:
        return None
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None


def listens_on(pid: int, port: int) -> bool | None:
    """Whether the process or one that it started listens on `port`; None when the system will not say."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for process in family
            for connection in process.net_connections(kind="tcp")
        )
    except psutil.AccessDenied:
        return None
    except psutil.NoSuchProcess:
        return False


def free_memory_bytes() -> int:
    """Main memory that programs can have without others being swapped out."""
    return int(psutil.virtual_memory().available)


def memory_bytes(pid: int) -> int | None:
    """Resident memory of the process, mapped model files included; None when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def cpu_seconds(pid: int) -> float | None:
    """Processor time the process has used so far, in itself and in the system; None when it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)
