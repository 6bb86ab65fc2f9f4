"""Waiting for what tells nobody when it happens: foreign processes, files, sockets."""

import asyncio
from collections.abc import Callable

import psutil


async def until(condition: Callable[[], object], *, limit_s: float = 45) -> None:
    """Return once `condition()` is true. Raises TimeoutError."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether no process with this pid runs; a zombie does not run."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
