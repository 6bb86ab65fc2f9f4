"""What the proxy adds: to the first byte, to each chunk, and in processor time, against asking directly.

    python -m tests.bench.proxy [--json] [--streams 32] [--rounds 3]

The metronome answers; the proxy runs in a process of its own with its real listeners and gate. Each load is
measured directly, through the OpenAI listener (bytes pass through) and through the Ollama one (translated),
in turn and several rounds, as medians: lag from the metronome's own send stamp of a token to its arrival
here, and the proxy's processor time per token.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from llama_runner.backends.base import Engine
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from llama_runner.net.gate import RequestGate
from llama_runner.net.listen import listen_tcp, port_of_socket
from llama_runner.proxy.admission import Admission
from llama_runner.proxy.app import ollama_app, openai_app
from llama_runner.proxy.calls import Relays
from llama_runner.proxy.host import ModelState, OfferedModel, Upstream
from llama_runner.proxy.records import RequestLog
from llama_runner.service.listener import allowed_hosts
from llama_runner.service.server import HttpServer
from tests.bench.paths import Ask, bare
from tests.fakes.metronome import Metronome, start_metronome
from tests.fakes.metronome_plan import Plan

ROOT: Final = Path(__file__).resolve().parents[2]
CLOCK: Final = SystemClock()
WAYS: Final = ("direct", "openai", "ollama")


@dataclass(frozen=True, slots=True)
class Figure:
    """One way under one load; times are lags behind the metronome's own stamps.

    Attributes:
        proxy_us_per_token: Processor time of the proxy; None for the direct way.
    """

    load: str
    way: str
    first_ms_p50: float
    first_ms_p99: float
    chunk_ms_p50: float
    chunk_ms_p99: float
    proxy_us_per_token: float | None


class _Metronomes:
    """A `ModelHost` whose models all run on one metronome, always."""

    def __init__(self, url: str, models: Sequence[str]) -> None:
        self._url = url
        self._models = [OfferedModel(model, "0" * 64, 1, 0.0, state=ModelState.LOADED) for model in models]

    async def offered(self) -> Sequence[OfferedModel]:
        return self._models

    @asynccontextmanager
    async def use(self, model_id: str) -> AsyncIterator[Upstream]:
        yield Upstream(self._url, "", model_id)

    def keep(self, model_id: str, idle_s: float | None) -> None:
        """They stay."""

    async def changed(self, limit_s: float) -> None:
        """They don't."""

    async def unload(self, model_id: str) -> None:
        """They stay."""


async def serve(url: str, models: Sequence[str]) -> None:
    """The proxy's process: prints its two addresses, ends with its standard input."""
    async with open_http() as http, asyncio.TaskGroup() as group:
        relays = Relays(
            _Metronomes(url, models), http, CLOCK, Admission(clock=CLOCK, max_in_flight=1024), RequestLog()
        )
        servers, urls = [], []
        for app in (openai_app(relays), ollama_app(relays)):
            listener = listen_tcp("127.0.0.1", 0)
            port = port_of_socket(listener)
            hosts = allowed_hosts("127.0.0.1", port) | {"x"}
            server = HttpServer(RequestGate(app, allowed_hosts=lambda h=hosts: h, token=None), listener)  # type: ignore[misc]
            group.create_task(server.run_until_stopped())
            servers.append(server)
            urls.append(f"http://127.0.0.1:{port}")
        sys.stdout.write(json.dumps(urls) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        for server in servers:
            server.stop()


async def measure(
    metronome: Metronome, way: str, url: str, load: str, plans: Sequence[Plan], pid: int
) -> Figure:
    """All plans at once, one way."""
    engine = Engine.OLLAMA if way == "ollama" else Engine.OPENAI
    before = psutil.Process(pid).cpu_times()
    async with bare(engine)(url) as ask, asyncio.TaskGroup() as group:
        tasks = [group.create_task(_asked(ask, plan)) for plan in plans]
    after = psutil.Process(pid).cpu_times()
    spent_s = after.user + after.system - before.user - before.system
    first: list[float] = []
    rest: list[float] = []
    for plan, task in zip(plans, tasks, strict=True):
        sent = [t_ns for t_ns, n in metronome.last(plan.id).sends for _ in range(n)]
        lags = [(seen - t_ns) / 1e6 for t_ns, seen in zip(sent, task.result(), strict=False)]
        first.append(lags[0])
        rest.extend(lags[1:])
    tokens = sum(len(task.result()) for task in tasks)
    return Figure(
        load,
        way,
        statistics.median(first),
        _p99(first),
        statistics.median(rest),
        _p99(rest),
        None if way == "direct" else spent_s / tokens * 1e6,
    )


async def _asked(ask: Ask, plan: Plan) -> list[int]:
    return await ask(plan.model_id())


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def plans_of(load: str, streams: int, round_number: int, way: str) -> list[Plan]:
    """One stream, or many out of step, of 20 tokens a second."""
    count = 1 if load == "single" else streams
    return [
        Plan(
            id=f"{load} {way} {round_number} {n}",
            prefill_ms=100,
            tokens=60,
            gap_ms=50,
            shift_ms=50 * n / count,
            role_ms=None,
        )
        for n in range(count)
    ]


async def compare(streams: int, rounds: int) -> list[Figure]:
    """Every way under every load, in turn."""
    found: list[Figure] = []
    loads = ("single", f"{streams} streams")
    plans = {
        (load, way, number): plans_of(load, streams, number, way)
        for load in loads
        for way in WAYS
        for number in range(rounds)
    }
    metronome = start_metronome()
    models = [plan.model_id() for group in plans.values() for plan in group]
    argv = [sys.executable, "-m", "tests.bench.proxy", "--serve", metronome.url]
    # Blocking for a moment before anything is measured.
    with subprocess.Popen(  # noqa: ASYNC220
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as proxy:
        try:
            assert proxy.stdin is not None
            assert proxy.stdout is not None
            proxy.stdin.write(json.dumps(models) + "\n")
            proxy.stdin.flush()
            openai_url, ollama_url = json.loads(proxy.stdout.readline())
            urls = {"direct": metronome.url, "openai": openai_url, "ollama": ollama_url}
            for load in loads:
                for way in WAYS:
                    many = [
                        await measure(metronome, way, urls[way], load, plans[load, way, number], proxy.pid)
                        for number in range(rounds)
                    ]
                    found.append(_median(many))
        finally:
            if proxy.stdin is not None:
                proxy.stdin.close()
            proxy.wait(20)
            metronome.close()
    return found


def _median(many: list[Figure]) -> Figure:
    costs = [one.proxy_us_per_token for one in many if one.proxy_us_per_token is not None]
    return Figure(
        many[0].load,
        many[0].way,
        statistics.median(one.first_ms_p50 for one in many),
        statistics.median(one.first_ms_p99 for one in many),
        statistics.median(one.chunk_ms_p50 for one in many),
        statistics.median(one.chunk_ms_p99 for one in many),
        statistics.median(costs) if costs else None,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.serve, json.loads(sys.stdin.readline())))
        return
    figures = asyncio.run(compare(args.streams, args.rounds))
    if args.json:
        sys.stdout.write(json.dumps([asdict(figure) for figure in figures]) + "\n")
        return
    for one in figures:
        cpu = "" if one.proxy_us_per_token is None else f"  proxy {one.proxy_us_per_token:6.0f} us/token"
        sys.stdout.write(
            f"{one.load:12} {one.way:7} first {one.first_ms_p50:6.2f} / {one.first_ms_p99:6.2f} ms"
            f"  chunk {one.chunk_ms_p50:6.2f} / {one.chunk_ms_p99:6.2f} ms{cpu}\n"
        )
    sys.stdout.write(f"load average {os.getloadavg()[0]:.1f}\n" if hasattr(os, "getloadavg") else "")


if __name__ == "__main__":
    main()
