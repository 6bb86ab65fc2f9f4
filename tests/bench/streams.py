"""What streaming costs on each path, against a bare asyncio protocol in the same run: ratios, not absolutes.

    python -m tests.bench.streams [--json] [--streams 200] [--bulk-tokens 20000]

Two loads on the metronome: one answer as fast as it comes, and many paced ones (50 tokens/s each). Printed
per path: client CPU time per token, and for the paced load the lag from the server's own send stamp to ours.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from llama_runner.backends.base import Backend, Endpoint, Engine
from llama_runner.backends.decode import decode_into
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.registry import connect, decoder_for
from llama_runner.backends.request import ChatRequest, Message, Role
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from llama_runner.net.load import LoadClient, run_on_fastest_loop
from tests.fakes.metronome import Metronome, start_metronome
from tests.fakes.metronome_plan import Plan

CLOCK: Final = SystemClock()
TIMEOUT_S: Final = 300.0

# Sends one plan and returns the stamps of its tokens.
Ask = Callable[[Plan], Awaitable[list[int]]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One path under one load. Lags are None for the bulk load, where the server is the slower one."""

    load: str
    path: str
    tokens: int
    cpu_us_per_token: float
    wall_s: float
    lag_p50_ms: float | None = None
    lag_p99_ms: float | None = None
    cpu_ratio: float = 1.0


class _BareProtocol(asyncio.Protocol):
    """The least that can be done: count events in each read and stamp them."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.stamps: list[int] = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance check: uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now_ns = time.perf_counter_ns()
        self.stamps.extend([now_ns] * data.count(b'"content": "w'))
        if b"[DONE]" in data:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.done.set_result(None)


def _request(plan: Plan) -> ChatRequest:
    return ChatRequest(plan.model_id(), (Message(Role.USER, "go"),))


@asynccontextmanager
async def bare(metronome: Metronome, backend: Backend) -> AsyncIterator[Ask]:
    """A protocol of asyncio, no HTTP library, no JSON."""
    parts = urlsplit(metronome.url)
    host, port = parts.hostname or "", parts.port or 0

    async def ask(plan: Plan) -> list[int]:
        wire = backend.encode(_request(plan))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(wire.body)}\r\n\r\n"
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(
            lambda: _BareProtocol(head.encode() + wire.body), host, port
        )
        await protocol.done
        return protocol.stamps

    yield ask


@asynccontextmanager
async def chat(metronome: Metronome, backend: Backend) -> AsyncIterator[Ask]:
    """What a chat does: events as they come, folded."""

    async def ask(plan: Plan) -> list[int]:
        fold = AnswerFold()
        async with aclosing(backend.stream(_request(plan))) as stream:
            async for event in stream:
                fold.add(event)
        return _stamps(fold)

    yield ask


@asynccontextmanager
async def load_worker(metronome: Metronome, backend: Backend) -> AsyncIterator[Ask]:
    """What a load worker does: reads first, decoding after the request ended, a step between other reads."""
    async with LoadClient(clock=CLOCK) as client:

        async def ask(plan: Plan) -> list[int]:
            raw = await client.send(backend.encode(_request(plan)), timeout_s=TIMEOUT_S)
            fold = AnswerFold()
            for _ in decode_into(fold, decoder_for(Engine.OPENAI, metronome.url), raw):
                await asyncio.sleep(0)
            return _stamps(fold)

        yield ask


def _stamps(fold: AnswerFold) -> list[int]:
    trace = fold.trace()
    return [] if trace is None else [stamp.t_ns for stamp in trace.stamps]


async def measure(metronome: Metronome, path: str, load: str, plans: list[Plan]) -> Figure:
    """All plans at once on one path."""
    async with open_http() as http:
        backend = connect(Endpoint(metronome.url, Engine.OPENAI), http=http, clock=CLOCK)
        async with PATHS[path](metronome, backend) as ask:
            cpu_s, began_ns = time.process_time(), CLOCK.now_ns()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_ask(ask, plan)) for plan in plans]
            cpu_s, wall_s = time.process_time() - cpu_s, (CLOCK.now_ns() - began_ns) / 1e9
    stamps = [task.result() for task in tasks]
    tokens = sum(len(each) for each in stamps)
    lags = [] if load == "bulk" else _lags(metronome, plans, stamps)
    return Figure(
        load,
        path,
        tokens,
        cpu_s / tokens * 1e6,
        wall_s,
        lags[len(lags) // 2] if lags else None,
        lags[int(len(lags) * 0.99)] if lags else None,
    )


async def _ask(ask: Ask, plan: Plan) -> list[int]:
    return await ask(plan)


def _lags(metronome: Metronome, plans: list[Plan], stamps: list[list[int]]) -> list[float]:
    lags: list[float] = []
    for plan, ours in zip(plans, stamps, strict=True):
        sent = metronome.last(plan.id).sends
        lags += [(t_ns - sent_ns) / 1e6 for t_ns, (sent_ns, _) in zip(ours, sent, strict=True)]
    return sorted(lags)


PATHS: Final = {"bare protocol": bare, "chat": chat, "load worker": load_worker}


async def run(metronome: Metronome, n_streams: int, bulk_tokens: int) -> list[Figure]:
    """Every load on every path, the bare protocol first."""
    figures: list[Figure] = []
    for load in ("bulk", "paced"):
        for path in PATHS:
            if load == "bulk":
                plans = [Plan(id=f"bulk {path}", tokens=bulk_tokens)]
            else:
                plans = [
                    Plan(
                        id=f"paced {path} {n}",
                        prefill_ms=500,
                        tokens=100,
                        gap_ms=20,
                        shift_ms=20 * n / n_streams,
                    )
                    for n in range(n_streams)
                ]
            figures.append(await measure(metronome, path, load, plans))
    base = {figure.load: figure.cpu_us_per_token for figure in figures if figure.path == "bare protocol"}
    return [
        Figure(**{**asdict(each), "cpu_ratio": each.cpu_us_per_token / base[each.load]}) for each in figures
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--bulk-tokens", type=int, default=20_000)
    arguments = parser.parse_args()
    metronome = start_metronome()
    try:
        figures = run_on_fastest_loop(lambda: run(metronome, arguments.streams, arguments.bulk_tokens))
    finally:
        metronome.close()
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(figure) for figure in figures]) + "\n")
        return
    for each in figures:
        lag = (
            ""
            if each.lag_p50_ms is None
            else f"  lag p50 {each.lag_p50_ms:.2f} ms p99 {each.lag_p99_ms:.2f} ms"
        )
        sys.stdout.write(
            f"{each.load:6} {each.path:14} {each.tokens:6} tokens  {each.cpu_us_per_token:6.1f} us CPU/token"
            f"  x{each.cpu_ratio:.1f}{lag}\n"
        )


if __name__ == "__main__":
    main()
