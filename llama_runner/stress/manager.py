"""Load tests: the one public class that carries out a plan. One run at a time; a stop keeps what there is."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from llama_runner.backends.base import Backend, Endpoint
from llama_runner.core.clock import Clock
from llama_runner.core.errors import StorageError, UsageError
from llama_runner.core.paths import Home
from llama_runner.core.topic import Topic
from llama_runner.stress.live import StressSnapshot
from llama_runner.stress.plan import DEFAULT_MAX_CONCURRENCY, BurstPlan, check_plan
from llama_runner.stress.pool import SpawnedWorkers, Workers
from llama_runner.stress.records import RequestRecord
from llama_runner.stress.report import StressReport, to_json
from llama_runner.stress.run import BurstRun
from llama_runner.stress.store import new_run_dir, save_run


class StressManager:
    """Loads a target and measures it.

    Args:
        connect: The backend for an endpoint: encodes the requests and answers the first ping.
        workers: Makes the processes of one run; replaced where the load comes from elsewhere.
        max_concurrency: No plan may exceed it.
        cpus: Cores to reckon with; None asks the system.
        scopes: How near each name was when it was first asked (D12): load goes nowhere else.

    Attributes:
        snapshots: The run as it stands, four times a second; the last one of a run has phase "done".
    """

    def __init__(
        self,
        *,
        connect: Callable[[Endpoint], Backend],
        home: Home,
        clock: Clock,
        workers: Callable[[], Workers] = SpawnedWorkers,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        cpus: int | None = None,
        scopes: Mapping[str, str] | None = None,
    ) -> None:
        self.snapshots: Topic[StressSnapshot] = Topic()
        self._connect = connect
        self._home = home
        self._clock = clock
        self._workers = workers
        self._max_concurrency = max_concurrency
        self._cpus = cpus or os.cpu_count() or 1
        self._scopes = scopes
        self._run: BurstRun | None = None

    @property
    def running(self) -> bool:
        """Whether a run is going on."""
        return self._run is not None

    async def run(self, plan: BurstPlan) -> StressReport:
        """Carry out `plan` to its end, to `stop`, or to a worker's death; save and return what was measured.

        Cancelling ends the workers and saves nothing.

        Raises:
            UsageError: The plan is impossible, lacks consent, or another run is going on.
            ServerError: The server does not answer a first ping; no load was sent.
        """
        check_plan(plan, max_concurrency=self._max_concurrency)
        if self._run is not None:
            raise UsageError("A load test is running already.", "Stop it, or wait until it ends.")
        run = self._run = BurstRun(
            plan=plan,
            workers=self._workers(),
            clock=self._clock,
            cpus=self._cpus,
            snapshots=self.snapshots,
            scopes=self._scopes,
        )
        try:
            backend = self._connect(plan.target.endpoint)
            await backend.ping()
            report = await run.measure(backend)
            return await asyncio.to_thread(self._saved, report, run.records)
        finally:
            self._run = None
            run.ended.set()

    async def stop(self) -> None:
        """End the present run early, keeping what there is; returns when that is saved."""
        if (run := self._run) is not None:
            run.stop()
            await run.ended.wait()

    async def close(self) -> None:
        """As `stop`: no worker survives."""
        await self.stop()

    def _saved(self, report: StressReport, records: tuple[RequestRecord, ...]) -> StressReport:
        try:
            saved = replace(report, run_dir=new_run_dir(self._home, report.started_utc))
            assert saved.run_dir is not None
            save_run(saved.run_dir, to_json(saved), records)
        except StorageError as error:
            # The figures are on the screen all the same; a worker's death is the more important news.
            return replace(report, error=report.error or error)
        return saved
