"""What the proxy adds: to the first byte, to each chunk, and in processor time, against asking directly.

    python -m tests.bench.proxy [--json] [--streams 128] [--rounds 3] [--litellm COMMAND]

The metronome answers; the proxy runs in a process of its own with its real listeners and gate. Each load is
measured directly, through a splice of two sockets (what any proxy adds here at least), through the OpenAI
listener (bytes pass through), through the Ollama one (translated) and through other proxies where their
commands are given, in turn and several rounds, as medians: the time to the first token beyond the engine's
own, the lag from the metronome's stamp of a token to its arrival here, and the proxy's processor time per
token.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from llama_runner.backends.base import Engine
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from llama_runner.net.gate import RequestGate
from llama_runner.net.listen import listen_tcp, port_of_socket
from llama_runner.net.ports import pick_free_port
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
OWN_WAYS: Final = ("direct", "splice", "openai", "ollama")
SINGLE: Final = "one at a time"
KEPT: Final = "kept alive"
SINGLE_REQUESTS: Final = 100
# How long other proxies may take to answer for the first time; LiteLLM imports for half a minute.
OTHER_START_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One way under one load.

    Attributes:
        load: One request at a time, each over a connection of its own or all over one; or many at once.
        first_ms_p50, first_ms_p99: From asking to the first token, beyond the engine's own time for it; with
            the connection where that is new.
        chunk_ms_p50, chunk_ms_p99: Of each token, from the metronome's own stamp to its arrival here.
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
        relays.kept.close()


async def measure(metronome: Metronome, way: "Way", load: str, plans: Sequence[Plan]) -> Figure:
    """All plans, one way: at once, or one after the other."""
    engine = Engine.OLLAMA if way.name == "ollama" else Engine.OPENAI
    before_s = way.spent_s()
    async with (
        bare(engine, keep_alive=load == KEPT)(way.url) as ask,
        asyncio.TaskGroup() as group,
    ):
        tasks = []
        for plan in plans:
            tasks.append(group.create_task(_asked(ask, plan)))
            if load in (SINGLE, KEPT):
                await tasks[-1]
    spent_s = way.spent_s() - before_s
    first: list[float] = []
    rest: list[float] = []
    for plan, task in zip(plans, tasks, strict=True):
        sent = [t_ns for t_ns, n in metronome.last(plan.id).sends for _ in range(n)]
        ttft_ms, stamps = task.result()
        lags = [(seen - t_ns) / 1e6 for t_ns, seen in zip(sent, stamps, strict=False)]
        first.append(ttft_ms)
        rest.extend(lags)
    tokens = sum(len(task.result()[1]) for task in tasks)
    return Figure(
        load,
        way.name,
        statistics.median(first),
        _p99(first),
        statistics.median(rest),
        _p99(rest),
        None if way.pid is None else spent_s / tokens * 1e6,
    )


async def _asked(ask: Ask, plan: Plan) -> tuple[float, list[int]]:
    """Milliseconds from asking to the first token, the engine's own left out; and the tokens' stamps."""
    began_ns = time.perf_counter_ns()
    stamps = await ask(plan.model_id())
    return (stamps[0] - began_ns) / 1e6 - plan.prefill_ms - plan.shift_ms, stamps


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def plans_of(load: str, streams: int, round_number: int, way: str) -> list[Plan]:
    """Short answers for the time to the first byte; or many of 20 tokens a second, out of step."""
    many = load not in (SINGLE, KEPT)
    count = streams if many else SINGLE_REQUESTS
    return [
        Plan(
            id=f"{load} {way} {round_number} {n}",
            prefill_ms=100 if many else 20,
            tokens=200 if many else 3,
            gap_ms=50 if many else 10,
            shift_ms=50 * n / count if many else 0,
            role_ms=None,
        )
        for n in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the metronome; `pid` of the proxy in between, None without one."""

    name: str
    url: str
    pid: int | None = None

    def spent_s(self) -> float:
        """Processor time of the proxy so far, its workers included."""
        if self.pid is None:
            return 0.0
        proxy = psutil.Process(self.pid)
        times = [one.cpu_times() for one in (proxy, *proxy.children(recursive=True))]
        return sum(one.user + one.system for one in times)


async def compare(streams: int, rounds: int, others: dict[str, str]) -> list[Figure]:
    """Every way under every load, in turn."""
    loads = (SINGLE, KEPT, f"{streams} streams")
    plans = {
        (load, way, number): plans_of(load, streams, number, way)
        for load in loads
        for way in (*OWN_WAYS, *others)
        for number in range(rounds)
    }
    metronome = start_metronome()
    models = [plan.model_id() for group in plans.values() for plan in group]
    with contextlib.ExitStack() as stack:
        stack.callback(metronome.close)
        openai_way, ollama_way = stack.enter_context(_ours(metronome.url, models))
        splice = stack.enter_context(_splice(metronome.url))
        ways = [Way("direct", metronome.url), splice, openai_way, ollama_way]
        ways += [
            stack.enter_context(OTHERS[name](command, metronome.url)) for name, command in others.items()
        ]
        found: list[Figure] = []
        for load in loads:
            figures: dict[str, list[Figure]] = {way.name: [] for way in ways}
            for number in range(rounds):
                for way in ways:
                    plan = plans[load, way.name, number]
                    figures[way.name].append(await measure(metronome, way, load, plan))
            found += map(_median, figures.values())
        return found


@contextlib.contextmanager
def _splice(url: str) -> Iterator[Way]:
    argv = [sys.executable, "-m", "tests.bench.splice", url]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as splice:
        assert splice.stdout is not None
        yield Way("splice", splice.stdout.readline().strip(), splice.pid)


@contextlib.contextmanager
def _ours(url: str, models: Sequence[str]) -> Iterator[tuple[Way, Way]]:
    argv = [sys.executable, "-m", "tests.bench.proxy", "--serve", url]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        proxy.stdin.write(json.dumps(models) + "\n")
        proxy.stdin.flush()
        openai_url, ollama_url = json.loads(proxy.stdout.readline())
        try:
            yield Way("openai", openai_url, proxy.pid), Way("ollama", ollama_url, proxy.pid)
        finally:
            proxy.stdin.close()
            proxy.wait(20)


@contextlib.contextmanager
def _litellm(command: str, url: str) -> Iterator[Way]:
    passed = {"model": "openai/*", "api_base": f"{url}/v1", "api_key": "none"}
    with tempfile.TemporaryDirectory() as folder:
        # JSON is YAML.
        config = Path(folder) / "config.yaml"
        config.write_text(json.dumps({"model_list": [{"model_name": "*", "litellm_params": passed}]}))
        port = pick_free_port()
        argv = [command, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        # No costs fetched from elsewhere, and no key: nothing but this benchmark reaches it.
        settings = ("LOCAL_MODEL_COST_MAP", "DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY")
        environ = {**os.environ, **{f"LITELLM_{name}": "true" for name in settings}}
        with _started(argv, environ, f"http://127.0.0.1:{port}/health/liveliness") as pid:
            yield Way("litellm", f"http://127.0.0.1:{port}", pid)


@contextlib.contextmanager
def _started(argv: Sequence[str], environ: Mapping[str, str], probe: str) -> Iterator[int]:
    with subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + OTHER_START_S
            while not _answers(probe):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{argv[0]} does not serve")
            yield process.pid
        finally:
            process.terminate()


def _answers(probe: str) -> bool:
    try:
        return httpx.get(probe, timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


OTHERS: Final = {"litellm": _litellm}


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
    parser.add_argument("--streams", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    for name in OTHERS:
        parser.add_argument(f"--{name}", metavar="COMMAND", help=f"measure {name}'s proxy beside ours")
    parser.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.serve, json.loads(sys.stdin.readline())))
        return
    others = {name: command for name in OTHERS if (command := getattr(args, name))}
    figures = asyncio.run(compare(args.streams, args.rounds, others))
    if args.json:
        sys.stdout.write(json.dumps([asdict(figure) for figure in figures]) + "\n")
        return
    for one in figures:
        cpu = "" if one.proxy_us_per_token is None else f"  proxy {one.proxy_us_per_token:6.0f} us/token"
        sys.stdout.write(
            f"{one.load:13} {one.way:7} first {one.first_ms_p50:6.2f} / {one.first_ms_p99:6.2f} ms"
            f"  chunk {one.chunk_ms_p50:6.2f} / {one.chunk_ms_p99:6.2f} ms{cpu}\n"
        )
    sys.stdout.write(f"load average {os.getloadavg()[0]:.1f}\n" if hasattr(os, "getloadavg") else "")


if __name__ == "__main__":
    main()
