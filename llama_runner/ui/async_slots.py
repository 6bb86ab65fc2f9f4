"""Coroutines as slots: a named task per call, kept alive, and cancelled when its QObject dies.

A failure goes to the loop's exception handler, which is the window's one reporter. `qasync.asyncSlot` is not
used: it needs at least one argument and forgets its tasks; `asyncClose` spins the event loop.
"""

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from PySide6.QtCore import QObject, Qt

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=QObject)
Work = Coroutine[Any, Any, None]
Tasks = set[asyncio.Task[None]]

BAG_NAME: Final = "lr_tasks"


class TaskBag(QObject):
    """The tasks of one QObject, as its child: it dies with it and takes the tasks along."""

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self.setObjectName(BAG_NAME)
        self.tasks: Tasks = set()
        # Bound to the set, not to self: when this signal comes the object is already half gone.
        self.destroyed.connect(functools.partial(_cancel_all, self.tasks))


def _cancel_all(tasks: Tasks) -> None:
    for task in tuple(tasks):
        task.cancel()


def _bag_of(owner: QObject) -> TaskBag:
    found = owner.findChild(TaskBag, BAG_NAME, Qt.FindChildOption.FindDirectChildrenOnly)
    return found if found is not None else TaskBag(owner)


def start_task(owner: QObject, work: Work, *, name: str) -> asyncio.Task[None]:
    """Run `work` on the running loop until it ends or `owner` dies, whichever comes first."""
    tasks = _bag_of(owner).tasks
    task = asyncio.get_running_loop().create_task(work, name=name)
    tasks.add(task)
    task.add_done_callback(functools.partial(_ended, tasks))
    return task


def _ended(tasks: Tasks, task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    if task.cancelled() or (error := task.exception()) is None:
        return
    task.get_loop().call_exception_handler(
        {"message": f"{task.get_name()} failed", "exception": error, "task": task}
    )


def is_running(owner: QObject, name: str) -> bool:
    """Whether a task of this name started for `owner` has not ended."""
    # A task that has just ended is still in the bag until its callbacks run.
    return any(task.get_name() == name and not task.done() for task in _bag_of(owner).tasks)


async def cancel_tasks(root: QObject, *, timeout_s: float) -> tuple[str, ...]:
    """Cancel every task of `root` and of all objects below it.

    Returns:
        Names of tasks that did not end in time.
    """
    tasks = {task for bag in root.findChildren(TaskBag) for task in bag.tasks}
    tasks.discard(asyncio.current_task())
    _cancel_all(tasks)
    if not tasks:
        return ()
    _, pending = await asyncio.wait(tasks, timeout=timeout_s)
    return tuple(sorted(task.get_name() for task in pending))


def _positional_limit(method: Callable[..., Any]) -> int | None:
    kinds = [p.kind for p in inspect.signature(method).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(kind in positional for kind in kinds) - 1


def _decorate(method: Callable[..., Work], *, single: bool) -> Callable[..., None]:
    limit = _positional_limit(method)

    @functools.wraps(method)
    def slot(self: Q, *args: Any) -> None:
        name = f"{type(self).__name__}.{method.__name__}"
        if single and is_running(self, name):
            return
        # A signal hands over all it has (clicked sends a bool); the method takes what it declares.
        start_task(self, method(self, *args[:limit]), name=name)

    # Qt looks through __wrapped__ when it counts arguments and would call the coroutine function's shape.
    del slot.__dict__["__wrapped__"]
    return slot


def async_slot(method: Callable[..., Work]) -> Callable[..., None]:
    """A method that starts the coroutine as a task of its object. Works with zero arguments."""
    return _decorate(method, single=False)


def async_slot_once(method: Callable[..., Work]) -> Callable[..., None]:
    """As `async_slot`, but a call while the last one runs does nothing: fast clicks start one action."""
    return _decorate(method, single=True)
