"""The load worker's process: its entry points, its ears for the parent, its end when the parent ends.

Top-level functions only, so that a spawned or packaged process finds them.
"""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait

from llama_runner.core.clock import SystemClock
from llama_runner.net.load import run_on_fastest_loop
from llama_runner.stress.job import GO, STOP, Job
from llama_runner.stress.load import LoadLoop
from llama_runner.stress.records import Ready, WorkerReport

# Set by the pool's initializer: a pool has no other way to hand something to a process instead of a call.
_links: list[Connection] = []


def prepare(links: tuple[Connection, ...]) -> None:
    """First thing in a new worker process.

    Args:
        links: This end of every worker's pipe; the share says which one is ours.
    """
    # Ctrl+C reaches every process of the terminal; here only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _links.extend(links)
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()


def run_job(job: Job) -> WorkerReport:
    """Carry out one share: say that it is ready, wait for the word, keep the load up, report on itself."""
    link = _links[job.share.worker]
    for other in _links:
        if other is not link:
            other.close()
    parent = ParentLine(link)
    link.send(Ready(job.share.worker, os.getpid()))
    parent.wait_for_go()
    with quiet_collector():
        return run_on_fastest_loop(
            lambda: LoadLoop(job=job, clock=SystemClock(), publish=link.send).run(parent.on_stop)
        )


class ParentLine:
    """Listens to the parent on a thread of its own."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._go = threading.Event()
        self._lock = threading.Lock()
        self._stopped = False
        self._stop: Callable[[], object] | None = None
        threading.Thread(target=self._listen, name="parent line", daemon=True).start()

    def wait_for_go(self) -> None:
        """Block until the parent says GO or STOP; without a parent the process ends."""
        self._go.wait()

    def on_stop(self, callback: Callable[[], object] | None) -> None:
        """Call `callback`, on the listening thread, at STOP, or at once if that was said; None: never."""
        with self._lock:
            self._stop = callback
            if self._stopped and callback is not None:
                callback()

    def _listen(self) -> None:
        try:
            while (word := self._link.recv()) in (GO, STOP):
                if word == STOP:
                    self._say_stop()
                self._go.set()
        except (EOFError, OSError):
            # The parent closed its end or died: nobody is left to report to.
            os._exit(1)

    def _say_stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._stop is not None:
                self._stop()


@contextmanager
def quiet_collector() -> Iterator[None]:
    """No garbage collection while load runs: a full pass pauses every stream for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _end_with_parent() -> None:
    """Wait until the parent process is gone, however it went, then end this one at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
