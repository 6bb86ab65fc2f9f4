"""The registry in step with its file, while both change."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.core.paths import create_folders, home_at
from llama_runner.discovery.keeping import Keeper
from llama_runner.discovery.registry import ServerRecord, ServerRegistry, ServerSource
from llama_runner.discovery.saved import SavedServers
from llama_runner.system.locks import FileLock
from tests.unit.discovery.test_saved import server

A, B, C = (server(f"http://192.168.7.20:{port}") for port in (1, 2, 3))


class Program:
    """One of the programs that share a list."""

    def __init__(self, home: Path) -> None:
        self.saved = SavedServers(home_at(home), SystemClock())
        self.registry = ServerRegistry()
        self.entered: list[str] = []
        self.keeper = Keeper(registry=self.registry, saved=self.saved, entered=self.entered.append)

    @property
    def records(self) -> tuple[ServerRecord, ...]:
        return self.registry.records


@pytest.fixture
def folder(home: Path) -> Path:
    create_folders(home_at(home))
    SavedServers(home_at(home), SystemClock()).keep((A, B))
    return home


async def test_what_the_file_holds_enters_the_registry_and_is_not_written_again(folder: Path) -> None:
    program = Program(folder)

    assert program.records == (A, B)
    assert program.entered == [A.id, B.id]
    assert not program.keeper.is_behind


async def test_what_another_program_did_happens_here_too(folder: Path) -> None:
    here, there = Program(folder), Program(folder)
    there.registry.remove(A.id)
    there.registry.edit(B.id, note="theirs")
    there.registry.upsert(C)
    await there.keeper.keep()

    await here.keeper.keep()

    assert here.records == (replace(B, note="theirs"), C)
    assert here.entered == [A.id, B.id, C.id]
    assert not here.keeper.is_behind


async def test_what_changes_while_it_is_written_is_neither_undone_nor_taken_for_written(folder: Path) -> None:
    here, there = Program(folder), Program(folder)
    there.registry.edit(A.id, note="theirs")
    there.registry.remove(B.id)
    await there.keeper.keep()

    with FileLock(here.saved.path.with_name("servers.lock")) as lock:
        assert lock.acquire()
        async with asyncio.TaskGroup() as group:
            group.create_task(here.keeper.keep())
            await asyncio.sleep(0)  # The list is taken; its writing waits for the lock.
            here.registry.edit(A.id, note="mine")
            here.registry.edit(B.id, favourite=True)
            here.registry.upsert(C)
            lock.release()

    assert here.records == (replace(A, note="mine"), replace(B, favourite=True), C)
    assert here.keeper.is_behind
    await here.keeper.keep()
    assert Program(folder).records == here.records


async def test_our_own_instances_are_neither_written_nor_removed(folder: Path) -> None:
    program = Program(folder)
    own = replace(C, id="service:i1", source=ServerSource.SERVICE)
    program.registry.upsert(own)

    assert not program.keeper.is_behind
    await program.keeper.keep()

    assert program.records == (A, B, own)
    assert Program(folder).records == (A, B)
