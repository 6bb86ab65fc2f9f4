"""How a run ends when it is cancelled at an unlucky moment."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from llama_runner.backends.openai import OpenAIBackend
from llama_runner.core.clock import SystemClock
from llama_runner.core.topic import Topic
from llama_runner.net.client import open_http
from llama_runner.stress.job import Job
from llama_runner.stress.pool import OnMessage
from llama_runner.stress.records import WorkerReport
from llama_runner.stress.run import BurstRun
from tests.unit.stress.values import a_plan


class SlowToStart:
    """Workers whose processes take their time to start, as they do on a busy Windows machine."""

    def __init__(self) -> None:
        self.starting = threading.Event()
        self.may_start = threading.Event()
        self.started = threading.Event()
        self.running = False

    def start(self, jobs: Sequence[Job], on_message: OnMessage) -> list[Future[WorkerReport]]:
        self.starting.set()
        self.may_start.wait(10)
        self.running = True
        self.started.set()
        return [Future() for _ in jobs]

    def tell_all(self, word: str) -> None:
        """Nobody listens."""

    def close(self) -> None:
        self.running = False


async def test_a_run_cancelled_while_its_workers_start_leaves_none_running() -> None:
    """The processes come from a thread that no cancellation stops: they would wait for a word for ever."""
    workers, clock = SlowToStart(), SystemClock()
    plan = a_plan(total_requests=1)
    run = BurstRun(plan=plan, workers=workers, clock=clock, cpus=2, snapshots=Topic())
    async with open_http() as http:
        backend = OpenAIBackend(plan.target.endpoint, http=http, clock=clock)
        async with asyncio.TaskGroup() as group:
            measuring = group.create_task(run.measure(backend))
            await asyncio.to_thread(workers.starting.wait, 10)
            measuring.cancel()
            # Several turns of the loop: whoever does not wait has closed the workers by now.
            for _ in range(5):
                await asyncio.sleep(0.01)
            workers.may_start.set()
        with pytest.raises(asyncio.CancelledError):
            measuring.result()
    assert workers.started.wait(10)
    assert not workers.running
