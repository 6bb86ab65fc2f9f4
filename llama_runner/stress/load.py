"""The closed loop inside one worker: keeps its streams going, decodes afterwards, watches itself.

Nothing here may hold the event loop for long: a late loop stamps tokens late, and the server gets the blame.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from llama_runner.backends.base import WireRequest
from llama_runner.backends.decode import decode_into
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.registry import decoder_for
from llama_runner.core.clock import Clock
from llama_runner.net.load import LoadClient, RawAnswer
from llama_runner.stress.job import Job
from llama_runner.stress.measure import record_of
from llama_runner.stress.records import Progress, RequestRecord, WorkerReport

BEAT_S: Final = 0.010
# Four times a second is what a person can follow; a little more often, so that the parent's ticks find news.
BEATS_PER_MESSAGE: Final = 20
# Decoding gives way to reads after this long: stamps of other streams are late by no more than that.
DECODE_SLICE_NS: Final = 300_000
# Coarser than the heartbeat's own error matters only on Windows, where timers tick every 15.6 ms.
TIMER_GRAIN_S: Final = time.get_clock_info("monotonic").resolution

StopHook = Callable[[Callable[[], object] | None], None]


@dataclass(slots=True)
class Attempt:
    """One request that was begun, and what came of it."""

    index: int
    t_begin_ns: int
    raw: RawAnswer
    aborted: bool = False


class LoadLoop:
    """One worker's share, from the first request to its report.

    Args:
        publish: Sends a message to the parent; called on the loop's thread, must not block for long.
    """

    def __init__(self, *, job: Job, clock: Clock, publish: Callable[[Progress], None]) -> None:
        self._job = job
        self._clock = clock
        self._publish = publish
        self._todo: Iterator[tuple[int, WireRequest]] = iter(zip(job.share.indices, job.wires, strict=True))
        self._attempts: asyncio.Queue[Attempt | None] = asyncio.Queue()
        self._ended: list[RequestRecord] = []
        self._lags_s: list[float] = []
        self._stopping = False
        self._begun = 0
        self._in_flight = 0
        self._reads = 0
        self._backlog = 0

    async def run(self, on_stop: StopHook) -> WorkerReport:
        """Send everything, or as much as there is time for until the parent says STOP.

        Args:
            on_stop: Told what to call at STOP, from any thread, and None when it must not be called any more.
        """
        start_ns, cpu_start_s = self._clock.now_ns(), time.process_time()
        async with asyncio.TaskGroup() as background:
            decoding = background.create_task(self._decode_all(), name="decode")
            beating = background.create_task(self._beat(), name="heartbeat")
            async with LoadClient(
                clock=self._clock, pin=self._job.tls_pin, scopes=self._job.scopes
            ) as client:
                await self._keep_load_up(client, on_stop)
            wall_s = (self._clock.now_ns() - start_ns) / 1e9
            cpu_s = time.process_time() - cpu_start_s
            self._attempts.put_nowait(None)
            await decoding
            beating.cancel()
        self._tell()
        return self._report(cpu_s, wall_s)

    async def _keep_load_up(self, client: LoadClient, on_stop: StopHook) -> None:
        loop = asyncio.get_running_loop()
        slots: list[asyncio.Task[None]] = []

        def cancel_slots() -> None:
            for slot in slots:
                slot.cancel()

        def stop() -> None:
            self._stopping = True
            loop.call_soon_threadsafe(cancel_slots)

        # Before the first slot: a STOP that came already must let none begin.
        on_stop(stop)
        async with asyncio.TaskGroup() as group:
            for number in range(self._job.share.concurrency):
                slots.append(group.create_task(self._slot(client), name=f"slot {number}"))
        on_stop(None)

    async def _slot(self, client: LoadClient) -> None:
        for index, wire in self._todo:
            if self._stopping:
                return
            attempt = Attempt(index, self._clock.now_ns(), RawAnswer(wire.url))
            self._begun += 1
            self._in_flight += 1
            try:
                await client.send(wire, timeout_s=self._job.request_timeout_s, into=attempt.raw)
            except asyncio.CancelledError:
                attempt.aborted = True
                raise
            finally:
                self._in_flight -= 1
                self._reads += len(attempt.raw.reads)
                self._attempts.put_nowait(attempt)
                self._backlog = max(self._backlog, self._attempts.qsize())

    async def _decode_all(self) -> None:
        while (attempt := await self._attempts.get()) is not None:
            # Not inside the call: `_tell` takes the list away while this waits.
            record = await self._decode(attempt)
            self._ended.append(record)

    async def _decode(self, attempt: Attempt) -> RequestRecord:
        fold = AnswerFold()
        decoder = decoder_for(self._job.engine, self._job.base_url)
        slice_end_ns = self._clock.now_ns() + DECODE_SLICE_NS
        for _ in decode_into(fold, decoder, attempt.raw):
            if self._clock.now_ns() > slice_end_ns:
                await asyncio.sleep(0)
                slice_end_ns = self._clock.now_ns() + DECODE_SLICE_NS
        return record_of(
            fold,
            index=attempt.index,
            worker=self._job.share.worker,
            t_begin_ns=attempt.t_begin_ns,
            t_end_ns=attempt.raw.t_end_ns or self._clock.now_ns(),
            aborted=attempt.aborted,
            timed_out=attempt.raw.timed_out,
        )

    async def _beat(self) -> None:
        """A heartbeat with fixed deadlines: how late it is, is how late any event of this loop is noticed.

        After a stall the missed beats follow at once, each with its own lateness: one beat alone would make a
        stall of 200 ms look like one late event among hundreds, though whatever came during it was late.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time()
        while True:
            deadline_s += BEAT_S
            await asyncio.sleep(max(0.0, deadline_s - loop.time()))
            self._lags_s.append(max(0.0, loop.time() - deadline_s - TIMER_GRAIN_S))
            if len(self._lags_s) % BEATS_PER_MESSAGE == 0:
                self._tell()

    def _tell(self) -> None:
        ended, self._ended = tuple(self._ended), []
        self._publish(Progress(self._job.share.worker, self._begun, self._in_flight, ended))

    def _report(self, cpu_s: float, wall_s: float) -> WorkerReport:
        lags_s = np.asarray(self._lags_s or [0.0])
        return WorkerReport(
            worker=self._job.share.worker,
            pid=os.getpid(),
            beats=len(self._lags_s),
            lag_p50_s=float(np.quantile(lags_s, 0.5)),
            lag_p99_s=float(np.quantile(lags_s, 0.99)),
            lag_max_s=float(lags_s.max()),
            cpu_s=cpu_s,
            wall_s=wall_s,
            reads=self._reads,
            decode_backlog=self._backlog,
            loop=type(asyncio.get_running_loop()).__module__.partition(".")[0],
        )
