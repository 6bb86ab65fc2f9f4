"""`stress`: load a server, measure it, save the run."""

import argparse
import asyncio
from collections.abc import Callable
from typing import Final

from llama_runner.backends.base import Endpoint, Engine, Target
from llama_runner.cli.asking import add_target_options, target_of
from llama_runner.cli.context import home_of
from llama_runner.cli.render import Output, table
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode
from llama_runner.core.settings import StressSettings
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.addresses import parse_server_url
from llama_runner.stress.level import LevelResult
from llama_runner.stress.live import StressSnapshot
from llama_runner.stress.manager import StressManager
from llama_runner.stress.plan import BurstPlan, check_plan
from llama_runner.stress.report import StressReport, to_json
from llama_runner.stress.statistics import Summary
from llama_runner.workspace import open_workspace

MODES: Final = ("throughput", "burst")


class StressCommand:
    """Keeps a number of requests in flight and measures the answers; Ctrl+C keeps what there is."""

    name = "stress"
    help = "load a server and measure it"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the mode, the target and the plan."""
        parser.add_argument("mode", choices=MODES, help="a closed loop, under either name")
        add_target_options(parser)
        parser.add_argument("--concurrency", type=int, metavar="C", help="requests kept in flight")
        parser.add_argument("--requests", type=int, metavar="N", help="requests in all")
        parser.add_argument("--max-tokens", type=int, metavar="N", help="most tokens per answer")
        parser.add_argument("--prompt", metavar="TEXT", help="what every request asks")
        parser.add_argument("--temperature", type=float, metavar="T", help="sampling temperature")
        parser.add_argument("--timeout", type=float, metavar="S", help="seconds until a request has failed")
        parser.add_argument("--seed", type=int, metavar="N", help="repeat the same prompts as a run before")
        parser.add_argument("--ignore-eos", action="store_true", help="let every answer reach --max-tokens")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Measure, print, and say by the exit code whether it went through."""
        async with open_workspace(home_of(args), demo=args.demo, keep_serving=args.keep_serving) as workspace:
            settings = workspace.settings.stress
            # Before anything is asked or started: what may not be is said at once.
            check_plan(plan_of(args, settings, named_target(args)), max_concurrency=settings.max_concurrency)
            target = await target_of(workspace, args)
            report, interrupted = await measure(workspace.stress, plan_of(args, settings, target), out)
        out.progress("")
        out.document(to_json(report))
        out.text(describe(report))
        if report.error is not None:
            out.note(str(report.error))
        if interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.FAILED if report.error or not report.levels[0].requests.ok else ExitCode.DONE


def named_target(args: argparse.Namespace) -> Target:
    """The target as far as the command line names it, without asking anyone; no server means this machine."""
    url = parse_server_url(args.server) if args.server else "http://127.0.0.1"
    return Target(Endpoint(url, Engine.UNKNOWN), args.model or "", "")


def plan_of(args: argparse.Namespace, settings: StressSettings, target: Target) -> BurstPlan:
    """The plan that the options describe; what they leave open comes from the settings."""
    return BurstPlan(
        target=target,
        prompt=settings.prompt if args.prompt is None else args.prompt,
        concurrency=settings.concurrency if args.concurrency is None else args.concurrency,
        total_requests=settings.requests if args.requests is None else args.requests,
        max_tokens=settings.max_tokens if args.max_tokens is None else args.max_tokens,
        request_timeout_s=settings.request_timeout_s if args.timeout is None else args.timeout,
        temperature=args.temperature,
        ignore_eos=args.ignore_eos,
        seed=args.seed,
        confirmed_remote=args.yes,
        confirmed_many=args.yes,
    )


async def measure(manager: StressManager, plan: BurstPlan, out: Output) -> tuple[StressReport, bool]:
    """Run the plan; an interruption ends it early and keeps what there is.

    Returns:
        The report, and whether it was interrupted.
    """
    tasks = TaskOwner(report=_reported_by_the_caller)
    try:
        tasks.start(_show_progress(manager, out), name="stress progress")
        running = tasks.start(manager.run(plan), name="stress run")
        try:
            return await asyncio.shield(running), False
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if running.done() or task is None:
                raise
            # The first Ctrl+C is an answer, not an error: it means "enough". A second one ends everything.
            task.uncancel()
            await manager.stop()
            return await running, True
    finally:
        await tasks.close()


def _reported_by_the_caller(name: str, error: BaseException) -> None:
    """`measure` awaits its tasks and hands their errors on itself."""


async def _show_progress(manager: StressManager, out: Output) -> None:
    subscription = manager.snapshots.subscribe(maxlen=4)
    try:
        async for snapshot in subscription:
            out.progress(progress_line(snapshot))
    finally:
        subscription.close()


def progress_line(snapshot: StressSnapshot) -> str:
    """The run so far in one line."""
    failed = f", {fmt.count(snapshot.failed)} failed" if snapshot.failed else ""
    return (
        f"{snapshot.phase}: {fmt.count(snapshot.ok)} of {fmt.count(snapshot.total)} ok{failed}, "
        f"{fmt.count(snapshot.in_flight)} in flight, {fmt.rate(snapshot.output_tps)}, "
        f"median time to first token {fmt.seconds(snapshot.ttft_p50_s)}, {fmt.seconds(snapshot.elapsed_s)}"
    )


def describe(report: StressReport) -> str:
    """The report for people."""
    level = report.levels[0]
    counts = level.requests
    errors = ", ".join(f"{number} {kind}" for kind, number in level.errors.items())
    return "\n".join(
        (
            f"{report.plan.target.model_id} at {report.plan.target.endpoint.base_url}: {report.verdict}",
            f"{counts.ok} of {counts.sent} requests ok, {counts.failed} failed"
            + (f" ({errors})" if errors else "")
            + (f", {counts.aborted} aborted" if counts.aborted else "")
            + f", {level.concurrency} at a time",
            f"Output throughput {fmt.rate(level.output_tps)} over {fmt.seconds(level.window_s)}",
            "",
            table(("", "p50", "p95", "p99", "mean", "n"), _rows(level)),
            "",
            f"Load generator: {report.client.status}. {report.client.reason}",
            f"Result: {report.badge}",
            *(f"  {reason}" for reason in report.badge_reasons),
            f"Saved in {report.run_dir}" if report.run_dir else "Not saved",
        )
    )


def _rows(level: LevelResult) -> list[tuple[str, ...]]:
    return [
        ("time to first token", *_cells(level.ttft_s, fmt.seconds)),
        ("time per output token", *_cells(level.tpot_s, fmt.seconds)),
        ("decode speed", *_cells(level.decode_tps, fmt.rate)),
        ("total time", *_cells(level.e2e_s, fmt.seconds)),
    ]


def _cells(summary: Summary, text: Callable[[float | None], str]) -> tuple[str, ...]:
    values = (summary.p50, summary.p95, summary.p99, summary.mean)
    return (*(text(value) for value in values), fmt.count(summary.n))
