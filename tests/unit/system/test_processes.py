import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from llama_runner.system.processes import (
    DEVNULL,
    PIPE,
    Child,
    ProcessIdentity,
    identity,
    is_same,
    listener_of,
    listens_on,
    memory_bytes,
    scrubbed_environment,
    spawn,
    stop,
)
from tests.fakes.waiting import is_gone, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses a POSIX shell")

ENV = scrubbed_environment(os.environ, sys.platform)


async def _shell(script: str) -> Child:
    return await spawn(["/bin/sh", "-c", script], env=ENV, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)


async def _line(child: Child) -> str:
    assert child.stdout is not None
    return (await child.stdout.readline()).decode().strip()


async def test_a_child_that_ends_by_itself_reports_its_code() -> None:
    child = await _shell("exit 7")
    assert await child.wait() == 7
    assert await stop(child, grace_s=5)


async def test_stop_asks_first() -> None:
    child = await _shell("trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done")
    assert await _line(child) == "up"
    assert await stop(child, grace_s=5)
    assert child.returncode == 3


async def test_a_child_that_ignores_the_request_is_killed_after_the_grace() -> None:
    """F6."""
    child = await _shell("trap '' TERM; echo up; while :; do sleep 0.01; done")
    await _line(child)
    began = time.perf_counter()
    assert not await stop(child, grace_s=0.2)
    assert 0.2 <= time.perf_counter() - began < 2
    assert child.returncode == -signal.SIGKILL


async def test_waiting_does_not_hang_on_a_grandchild_that_holds_the_pipes() -> None:
    """F7."""
    child = await _shell("sleep 300 & echo $!; exit 5")
    grandchild = int(await _line(child))
    async with asyncio.timeout(2):
        assert await child.wait() == 5
    await stop(child, grace_s=5)
    await until(lambda: is_gone(grandchild))


async def test_a_grandchild_in_a_session_of_its_own_is_killed_too() -> None:
    child = await _shell("setsid sleep 300 & echo up; wait")
    await _line(child)
    shell = psutil.Process(child.pid)
    await until(lambda: shell.children(recursive=True))
    grandchildren = [process.pid for process in shell.children(recursive=True)]
    await stop(child, grace_s=0.1)
    await until(lambda: all(map(is_gone, grandchildren)))


async def test_a_cancelled_stop_still_kills() -> None:
    child = await _shell("trap '' TERM; echo up; while :; do sleep 0.01; done")
    await _line(child)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await stop(child, grace_s=60)
    assert child.returncode == -signal.SIGKILL
    assert child.closed


async def test_stopping_twice_is_harmless() -> None:
    child = await _shell("exit 0")
    await child.wait()
    await stop(child, grace_s=1)
    assert await stop(child, grace_s=1)
    child.close()
    child.kill()


async def test_a_program_that_does_not_exist_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        await spawn(["/nonexistent/program"], env=ENV)


async def test_only_the_given_environment_arrives() -> None:
    child = await spawn(["/usr/bin/env"], env={"A": "1"}, stdout=PIPE)
    assert child.stdout is not None
    assert await child.stdout.read() == b"A=1\n"
    await stop(child, grace_s=1)


PARENT = """
import asyncio, os, sys
from llama_runner.system.processes import spawn

async def main():
    guarded = await spawn(["sleep", "300"], env={}, die_with_parent=True)
    free = await spawn(["sleep", "300"], env={}, die_with_parent=False)
    print(guarded.pid, free.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux guard")
async def test_a_child_dies_with_a_parent_that_is_killed() -> None:
    """F9."""
    root = Path(__file__).resolve().parents[3]
    parent = await spawn(
        [sys.executable, "-c", PARENT], env=dict(os.environ) | {"PYTHONPATH": str(root)}, stdout=PIPE
    )
    guarded, free = map(int, (await _line(parent)).split())
    os.kill(parent.pid, signal.SIGKILL)
    await until(lambda: is_gone(guarded))
    assert not is_gone(free)
    os.kill(free, signal.SIGKILL)
    await stop(parent, grace_s=1)


def test_identity_tells_a_recycled_pid_from_the_process() -> None:
    """F9: a pid with another creation time is somebody else."""
    me = identity(os.getpid())
    assert me is not None
    assert is_same(me)
    assert not is_same(ProcessIdentity(me.pid, me.create_time - 1))


def test_nobody_and_zombies_have_no_identity() -> None:
    process = subprocess.Popen(["sleep", "300"])
    known = identity(process.pid)
    assert known is not None
    process.kill()
    # Reaped only by wait(): until then it is a zombie.
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        os.sched_yield()
    assert identity(process.pid) is None
    assert not is_same(known)
    process.wait()
    assert identity(process.pid) is None
    assert memory_bytes(process.pid) is None
    assert listens_on(process.pid, 1) is False


async def test_a_listener_is_named() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found = listener_of(port)
    assert found is not None
    assert found.pid == os.getpid()
    assert found.name == psutil.Process().name()
    assert listens_on(os.getpid(), port)
    server.close()
    await server.wait_closed()
    assert listener_of(port) is None
    assert listens_on(os.getpid(), port) is False


def test_memory_is_positive() -> None:
    assert (memory_bytes(os.getpid()) or 0) > 1_000_000
