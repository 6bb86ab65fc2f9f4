"""How stress runs end: completed, stopped, cancelled, with failures, with dead or stuck workers."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from llama_runner.backends.base import Endpoint, Engine, Target
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import UnreachableError, UsageError
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.ports import pick_free_port
from llama_runner.stress.health import ClientStatus, judge_client
from llama_runner.stress.job import Job
from llama_runner.stress.live import StressSnapshot
from llama_runner.stress.load import LoadLoop
from llama_runner.stress.manager import StressManager
from llama_runner.stress.plan import BurstPlan, Share, request_of
from llama_runner.stress.pool import LoadWorkerError
from llama_runner.stress.records import Progress
from llama_runner.stress.report import Badge, StressReport, Verdict
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan
from tests.integration.stress_support import (
    PlannedBackend,
    burst,
    load_worker_pids,
    saved_requests,
    server_entries,
    stress_manager,
)

SHORT = Plan(prefill_ms=20, tokens=5, gap_ms=5)
ENDLESS = Plan(prefill_ms=20, tokens=100_000, gap_ms=20)


async def snapshot_where(
    manager: StressManager, wanted: Callable[[StressSnapshot], bool], timeout_s: float = 45
) -> StressSnapshot:
    """The first snapshot that fits."""
    subscription = manager.snapshots.subscribe()
    try:
        async with asyncio.timeout(timeout_s):
            async for snapshot in subscription:
                if wanted(snapshot):
                    return snapshot
    finally:
        subscription.close()
    raise AssertionError("the topic ended")


async def interrupted_run(
    manager: StressManager, plan: BurstPlan, act: Callable[[], object], when: Callable[[StressSnapshot], bool]
) -> StressReport:
    """Run `plan` and call `act` as soon as a snapshot fits; awaits what `act` returns."""
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(snapshot_where(manager, when))
        running = group.create_task(manager.run(plan))
        await watching
        outcome = act()
        if asyncio.iscoroutine(outcome):
            await outcome
        return await running


async def test_t17_failures_are_counted_exactly_and_stay_out_of_the_latencies(
    home: Path, metronome: Metronome
) -> None:
    def plan_of(number: int) -> Plan:
        if number % 20 == 0:
            return Plan(status=500)
        if number in (7, 33):
            return Plan(tokens=50, gap_ms=2, reset_at=10)
        if number in (51, 52, 53):
            return Plan(tokens=50, gap_ms=2, cut_at=5)
        if number == 70:
            return Plan(tokens=50, stall_at=3)
        return SHORT

    async with stress_manager(home, plan_of) as manager:
        report = await manager.run(burst(metronome, concurrency=8, total_requests=100, request_timeout_s=2.0))
    level = report.levels[0]
    assert (level.requests.sent, level.requests.ok, level.requests.failed) == (100, 89, 11)
    assert level.errors == {"server": 5, "timeout": 1, "truncated": 5}
    assert level.ttft_s.n == level.e2e_s.n == 89
    assert level.e2e_s.max is not None and level.e2e_s.max < 1.0
    assert report.verdict is Verdict.COMPLETED and report.badge is Badge.NOT_COMPARABLE
    failed = [request for request in saved_requests(report) if request["outcome"] == "failed"]
    assert all(request["error"] for request in failed)
    assert {request["index"] for request in failed if request["error_kind"] == "timeout"} == {70}


async def test_stopping_keeps_what_is_done_and_counts_the_rest_as_aborted(
    home: Path, metronome: Metronome
) -> None:
    async with stress_manager(home, lambda n: SHORT if n < 10 else ENDLESS) as manager:
        report = await interrupted_run(
            manager,
            burst(metronome, concurrency=4, total_requests=1000, max_tokens=100_000),
            manager.stop,
            lambda seen: seen.ok == 10 and seen.in_flight == 4,
        )
        assert not manager.running and load_worker_pids() == []
    level = report.levels[0]
    assert report.verdict is Verdict.STOPPED and report.error is None
    assert (level.requests.sent, level.requests.ok, level.requests.aborted) == (14, 10, 4)
    # The window ends with the last token, whoever it belonged to.
    assert level.output_tokens > 50
    assert "The run was stopped early." in report.badge_reasons
    assert len(saved_requests(report)) == 14
    entries = server_entries(metronome, report)
    assert [entries[index].ended for index in range(10, 14)] == ["closed by client"] * 4


async def test_stopping_before_the_load_began_gives_an_empty_report(home: Path, metronome: Metronome) -> None:
    async with stress_manager(home, lambda _: SHORT) as manager:
        report = await interrupted_run(
            manager, burst(metronome), manager.stop, lambda seen: seen.phase == "starting"
        )
    assert report.verdict is Verdict.STOPPED
    assert report.levels[0].requests.sent == 0
    assert report.badge is Badge.NOT_COMPARABLE


async def test_a_killed_worker_is_a_typed_error_and_what_was_measured_is_kept(
    home: Path, metronome: Metronome
) -> None:
    def kill() -> None:
        (pid,) = load_worker_pids()
        psutil.Process(pid).kill()

    async with stress_manager(home, lambda n: SHORT if n < 10 else ENDLESS) as manager:
        report = await interrupted_run(
            manager,
            burst(metronome, concurrency=4, total_requests=1000, max_tokens=100_000),
            kill,
            lambda seen: seen.ok == 10 and seen.in_flight == 4,
        )
        again = await manager.run(burst(metronome, concurrency=2, total_requests=4))
    assert isinstance(report.error, LoadWorkerError) and report.error.hint
    assert report.verdict is Verdict.FAILED and report.badge is Badge.NOT_COMPARABLE
    level = report.levels[0]
    assert (level.requests.sent, level.requests.ok, level.requests.aborted) == (14, 10, 4)
    assert report.run_dir is not None and len(saved_requests(report)) == 10
    assert report.client.status is ClientStatus.SUSPECT
    assert again.verdict is Verdict.COMPLETED


@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal that freezes a process")
async def test_a_worker_that_hangs_is_ended_by_force(
    home: Path, metronome: Metronome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_runner.stress.run.STOP_GRACE_S", 1.0)

    def freeze_and_stop() -> object:
        (pid,) = load_worker_pids()
        os.kill(pid, signal.SIGSTOP)
        return manager.stop()

    async with stress_manager(home, lambda _: ENDLESS) as manager:
        report = await interrupted_run(
            manager,
            burst(metronome, concurrency=2, total_requests=2, max_tokens=100_000),
            freeze_and_stop,
            lambda seen: seen.in_flight == 2,
        )
        assert load_worker_pids() == []
    assert isinstance(report.error, LoadWorkerError) and report.verdict is Verdict.FAILED
    assert report.levels[0].requests.aborted == 2


async def test_cancelling_a_run_leaves_no_worker_and_the_manager_usable(
    home: Path, metronome: Metronome
) -> None:
    async with stress_manager(home, lambda n: ENDLESS if n < 2 else SHORT) as manager:
        owner = TaskOwner()
        running = owner.start(manager.run(burst(metronome, concurrency=2, total_requests=2)), name="run")
        await snapshot_where(manager, lambda seen: seen.in_flight == 2)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert running.cancelled() and load_worker_pids() == [] and not manager.running
        await owner.close()


async def test_only_one_run_at_a_time(home: Path, metronome: Metronome) -> None:
    async with stress_manager(home, lambda _: SHORT) as manager:

        async def second() -> None:
            with pytest.raises(UsageError, match="running already"):
                await manager.run(burst(metronome))

        report = await interrupted_run(
            manager, burst(metronome, total_requests=20), second, lambda seen: seen.phase == "starting"
        )
    assert report.verdict is Verdict.COMPLETED


async def test_f11_a_server_that_is_not_there_is_said_before_any_worker_starts(home: Path) -> None:
    target = Target(Endpoint(f"http://127.0.0.1:{pick_free_port()}", Engine.OPENAI), "m", "m")
    async with stress_manager(home, lambda _: SHORT) as manager:
        with pytest.raises(UnreachableError):
            await manager.run(BurstPlan(target=target, prompt="Hello"))
        assert not manager.running
    assert not (home / "data" / "runs").exists()


async def test_a_run_that_cannot_be_saved_still_shows_its_figures(home: Path, metronome: Metronome) -> None:
    async with stress_manager(home, lambda _: SHORT) as manager:
        (home / "data" / "runs").write_text("in the way")
        report = await manager.run(burst(metronome, concurrency=2, total_requests=4))
    assert report.run_dir is None and report.error is not None and report.error.kind == "storage"
    assert report.levels[0].requests.ok == 4


async def test_snapshots_count_up_to_the_end(home: Path, metronome: Metronome) -> None:
    async with stress_manager(home, lambda _: Plan(prefill_ms=100, tokens=10, gap_ms=20)) as manager:
        subscription = manager.snapshots.subscribe()
        await manager.run(burst(metronome, concurrency=4, total_requests=16))
        seen = subscription.drain()
        subscription.close()
    assert [snapshot.phase for snapshot in seen][-1] == "done"
    assert {"starting", "running"} <= {snapshot.phase for snapshot in seen}
    assert [snapshot.ok for snapshot in seen] == sorted(snapshot.ok for snapshot in seen)
    last = seen[-1]
    assert (last.sent, last.ok, last.in_flight, last.output_tokens) == (16, 16, 0, 160)
    assert last.ttft_p50_s is not None and abs(last.ttft_p50_s - 0.1) < 0.05


async def test_two_workers_share_the_load(
    home: Path, metronome: Metronome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_runner.stress.run.worker_count", lambda concurrency, cpus: 2)
    async with stress_manager(home, lambda _: SHORT) as manager:
        report = await manager.run(burst(metronome, concurrency=5, total_requests=31))
    assert report.levels[0].requests.ok == 31 and report.client.workers == 2
    by_worker = [request["worker"] for request in saved_requests(report)]
    assert (by_worker.count(0), by_worker.count(1)) == (16, 15)


async def test_t11_a_client_that_stalls_is_not_blamed_on_the_server(home: Path, metronome: Metronome) -> None:
    clock = SystemClock()

    def stall(_: Progress) -> None:
        until_ns = clock.now_ns() + 60_000_000
        while clock.now_ns() < until_ns:
            pass

    plan = burst(metronome, total_requests=4)
    async with stress_manager(home, lambda _: Plan(prefill_ms=50, tokens=50, gap_ms=20)) as manager:
        backend = manager._connect(plan.target.endpoint)
        assert isinstance(backend, PlannedBackend)
        wires = tuple(backend.encode(request_of(plan, 1, index)) for index in range(4))
        share = Share(worker=0, concurrency=4, indices=(0, 1, 2, 3))
        job = Job(share, Engine.OPENAI, metronome.url, wires, 30.0)
        report = await LoadLoop(job=job, clock=clock, publish=stall).run(lambda _: None)
    assert judge_client([report], 0.05).status is ClientStatus.LIMITED


def wait_until_in_flight(metronome: Metronome, number: int, timeout_s: float = 30) -> None:
    """Block until the server has that many requests in flight; it can only be asked, it does not tell."""
    deadline_s = time.monotonic() + timeout_s
    while metronome.load()["in_flight"] < number:
        assert time.monotonic() < deadline_s, "the requests never came"
        threading.Event().wait(0.05)


async def wait_gone(pids: list[int], timeout_s: float = 30) -> list[int]:
    """Those of `pids` that are still alive when the time is up."""
    processes = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout_s)
    return [process.pid for process in alive]


async def test_workers_end_when_their_parent_is_killed(home: Path, metronome: Metronome) -> None:
    model = ENDLESS.model_id()
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "llama_runner",
            "stress",
            "burst",
            "--server",
            metronome.url,
            "--model",
            model,
        ),
        *("--concurrency", "2", "--requests", "4", "--max-tokens", "100000", "--json"),
        stdout=asyncio.subprocess.DEVNULL,
    )
    await asyncio.to_thread(wait_until_in_flight, metronome, 2)
    children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.kill()
    await process.wait()
    assert len(children) >= 1
    assert await wait_gone(children) == []
