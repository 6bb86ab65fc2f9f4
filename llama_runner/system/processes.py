"""Starting and surely stopping child processes; the one place that spawns.

A child gets a group (POSIX session, Windows job) of its own and, if wanted, dies with us, `kill -9` included.
Re-exports the neighbours' helpers so that callers need one import.
"""

import asyncio
import logging
import sys
from asyncio.subprocess import SubprocessStreamProtocol
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import IO, Final

import psutil

from llama_runner.system.environment import scrubbed_environment, self_command
from llama_runner.system.exits import (
    describe_exit,
    is_illegal_instruction,
    is_killed,
    is_missing_library,
    is_out_of_memory,
)
from llama_runner.system.identity import (
    ListenerInfo,
    ProcessIdentity,
    cpu_seconds,
    identity,
    is_same,
    listener_of,
    listens_on,
    memory_bytes,
)

if sys.platform == "win32":
    from llama_runner.system._windows import ProcessTree, spawn_options
else:
    from llama_runner.system._posix import ProcessTree, spawn_options

__all__ = (
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Child",
    "ListenerInfo",
    "ProcessIdentity",
    "cpu_seconds",
    "describe_exit",
    "identity",
    "is_illegal_instruction",
    "is_killed",
    "is_missing_library",
    "is_out_of_memory",
    "is_same",
    "listener_of",
    "listens_on",
    "memory_bytes",
    "scrubbed_environment",
    "self_command",
    "spawn",
    "stop",
)

log = logging.getLogger(__name__)

# Bounds one unread line or chunk per pipe; reading stops the child's writing beyond it.
_PIPE_LIMIT_BYTES: Final = 64 * 1024
# A killed process is gone in milliseconds unless it hangs in the kernel; waiting longer helps nobody then.
_AFTER_KILL_S: Final = 2.0

Stdio = int | IO[bytes]


class _ExitProtocol(SubprocessStreamProtocol):
    """Tells of the exit at once; asyncio's own `wait` also waits for pipes, which a grandchild may hold."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_PIPE_LIMIT_BYTES, loop=loop)
        self.exited: asyncio.Future[None] = loop.create_future()

    def process_exited(self) -> None:
        super().process_exited()
        if not self.exited.done():
            self.exited.set_result(None)


class Child:
    """A running child process with the attributes of `asyncio.subprocess.Process` that we use.

    Belongs to the loop that spawned it. `close` it when it has ended.
    """

    def __init__(
        self, transport: asyncio.SubprocessTransport, protocol: _ExitProtocol, tree: ProcessTree
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._tree = tree
        self.closed = False
        self.pid: int = transport.get_pid() or 0
        process = asyncio.subprocess.Process(transport, protocol, asyncio.get_running_loop())
        self.stdin: asyncio.StreamWriter | None = process.stdin
        self.stdout: asyncio.StreamReader | None = process.stdout
        self.stderr: asyncio.StreamReader | None = process.stderr

    @property
    def returncode(self) -> int | None:
        """Exit code, negative signal number on POSIX, None while it runs."""
        return self._transport.get_returncode()

    async def wait(self) -> int:
        """The exit code as soon as the child has ended, even while a grandchild holds its pipes."""
        await asyncio.shield(self._protocol.exited)
        code = self.returncode
        assert code is not None
        return code

    async def ends_within(self, limit_s: float) -> bool:
        """Whether it has ended before the time is over."""
        try:
            async with asyncio.timeout(limit_s):
                await self.wait()
        except TimeoutError:
            return False
        return True

    def ask_to_end(self) -> bool:
        """SIGTERM to its group, CTRL_BREAK on Windows. False when that reached nobody."""
        return self._tree.ask_to_end()

    def kill(self) -> None:
        """End the child and its group now."""
        if not self.closed:
            self._tree.kill()

    def close(self) -> None:
        """Release our ends of the pipes and the group; kills what still runs. Idempotent."""
        if self.closed:
            # Its group's number may belong to somebody else by now.
            return
        self.closed = True
        self._tree.kill()
        self._transport.close()
        self._tree.close()


async def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: Stdio = DEVNULL,
    stdout: Stdio = DEVNULL,
    stderr: Stdio = DEVNULL,
    cwd: Path | None = None,
    die_with_parent: bool = True,
) -> Child:
    """Start `argv` (a list, never a shell) in a group of its own.

    Call it on the loop's own thread only: on Linux the death signal fires when the spawning *thread* ends.

    Args:
        env: The whole environment of the child; see `scrubbed_environment`.
        die_with_parent: End it when this process ends, however it ends. Only a service that may outlive its
            window says False.

    Raises:
        OSError: The program could not be started.
    """
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: _ExitProtocol(loop),
        *argv,
        env=dict(env),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        **spawn_options(die_with_parent=die_with_parent),
    )
    pid = transport.get_pid() or 0
    return Child(transport, protocol, ProcessTree(pid, die_with_parent=die_with_parent))


async def stop(child: Child, *, grace_s: float, asked: bool = False) -> bool:
    """Ask the child to end, kill it and everything it started after the grace; returns once it is gone.

    Args:
        asked: It was already asked in its own way (its stdin, say); only wait and kill.

    Returns:
        Whether it ended by itself within the grace.
    """
    if child.closed:
        return True
    family = _descendants(child.pid)
    try:
        if child.returncode is None:
            reached = asked or child.ask_to_end()
            # Nobody to wait for when it could not be asked: without a console Windows can only end it.
            await child.ends_within(grace_s if reached else 0)
        return child.returncode is not None
    finally:
        # Also when cancelled: nothing may be left behind. The group first, then who left the group.
        child.kill()
        _kill_all(family)
        if not await child.ends_within(_AFTER_KILL_S):
            log.error("killed process does not end pid=%d", child.pid)
        child.close()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            # psutil compares the creation time first: a recycled pid is left alone.
            process.kill()
        except psutil.Error as error:
            log.debug("descendant not killed pid=%d reason=%s", process.pid, type(error).__name__)
