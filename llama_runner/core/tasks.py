"""One owner for tasks that outlive the call that started them: names, keeps, cancels and reports them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

ErrorReporter = Callable[[str, BaseException], None]


def log_failure(name: str, error: BaseException) -> None:
    """The default reporter: one log record with the traceback."""
    log.error("task failed name=%s", name, exc_info=error)


class TaskOwner:
    """Keeps a strong reference to every task it started until it ends.

    Args:
        report: Called on the loop's thread with the task's name and its error, once per failed task.
    """

    def __init__(self, report: ErrorReporter = log_failure) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._report = report

    def start(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run `coroutine` as a task on the running loop."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the tasks that have not ended, sorted."""
        return tuple(sorted(task.get_name() for task in self._tasks))

    async def close(self) -> None:
        """Cancel what still runs and wait for all of it to end. Idempotent."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # From Python 3.12 on, gathering tasks that have ended does not give way to their callbacks.
        await asyncio.sleep(0)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(task.get_name(), error)
