"""One run from its plan to its report: starts the workers, follows them, sees that they end."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Final, ParamSpec, TypeVar

from llama_runner.backends.base import Backend
from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.topic import Topic
from llama_runner.net.addresses import host_of
from llama_runner.stress.health import judge_client
from llama_runner.stress.job import GO, STOP, Job
from llama_runner.stress.level import summarise_level
from llama_runner.stress.live import LiveCounts, StressSnapshot
from llama_runner.stress.plan import BurstPlan, request_of, shares, worker_count
from llama_runner.stress.pool import LoadWorkerError, Workers, died
from llama_runner.stress.records import Progress, RequestRecord, WorkerMessage, WorkerReport
from llama_runner.stress.report import StressReport, Verdict, judge

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

SNAPSHOT_EVERY_S: Final = 0.25
# A spawned process imports this program again; on a busy laptop with a cold disk that takes many seconds.
START_TIMEOUT_S: Final = 60.0
# After STOP a worker closes its connections and decodes what it has: a second at most, unless it hangs.
STOP_GRACE_S: Final = 10.0


class BurstRun:
    """Carries out one plan, once.

    Attributes:
        ended: Set by the owner when nothing of the run is left.
    """

    def __init__(
        self,
        *,
        plan: BurstPlan,
        workers: Workers,
        clock: Clock,
        cpus: int,
        snapshots: Topic[StressSnapshot],
        scopes: Mapping[str, str] | None = None,
    ) -> None:
        self.ended = asyncio.Event()
        self._plan = plan
        self._workers = workers
        self._clock = clock
        self._cpus = cpus
        self._snapshots = snapshots
        self._scopes = scopes or {}
        self._counts = LiveCounts(plan.total_requests)
        self._reports: list[WorkerReport] = []
        self._phase = "starting"
        self._stopping = False
        self._go_ns: int | None = None
        self._waited_for = 0
        self._may_go = asyncio.Event()
        self._patience: asyncio.Timeout | None = None

    @property
    def records(self) -> tuple[RequestRecord, ...]:
        """Every request that ended."""
        return tuple(self._counts.records)

    def stop(self) -> None:
        """Let the workers end now; what they have is kept."""
        self._stopping = True
        if self._go_ns is not None:
            self._phase = "stopping"
            self._workers.tell_all(STOP)
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + STOP_GRACE_S)

    async def measure(self, backend: Backend) -> StressReport:
        """Run to the end. The report is not saved yet."""
        seed = self._plan.seed if self._plan.seed is not None else secrets.randbits(32)
        started_utc = self._clock.utc()
        jobs = await asyncio.to_thread(self._jobs, backend, seed)
        try:
            error = await self._load(jobs)
        finally:
            await self._end_workers()
        # Only now the last messages are in: they come on another way than the workers' results.
        return self._report(seed, started_utc, error, jobs[0].wires[0].not_sent)

    def _jobs(self, backend: Backend, seed: int) -> list[Job]:
        plan = self._plan
        host = host_of(plan.target.endpoint.base_url)
        workers = worker_count(plan.concurrency, self._cpus)
        return [
            Job(
                share=share,
                engine=plan.target.endpoint.engine,
                base_url=plan.target.endpoint.base_url,
                wires=tuple(backend.encode(request_of(plan, seed, index)) for index in share.indices),
                request_timeout_s=plan.request_timeout_s,
                tls_pin=plan.target.endpoint.tls_pin,
                scopes={host: self._scopes[host]} if host in self._scopes else {},
            )
            for share in shares(plan.concurrency, plan.total_requests, workers)
        ]

    async def _load(self, jobs: list[Job]) -> LlamaRunnerError | None:
        loop = asyncio.get_running_loop()
        self._waited_for = len(jobs)

        def on_message(message: WorkerMessage) -> None:
            loop.call_soon_threadsafe(self._on_message, message)

        def on_end(future: Future[WorkerReport]) -> None:
            # A worker that ended before it was ready will never be: look at the results at once.
            loop.call_soon_threadsafe(self._may_go.set)

        futures = await _to_its_end(self._workers.start, jobs, on_message)
        for future in futures:
            future.add_done_callback(on_end)
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(self._publish(), name="stress snapshots")
            try:
                return await self._follow(futures)
            finally:
                ticking.cancel()

    async def _follow(self, futures: list[Future[WorkerReport]]) -> LlamaRunnerError | None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._may_go.wait()
        except TimeoutError:
            return LoadWorkerError(
                f"The load workers did not start within {START_TIMEOUT_S:g} s.",
                "The machine may be too busy; try again.",
            )
        self._go_ns, self._phase = self._clock.now_ns(), "stopping" if self._stopping else "running"
        self._workers.tell_all(STOP if self._stopping else GO)
        try:
            async with asyncio.timeout(STOP_GRACE_S if self._stopping else None) as self._patience:
                results = await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
        except TimeoutError:
            return LoadWorkerError(
                "A load worker did not end when it was told to and was ended by force.",
                "What was measured until then is kept.",
            )
        self._reports = [result for result in results if isinstance(result, WorkerReport)]
        for result in results:
            if isinstance(result, BaseException):
                log.error("load worker failed", exc_info=result)
                return died(result)
        return None

    async def _publish(self) -> None:
        while True:
            self._snapshots.publish(self._snapshot())
            await asyncio.sleep(SNAPSHOT_EVERY_S)

    def _snapshot(self) -> StressSnapshot:
        elapsed_s = 0.0 if self._go_ns is None else seconds(self._clock.now_ns(), self._go_ns)
        return self._counts.snapshot(self._phase, elapsed_s)

    def _on_message(self, message: WorkerMessage) -> None:
        if isinstance(message, Progress):
            self._counts.add(message)
            return
        self._waited_for -= 1
        if self._waited_for == 0:
            self._may_go.set()

    async def _end_workers(self) -> None:
        # Whoever cancels wants it to end, and it has not ended while a worker still sends requests.
        await _to_its_end(self._workers.close)

    def _report(
        self, seed: int, started_utc: datetime, error: LlamaRunnerError | None, not_sent: tuple[str, ...]
    ) -> StressReport:
        level = summarise_level(self._plan.concurrency, self.records, lost=self._counts.lost)
        client = judge_client(self._reports, level.ttft_s.p50)
        verdict = self._verdict(level.requests.ok + level.requests.failed, error)
        badge, reasons = judge(level, client, verdict, not_sent)
        self._phase = "done"
        self._snapshots.publish(self._snapshot())
        return StressReport(
            plan=self._plan,
            seed=seed,
            started_utc=started_utc,
            ended_utc=self._clock.utc(),
            verdict=verdict,
            client=client,
            levels=(level,),
            badge=badge,
            badge_reasons=reasons,
            error=error,
        )

    def _verdict(self, completed: int, error: LlamaRunnerError | None) -> Verdict:
        if error is not None:
            return Verdict.FAILED
        # A stop that came when everything had ended has stopped nothing.
        return Verdict.COMPLETED if completed == self._plan.total_requests else Verdict.STOPPED


async def _to_its_end(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`call` on a thread; waited for also when cancelled, as no thread can be stopped half way."""
    calling = asyncio.get_running_loop().run_in_executor(None, partial(call, *args, **kwargs))
    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        await asyncio.wait((calling,))
        raise
