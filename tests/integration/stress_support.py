"""Real stress runs against the metronome, matched request by request with the server's own stamps."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from llama_runner.backends.base import Endpoint, Engine, Target, WireRequest
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.backends.request import ChatRequest
from llama_runner.core.clock import Clock, SystemClock
from llama_runner.core.paths import create_folders, home_at
from llama_runner.net.client import open_http
from llama_runner.stress.manager import StressManager
from llama_runner.stress.plan import BurstPlan, marker
from llama_runner.stress.report import StressReport
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan
from tests.fakes.metronome_server import Entry


class PlannedBackend(OpenAIBackend):
    """Asks the metronome for another answer with each request, in the order of encoding."""

    def __init__(
        self, endpoint: Endpoint, *, http: httpx.AsyncClient, clock: Clock, plan_of: Callable[[int], Plan]
    ) -> None:
        super().__init__(endpoint, http=http, clock=clock)
        self._plan_of = plan_of
        self._encoded = 0

    def encode(self, request: ChatRequest) -> WireRequest:
        wire = super().encode(request)
        body = json.loads(wire.body)
        body["metronome"] = self._plan_of(self._encoded).differences()
        self._encoded += 1
        return replace(wire, body=json.dumps(body).encode())


@asynccontextmanager
async def stress_manager(home: Path, plan_of: Callable[[int], Plan]) -> AsyncIterator[StressManager]:
    """A manager whose request number i gets the answer `plan_of(i)`."""
    folders = home_at(home)
    create_folders(folders)
    clock = SystemClock()
    async with open_http() as http:
        manager = StressManager(
            connect=lambda endpoint: PlannedBackend(endpoint, http=http, clock=clock, plan_of=plan_of),
            home=folders,
            clock=clock,
        )
        try:
            yield manager
        finally:
            await manager.close()


def burst(metronome: Metronome, **changes: Any) -> BurstPlan:
    """A plan for the metronome."""
    target = Target(Endpoint(metronome.url, Engine.OPENAI), "metronome", "metronome")
    return BurstPlan(**{"target": target, "prompt": "Say something.", "max_tokens": 1000, **changes})


def saved_requests(report: StressReport) -> list[dict[str, Any]]:
    """The lines of requests.jsonl."""
    assert report.run_dir is not None
    text = (report.run_dir / "requests.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def load_worker_pids() -> list[int]:
    """The load workers among this process's children."""
    children = psutil.Process().children()
    # A zombie has no command line; it counts, as nobody has collected it.
    return [c.pid for c in children if c.status() == "zombie" or "spawn_main" in " ".join(c.cmdline())]


@dataclass(frozen=True, slots=True)
class Errors:
    """Client minus server, request by request.

    Attributes:
        ttft_s: Shape (n,), signed.
        decode: Shape (n,), relative error of the decode speed.
    """

    ttft_s: np.ndarray[Any, np.dtype[np.float64]]
    decode: np.ndarray[Any, np.dtype[np.float64]]


def server_entries(metronome: Metronome, report: StressReport) -> dict[int, Entry]:
    """The server's own record of every request of the run, by the request's number."""
    count = report.plan.total_requests
    numbers = {f"[{marker(report.seed, index)}]": index for index in range(count)}
    found: dict[int, Entry] = {}
    for entry in metronome.log():
        prefix = entry.body["messages"][0]["content"].split(" ", 1)[0]
        if prefix in numbers:
            found[numbers[prefix]] = entry
    return found


def compare(metronome: Metronome, report: StressReport) -> Errors:
    """How far our figures are from the server's own stamps."""
    entries = server_entries(metronome, report)
    ttft_errors_s, decode_errors = [], []
    for request in saved_requests(report):
        entry = entries[request["index"]]
        assert entry.first_ns is not None and entry.last_ns is not None
        ttft_errors_s.append(request["ttft_s"] - (entry.first_ns - entry.received_ns) / 1e9)
        steps = sum(n for _, n in entry.sends[1:])
        decode_errors.append(request["decode_tps"] * (entry.last_ns - entry.first_ns) / 1e9 / steps - 1)
    return Errors(np.array(ttft_errors_s), np.array(decode_errors))
