"""Load in rounds with a rest after each: at rest the service must be as it was at the first rest.

In a round, clients chat through both proxies, leave in the middle, load and unload, and children are killed.
"""

import asyncio
import json
import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import psutil

from llama_runner.control.client import ControlClient
from llama_runner.core.errors import LlamaRunnerError
from tests.fakes.waiting import until
from tests.integration.service_process import ServiceProcess, children_of
from tests.soak.place import EVERY_S, MODELS, furnish, serving, tasks_file

# Longer than any answer here takes on a busy machine: who waits longer hangs.
HUNG_S: Final = 60.0
REST_LIMIT_S: Final = 60.0
# What is bounded fills up first: the log's tail, the list of requests, strings that the JSON parser keeps.
WARM_UP_SHARE: Final = 0.25
# A child may die this often: more, and nothing else would happen.
KILL_EVERY_S: Final = 4.0
SIGNALS: Final = (signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGABRT)


@dataclass(frozen=True, slots=True)
class Rest:
    """The service at rest: nothing loaded, nothing asked."""

    t_s: float
    rss_bytes: int
    tasks: int
    descriptors: int
    threads: int
    children: int


@dataclass(slots=True)
class Report:
    """What a soak saw.

    Attributes:
        outcomes: How often each action ended how.
        slowest_s: The longest that each action took.
        hung: For each action without an end within the limit, what the service said of itself then.
    """

    seed: int
    rests: list[Rest] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: dict[str, float] = field(default_factory=dict)
    hung: list[str] = field(default_factory=list)

    def settled(self) -> list[Rest]:
        """The rests after the warm-up."""
        return self.rests[int(len(self.rests) * WARM_UP_SHARE) :]

    def slope_per_minute(self, what: str) -> float:
        """Least squares over the settled rests."""
        rests = self.settled()
        if len(rests) < 3:
            return 0.0
        times = np.array([rest.t_s / 60 for rest in rests])
        return float(np.polyfit(times, [getattr(rest, what) for rest in rests], 1)[0])

    def document(self) -> dict[str, Any]:
        """The whole as JSON."""
        figures: dict[str, Any] = {}
        for what in ("rss_bytes", "tasks", "descriptors", "threads", "children"):
            values = [getattr(rest, what) for rest in self.settled()]
            figures[what] = {
                "first": getattr(self.rests[0], what),
                "min": min(values),
                "median": statistics.median(values),
                "max": max(values),
                "slope_per_minute": round(self.slope_per_minute(what), 4),
            }
        return {
            "seed": self.seed,
            "minutes": round(self.rests[-1].t_s / 60, 2),
            "rounds": len(self.rests),
            "hung": self.hung,
            "slowest_s": self.slowest_s,
            "outcomes": dict(sorted(self.outcomes.items())),
            "at_rest": figures,
            "last": asdict(self.rests[-1]),
        }


class Soak:
    """One run against one service."""

    def __init__(self, service: ServiceProcess, home: Path, *, seed: int, clients: int) -> None:
        self._service = service
        self._process = psutil.Process(service.process.pid)
        self._home = home
        self._random = random.Random(seed)
        self._clients = clients
        self._began_s = time.monotonic()
        self.report = Report(seed)

    async def run(self, seconds: float, *, round_s: float, tell: Callable[[Rest], None]) -> Report:
        """Rounds of load for so long, each followed by a rest."""
        limits = httpx.Limits(max_connections=self._clients * 2)
        async with httpx.AsyncClient(timeout=HUNG_S * 2, limits=limits) as http:
            control = ControlClient(url=self._service.url, token=self._service.run_file.token, http=http)
            while True:
                await self._round(http, control, round_s)
                self.report.rests.append(await self._rest(control))
                tell(self.report.rests[-1])
                if self._since_s() >= seconds:
                    return self.report

    def _since_s(self) -> float:
        return time.monotonic() - self._began_s

    # --- load --------------------------------------------------------------------------------------------

    async def _round(self, http: httpx.AsyncClient, control: ControlClient, round_s: float) -> None:
        until_s = time.monotonic() + round_s
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._work(http, control, until_s))
            group.create_task(self._kill_children(control, until_s))

    async def _work(self, http: httpx.AsyncClient, control: ControlClient, until_s: float) -> None:
        actions: list[tuple[str, Callable[[], Coroutine[Any, Any, str]]]] = [
            ("chat", lambda: self._ask(http, stream=False)),
            ("stream", lambda: self._ask(http, stream=True)),
            ("cancel", lambda: self._leave(http)),
            ("unload", lambda: self._unload(control)),
            ("load", lambda: self._load(control)),
        ]
        while time.monotonic() < until_s:
            (name, act) = self._random.choices(actions, weights=(30, 30, 25, 5, 10))[0]
            began_s = time.monotonic()
            self.report.outcomes[f"{name}: {await self._outcome(act(), control)}"] += 1
            took_s = time.monotonic() - began_s
            self.report.slowest_s[name] = round(max(took_s, self.report.slowest_s.get(name, 0.0)), 2)

    async def _outcome(self, action: Coroutine[Any, Any, str], control: ControlClient) -> str:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_ended(action))
            await asyncio.wait({task}, timeout=HUNG_S)
            if not task.done():
                # Looked at before it is given up, while it still hangs.
                seen = await control.instances(), (await control.requests()).requests[-30:]
                running = [one for one in seen[1] if one.outcome == "running"]
                self.report.hung.append(f"{seen[0].instances} {running}")
                task.cancel()
        return "hung" if task.cancelled() else task.result()

    async def _ask(self, http: httpx.AsyncClient, *, stream: bool, tokens: int = 24) -> str:
        url, body = self._question(stream=stream, tokens=tokens)
        async with http.stream("POST", url, json=body) as answer:
            data = b"".join([chunk async for chunk in answer.aiter_bytes()])
        if answer.status_code != 200:
            return str(answer.status_code)
        return _end_of(data, stream=stream)

    async def _leave(self, http: httpx.AsyncClient) -> str:
        stream = self._random.random() < 0.5
        try:
            async with asyncio.timeout(self._random.expovariate(8)):
                return await self._ask(http, stream=stream, tokens=400)
        except TimeoutError:
            return "left"

    def _question(self, *, stream: bool, tokens: int) -> tuple[str, dict[str, Any]]:
        model = self._random.choice(MODELS)
        messages = [{"role": "user", "content": f"Number {self._random.random()}?"}]
        body: dict[str, Any] = {"model": model, "messages": messages, "stream": stream}
        # Greedy: random weights now and then choose bytes that the engine refuses to call text.
        if self._random.random() < 0.5:
            options = {"num_predict": tokens, "temperature": 0}
            return f"{self._service.ready['ollama']}/api/chat", body | {"options": options}
        more = {"max_tokens": tokens, "temperature": 0}
        return f"{self._service.ready['openai']}/v1/chat/completions", body | more

    async def _unload(self, control: ControlClient) -> str:
        await control.unload(self._random.choice(MODELS))
        return "done"

    async def _load(self, control: ControlClient) -> str:
        # Also what brings a model back whose child the system killed: no request does (F14).
        return (await control.load(self._random.choice(MODELS))).state

    async def _kill_children(self, control: ControlClient, until_s: float) -> None:
        while (left_s := until_s - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, self._random.expovariate(1 / KILL_EVERY_S)))
            pids = [one.pid for one in (await control.instances()).instances if one.pid]
            if pids:
                number = self._random.choice(SIGNALS)
                self.report.outcomes[f"kill: {_kill(self._random.choice(pids), number)}"] += 1

    # --- rest --------------------------------------------------------------------------------------------

    async def _rest(self, control: ControlClient) -> Rest:
        """Unload everything, wait until nothing is left of it, and look."""
        deadline_s = time.monotonic() + REST_LIMIT_S
        while (left := await control.instances()).instances:
            assert time.monotonic() < deadline_s, f"not at rest: {left}"
            for one in left.instances:
                await self._outcome(self._unload_one(control, one.id), control)
        await until(lambda: not self._children(), limit_s=REST_LIMIT_S)
        # Tasks of the last requests end, and their number is written anew, twice.
        await asyncio.sleep(2.5 * EVERY_S)
        return Rest(
            t_s=self._since_s(),
            rss_bytes=self._process.memory_info().rss,
            tasks=int(tasks_file(self._home).read_text()),
            descriptors=self._process.num_fds(),
            threads=self._process.num_threads(),
            children=len(self._children()),
        )

    async def _unload_one(self, control: ControlClient, instance_id: str) -> str:
        await control.unload(instance_id)
        return "done"

    def _children(self) -> list[psutil.Process]:
        return children_of(self._service.process.pid)


def _end_of(data: bytes, *, stream: bool) -> str:
    """How an answer with status 200 ended, in any of the dialects."""
    last = data.strip().splitlines()[-1] if data.strip() else b""
    if last == b"data: [DONE]":
        return "whole"
    try:
        document = json.loads(last.removeprefix(b"data: "))
    except ValueError:
        return "cut without a word"
    if "error" in document:
        return "told"
    return "whole" if not stream or document.get("done") else "cut without a word"


async def _ended(action: Coroutine[Any, Any, str]) -> str:
    """How it ended, in a word, whatever a service under fire may answer."""
    try:
        return await action
    except httpx.HTTPError as error:
        return type(error).__name__
    except LlamaRunnerError as error:
        return error.kind


def _kill(pid: int, number: signal.Signals) -> str:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return "gone already"
    return number.name


def soak(
    home: Path,
    engine: Path,
    vocabulary_of: Path,
    *,
    seconds: float,
    seed: int,
    clients: int = 8,
    round_s: float = 12.0,
    tell: Callable[[Rest], None] = lambda rest: None,
) -> Report:
    """A whole run with a service of its own."""
    furnish(home, vocabulary_of)
    with serving(home, engine) as service:
        run = Soak(service, home, seed=seed, clients=clients)
        return asyncio.run(run.run(seconds, round_s=round_s, tell=tell))
