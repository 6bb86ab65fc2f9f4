"""What streaming costs on each path, against a bare asyncio protocol and the SDKs in the same run.

    python -m tests.bench.streams [--json] [--streams 1000] [--seconds 10] [--tokens 100000] [--only TEXT]

Three loads, in the OpenAI and in the Ollama dialect: one answer in large writes (`flood`), one answer token
by token from the metronome (`bulk`), and many paced ones of 10 tokens a second on one loop (`paced`). Printed
per path: tokens per second of the client's CPU time, its CPU time against the bare protocol's, the time it
took against the time it should take, and the lag from the metronome's own send stamp to ours.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Final

from llama_runner.net.load import run_on_fastest_loop
from tests.bench.paths import PATHS, Ask, Path
from tests.fakes.metronome import Metronome, start_metronome
from tests.fakes.metronome_plan import Plan

GAP_MS: Final = 100


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked for at once.

    Attributes:
        ideal_s: How long it takes where the client costs nothing; None where the server is the slower one.
    """

    name: str
    url: str
    models: tuple[str, ...]
    plans: tuple[Plan, ...] = ()
    ideal_s: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One path under one load.

    Attributes:
        floor: Its CPU time per token against the bare protocol's of the same load; None without one.
    """

    load: str
    dialect: str
    path: str
    tokens: int
    tokens_per_cpu_s: float
    wall_s: float
    floor: float | None = None
    over_ideal: float | None = None
    lag_p50_ms: float | None = None
    lag_p99_ms: float | None = None


async def measure(metronome: Metronome, path: Path, load: Load) -> Figure:
    """The whole load at once on one path."""
    gc.collect()
    async with path.open(load.url) as ask:
        cpu_s, began_s = time.process_time(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_ask(ask, model)) for model in load.models]
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - began_s
    stamps = [task.result() for task in tasks]
    tokens = sum(len(each) for each in stamps)
    lags = _lags(metronome, load.plans, stamps)
    return Figure(
        load=load.name,
        dialect=str(path.engine),
        path=path.name,
        tokens=tokens,
        tokens_per_cpu_s=tokens / cpu_s,
        wall_s=wall_s,
        over_ideal=wall_s / load.ideal_s - 1 if load.ideal_s else None,
        lag_p50_ms=lags[len(lags) // 2] if lags else None,
        lag_p99_ms=lags[int(len(lags) * 0.99)] if lags else None,
    )


async def _ask(ask: Ask, model: str) -> list[int]:
    return await ask(model)


def _lags(metronome: Metronome, plans: tuple[Plan, ...], stamps: list[list[int]]) -> list[float]:
    lags: list[float] = []
    for plan, ours in zip(plans, stamps, strict=bool(plans)):
        sent = metronome.last(plan.id).sends
        lags += [(t_ns - sent_ns) / 1e6 for t_ns, (sent_ns, _) in zip(ours, sent, strict=True)]
    return sorted(lags)


def _bulk(metronome: Metronome, number: int, tokens: int) -> Load:
    plan = Plan(id=f"bulk {number}", tokens=tokens)
    return Load("bulk", metronome.url, (plan.model_id(),))


def _paced(metronome: Metronome, number: int, streams: int, seconds: float) -> Load:
    tokens = int(seconds * 1e3 / GAP_MS)
    plans = tuple(
        Plan(id=f"{number}/{n}", tokens=tokens, gap_ms=GAP_MS, shift_ms=GAP_MS * n / streams)
        for n in range(streams)
    )
    # The last stream begins one gap later than the first.
    ideal_s = tokens * GAP_MS / 1e3
    return Load("paced", metronome.url, tuple(plan.model_id() for plan in plans), plans, ideal_s)


async def run(metronome: Metronome, flood: str, arguments: argparse.Namespace) -> list[Figure]:
    """Every load on every path."""
    figures: list[Figure] = []
    for name in ("flood", "bulk", "paced"):
        for number, path in enumerate(PATHS):
            if arguments.only not in f"{name} {path.engine} {path.name}":
                continue
            if name == "flood":
                load = Load(name, flood, ("m",))
            elif name == "bulk":
                load = _bulk(metronome, number, arguments.tokens // 5)
            else:
                load = _paced(metronome, number, arguments.streams, arguments.seconds)
            figures.append(await measure(metronome, path, load))
            if not arguments.json:
                sys.stdout.write(_line(figures[-1]) + "\n")
    return _against_floor(figures)


def _against_floor(figures: list[Figure]) -> list[Figure]:
    floors = {
        (each.load, each.dialect): each.tokens_per_cpu_s for each in figures if each.path == "bare protocol"
    }
    return [
        replace(each, floor=floor / each.tokens_per_cpu_s)
        if (floor := floors.get((each.load, each.dialect)))
        else each
        for each in figures
    ]


def _line(each: Figure) -> str:
    text = f"{each.load:6} {each.dialect:18} {each.path:19} {each.tokens:7} tokens"
    floor = "" if each.floor is None else f"x{each.floor:.1f}"
    text += f" {each.tokens_per_cpu_s:9,.0f} tokens/CPU s  {floor:6}  {each.wall_s:6.2f} s"
    if each.over_ideal is not None:
        text += f" ({each.over_ideal:+.1%})  lag p50 {each.lag_p50_ms:.2f} ms p99 {each.lag_p99_ms:.2f} ms"
    return text


@contextmanager
def flooding(tokens: int) -> Iterator[str]:
    """The URL of a flood server of our own."""
    command = [sys.executable, "-m", "tests.bench.flood", "--tokens", str(tokens)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        yield json.loads(process.stdout.readline())["url"]
        process.stdin.close()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    metronome = start_metronome()
    try:
        with flooding(arguments.tokens) as flood:
            figures = run_on_fastest_loop(lambda: run(metronome, flood, arguments))
    finally:
        metronome.close()
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(figure) for figure in figures]) + "\n")
        return
    sys.stdout.write("\nAgainst the bare protocol of the same load and dialect:\n")
    sys.stdout.write("".join(_line(each) + "\n" for each in figures))


if __name__ == "__main__":
    main()
