"""Load workers as processes: started by spawn, told apart by their own pipes, gone when their parent is.

One pipe per worker and no shared lock: a worker that is killed blocks neither the parent nor a sibling.
"""

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Any, Final, Protocol, cast

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.stress.job import STOP, Job
from llama_runner.stress.records import WorkerMessage, WorkerReport
from llama_runner.stress.worker import prepare, run_job

log = logging.getLogger(__name__)

OnMessage = Callable[[WorkerMessage], None]

# How long a worker's process may take to end once its work is done or given up.
END_GRACE_S: Final = 2.0


class LoadWorkerError(LlamaRunnerError):
    """A load worker did not start or died."""

    kind = "load_worker"


class Workers(Protocol):
    """Where shares run. `SpawnedWorkers` on this machine; anything with the same methods elsewhere."""

    def start(self, jobs: Sequence[Job], on_message: OnMessage) -> list[Future[WorkerReport]]:
        """Begin every job; each reports Ready and waits for GO. Messages come on another thread."""
        ...

    def tell_all(self, word: str) -> None:
        """GO or STOP to every worker."""
        ...

    def close(self) -> None:
        """End every worker, by force if need be, and wait until all are gone. Blocks; idempotent."""
        ...


class SpawnedWorkers:
    """One process per job, for one run."""

    def __init__(self) -> None:
        self._executor: Executor | None = None
        self._links: list[Connection] = []
        self._wakers: list[Connection] = []
        self._reader: threading.Thread | None = None
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def start(self, jobs: Sequence[Job], on_message: OnMessage) -> list[Future[WorkerReport]]:
        """Begin every job. Call once."""
        context = multiprocessing.get_context("spawn")
        pairs = [_pipe(context) for _ in jobs]
        self._links = [ours for ours, _ in pairs]
        theirs = tuple(end for _, end in pairs)
        wake, waker = _pipe(context)
        self._wakers = [wake, waker]
        before = set(multiprocessing.active_children())
        self._executor = ProcessPoolExecutor(
            max_workers=len(jobs), mp_context=context, initializer=prepare, initargs=(theirs,)
        )
        futures = [self._executor.submit(run_job, job) for job in jobs]
        self._processes = [p for p in multiprocessing.active_children() if p not in before]
        for end in theirs:
            # Only the workers hold their ends now, so that a dead worker shows as a closed pipe.
            end.close()
        self._reader = threading.Thread(
            target=self._read, args=(wake, on_message), name="load worker messages", daemon=True
        )
        self._reader.start()
        return futures

    def tell_all(self, word: str) -> None:
        """Send `word` to every worker that is still there."""
        for link in self._links:
            try:
                link.send(word)
            except OSError:
                log.info("load worker is gone already word=%s", word)

    def close(self) -> None:
        """End every worker and wait until all are gone."""
        if self._executor is None:
            return
        executor, self._executor = self._executor, None
        self.tell_all(STOP)
        # On a thread: only its first call waits, and a worker that hangs must be killed meanwhile.
        ending = threading.Thread(target=_shut_down, args=(executor,), name="load workers' end", daemon=True)
        ending.start()
        deadline_s = time.monotonic() + END_GRACE_S
        for process in self._processes:
            # Its sentinel and not join(): the executor's own thread collects the process at the same time.
            if not wait([process.sentinel], max(0.0, deadline_s - time.monotonic())):
                log.warning("load worker does not end, killing it pid=%s", process.pid)
                process.kill()
        ending.join()
        self._wakers[1].send(None)
        if self._reader is not None:
            self._reader.join()
        for link in (*self._links, *self._wakers):
            link.close()

    def _read(self, wake: Connection, on_message: OnMessage) -> None:
        """Hand on messages until woken; then what the pipes still hold, as their other ends are gone."""
        # On Windows these are connections of another class, which only multiprocessing itself names.
        open_links: list[Any] = [*self._links]
        last_round = False
        while open_links and not last_round:
            ready = cast(list[Any], wait([*open_links, wake]))
            last_round = wake in ready
            for link in open_links.copy() if last_round else ready:
                if not _pass_on(link, on_message, until_empty=last_round):
                    open_links.remove(link)


def _pipe(context: SpawnContext) -> tuple[Connection, Connection]:
    # On Windows the ends are of another class with the same methods, which the type stubs keep apart.
    near: Any
    far: Any
    near, far = context.Pipe(duplex=True)
    return near, far


def _shut_down(executor: Executor) -> None:
    executor.shutdown(wait=True, cancel_futures=True)


def _pass_on(link: Connection, on_message: OnMessage, *, until_empty: bool) -> bool:
    """Hand on one message, or all there are; False when the other end is closed."""
    try:
        on_message(link.recv())
        while until_empty and link.poll():
            on_message(link.recv())
    except (EOFError, OSError):
        return False
    return True


def died(error: BaseException) -> LoadWorkerError:
    """The error for a worker's future that ended badly."""
    if isinstance(error, BrokenProcessPool):
        return LoadWorkerError(
            "A load worker ended unexpectedly; what was measured until then is kept.",
            "Check that the machine has memory left, then run it again.",
        )
    return LoadWorkerError(
        f"A load worker failed: {type(error).__name__}: {error}.", "The log has the details; run it again."
    )
