"""Who keeps a service alive: its owner, and whoever relies on it, however each of them ends."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from llama_runner.control.runfile import run_file_path
from llama_runner.core.paths import create_folders, home_at
from tests.fakes.waiting import is_gone, until
from tests.integration.program import adopting_orphans
from tests.integration.service_process import LIMIT_S

# Finds or starts the service of a home, says whose it is, and stays until it is killed or its stdin ends.
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from llama_runner.control.launcher import attach_or_start
from llama_runner.core.paths import home_at
from llama_runner.net.client import open_http

async def main():
    async with open_http() as http:
        connection = await attach_or_start(home_at(Path(sys.argv[1])), http=http)
        pid = (await connection.client.health()).pid
        print(json.dumps([pid, connection.owned is not None]), flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)
        await connection.close()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def prepared(home: Path) -> Iterator[None]:
    create_folders(home_at(home))
    (home / "config" / "app_config.json").write_text('{"version": 1, "service": {"control_port": 0}}')
    with adopting_orphans():
        yield


@contextmanager
def programs(home: Path, count: int) -> Iterator["list[subprocess.Popen[bytes]]"]:
    """That many programs of one home, started together."""
    argv = [sys.executable, "-c", PROGRAM, str(home)]
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            program = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
            started.append(stack.enter_context(program))
            stack.callback(program.kill)
        yield started


def said(program: "subprocess.Popen[bytes]") -> tuple[psutil.Process, bool]:
    """The service a program uses, and whether it owns it."""
    assert program.stdout is not None
    pid, owned = json.loads(program.stdout.readline())
    return psutil.Process(pid), owned


def end(program: "subprocess.Popen[bytes]", *, by_force: bool) -> None:
    """The end of a program, in peace or by SIGKILL."""
    if by_force:
        program.kill()
    else:
        assert program.stdin is not None
        program.stdin.close()
    program.wait(LIMIT_S)


def lives(service: psutil.Process) -> bool:
    """Whether the service still runs some time after it would have ended."""
    try:
        service.wait(0.7)
    except psutil.TimeoutExpired:
        return True
    return False


@pytest.mark.parametrize("by_force", [False, True])
def test_f41_of_programs_that_start_together_one_owns_and_the_last_to_go_ends_the_service(
    home: Path, by_force: bool
) -> None:
    """The owner goes first: the service stays for the others, and ends with the last of them."""
    with programs(home, 3) as started:
        uses = [(program, *said(program)) for program in started]
        service = uses[0][1]
        assert {used.pid for _, used, _ in uses} == {service.pid}
        owners = [program for program, _, owned in uses if owned]
        others = [program for program, _, owned in uses if not owned]
        assert len(owners) == 1
        end(owners[0], by_force=by_force)
        assert lives(service)
        end(others[0], by_force=by_force)
        assert lives(service)
        end(others[1], by_force=by_force)
        service.wait(LIMIT_S)
    assert not run_file_path(home_at(home)).exists()


def test_a_frozen_client_keeps_the_service_and_lets_it_end_once_killed(home: Path) -> None:
    """A laptop's sleep or a debugger stops a program for long: what it relies on is there afterwards."""
    with programs(home, 1) as (owner,):
        service, owned = said(owner)
        assert owned
        with programs(home, 1) as (client,):
            assert said(client) == (service, False)
            client.send_signal(signal.SIGSTOP)
            end(owner, by_force=True)
            assert lives(service)
            end(client, by_force=True)
        service.wait(LIMIT_S)


async def test_a_killed_service_is_replaced_by_one_of_those_who_used_it(home: Path) -> None:
    """F9: a stale run file, a lock given back by the system, and two programs that want a service now."""
    with programs(home, 2) as started:
        services = {said(program)[0].pid for program in started}
        assert len(services) == 1
        first = psutil.Process(services.pop())
        first.kill()
        await until(lambda: is_gone(first.pid))
        assert run_file_path(home_at(home)).exists()
        with programs(home, 2) as next_ones:
            found = [await asyncio.to_thread(said, program) for program in next_ones]
            assert found[0][0] == found[1][0]
            assert found[0][0].pid != first.pid
            assert sorted(owned for _, owned in found) == [False, True]
