"""The life of the window on the event loop: opens the workspace behind it, closes everything in order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

from llama_runner.ui.async_slots import cancel_tasks
from llama_runner.ui.main_window import MainWindow

if TYPE_CHECKING:
    from llama_runner.workspace import Workspace

log = logging.getLogger(__name__)

OpenWorkspace = Callable[[], "AbstractAsyncContextManager[Workspace]"]

# What the window's own tasks get to end in; they only let go of connections.
TASKS_S: Final = 2.0
# Everything together: the models get 5 s to stop. After this the process ends with what is left.
CLOSE_S: Final = 8.0


class Session:
    """One window with one workspace at a time. A failed opening can be tried again.

    Args:
        open_workspace: Called on the loop for every try.
    """

    def __init__(self, window: MainWindow, open_workspace: OpenWorkspace) -> None:
        self._window = window
        self._open_workspace = open_workspace
        self._closing = asyncio.Event()
        self._retry = asyncio.Event()
        window.closing.connect(self._closing.set)
        window.retry_wanted.connect(self._retry.set)

    def close(self) -> None:
        """Begin to close. Idempotent."""
        self._window.close()
        self._closing.set()

    async def run(self) -> None:
        """Open, wait until the window is closed, close."""
        while not self._closing.is_set():
            self._window.show_opening()
            work = asyncio.get_running_loop().create_task(self._work(), name="workspace")
            await self._until_closing(work)
            if self._closing.is_set():
                await self._end(work)
                return
            # It ended by itself: only a failure does that.
            error = work.exception()
            if error is not None:
                log.error("workspace cannot be opened", exc_info=error)
                self._window.show_failure(error)
            await self._until_retry()

    async def _work(self) -> None:
        async with self._open_workspace() as workspace, self._attached(workspace):
            await self._closing.wait()

    @asynccontextmanager
    async def _attached(self, workspace: "Workspace") -> AsyncIterator[None]:
        self._window.attach(workspace)
        try:
            yield
        finally:
            left = await cancel_tasks(self._window, timeout_s=TASKS_S)
            if left:
                log.warning("tasks did not end in time names=%s", ", ".join(left))
            self._window.detach()

    async def _until_closing(self, work: "asyncio.Task[None]") -> None:
        closing = asyncio.get_running_loop().create_task(self._closing.wait(), name="closing")
        try:
            await asyncio.wait({work, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
            await asyncio.wait({closing})

    async def _end(self, work: "asyncio.Task[None]") -> None:
        """Let an open workspace close by itself; cancel one that is still opening; never wait for ever."""
        if self._window.workspace is None:
            work.cancel()
        _, pending = await asyncio.wait({work}, timeout=CLOSE_S)
        if pending:
            log.error("the workspace did not close in time budget_s=%g", CLOSE_S)
            work.cancel()
            await asyncio.wait({work}, timeout=TASKS_S)
        elif not work.cancelled() and (error := work.exception()) is not None:
            log.error("closing failed", exc_info=error)

    async def _until_retry(self) -> None:
        self._retry.clear()
        waits = [
            asyncio.get_running_loop().create_task(event.wait(), name="retry or closing")
            for event in (self._retry, self._closing)
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)
