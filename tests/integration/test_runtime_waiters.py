"""Whatever happens to an instance, in whatever order, nobody waits for ever and nothing stays behind."""

import asyncio
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.runtime.gpu import Card
from llama_runner.runtime.instance import InstanceSnapshot, InstanceState
from llama_runner.runtime.manager import RuntimeManager
from llama_runner.runtime.states import ENDED, SERVING
from tests.fakes.fake_llama_server import fake_engine
from tests.fakes.waiting import is_gone
from tests.integration.runtime_support import open_manager

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fake engine is a shell script")

LIVES = st.sampled_from(
    [
        {},
        {"ready_after_s": 0.2},
        {"ready_after_s": None},
        {"exit_code": 1},
        {"crash_after_ready_s": 0.05},
        {"alias": "somebody else"},
        {"protocol": False},
        {"ignore_term": True, "protocol": False},
        {"grandchild": True},
    ]
)
STEPS = st.sampled_from(
    ["load", "wait ready", "wait ready", "unload", "kill", "freeze", "pause", "next change"]
)


async def _step(
    name: str, manager: RuntimeManager, waiters: list[asyncio.Task[object]], group: asyncio.TaskGroup
) -> None:
    pids = [snapshot.pid for snapshot in manager.instances() if snapshot.pid]
    match name:
        case "load":
            await _outcome(manager.load("a"))
        case "wait ready":
            waiters.append(group.create_task(_outcome(manager.ensure_ready("a"))))
        case "unload":
            waiters.append(group.create_task(_outcome(manager.unload("a"))))
        case "kill" | "freeze":
            for pid in pids:
                if not is_gone(pid):
                    os.kill(pid, signal.SIGSEGV if name == "kill" else signal.SIGSTOP)
        case "next change":
            await manager.wait_change(manager.revision, 0.2)
        case _:
            await asyncio.sleep(0.03)


async def _outcome(awaitable: object) -> object:
    try:
        return await awaitable  # type: ignore[misc]
    except LlamaRunnerError as error:
        return error


async def _run(folder: Path, lives: list[dict[str, object]], steps: list[str]) -> None:
    engine = fake_engine(folder / "engine", *lives)
    seen: set[int] = set()
    async with open_manager(folder, engine, stop_grace_s=0.2, load_stall_s=1.0) as manager:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            waiters: list[asyncio.Task[object]] = []
            for step in steps:
                await _step(step, manager, waiters, group)
                seen |= {snapshot.pid for snapshot in manager.instances() if snapshot.pid}
                for snapshot in manager.instances():
                    _check(snapshot)
            await manager.close()
        # The group ended: every waiter was settled, with a result or with an error that says why.
        assert all(waiter.done() for waiter in waiters)
        assert manager.instances() == ()
    assert all(map(is_gone, seen))


def _check(snapshot: InstanceSnapshot) -> None:
    assert (snapshot.state is InstanceState.FAILED) <= (
        snapshot.error is not None and snapshot.advice is not None
    )
    assert (snapshot.state in SERVING) <= (snapshot.pid is not None and snapshot.load_s is not None)
    assert (snapshot.state in ENDED) <= (snapshot.pid is None)


# Each example starts real processes: few examples of many steps, and bounded in time.
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(lives=st.lists(LIVES, min_size=1, max_size=4), steps=st.lists(STEPS, min_size=3, max_size=12))
def test_every_waiter_is_settled_after_any_sequence(lives: list[dict[str, object]], steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_run(Path(folder), lives, steps))


class _SlowCards:
    """A driver that takes its time when it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answers = threading.Event()
        self.answers.set()

    def read(self) -> tuple[Card, ...]:
        self.asked.set()
        assert self.answers.wait(20)
        return (Card("card", 1 << 40, 1 << 40),)


async def test_who_wanted_room_and_left_leaves_no_model_that_is_leaving_for_ever(tmp_path: Path) -> None:
    """H26: cancelled between the decision and the end: the model ends, and the next one to ask gets it."""
    cards = _SlowCards()
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine"), gpu=cards) as manager:
        await manager.ensure_ready("a")
        cards.answers.clear()
        cards.asked.clear()
        async with asyncio.TaskGroup() as group:
            unloading = group.create_task(manager.unload("a"))
            assert await asyncio.to_thread(cards.asked.wait, 20)
            unloading.cancel()
        cards.answers.set()
        async with asyncio.timeout(20), manager.use("a"):
            assert [one.model_id for one in manager.instances()] == ["a"]
