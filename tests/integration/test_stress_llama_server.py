"""A burst against a real llama-server with a real small model."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llama_runner.backends.base import Endpoint, Engine, Target
from llama_runner.backends.registry import connect
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ServerError
from llama_runner.core.paths import create_folders, home_at
from llama_runner.net.client import open_http
from llama_runner.net.ports import pick_free_port
from llama_runner.stress.manager import StressManager
from llama_runner.stress.plan import BurstPlan
from llama_runner.stress.report import Verdict

KEY = "stress-test-key"


@asynccontextmanager
async def llama_server(engine: Path, model: Path) -> AsyncIterator[str]:
    """A llama-server with four slots; its URL once it answers."""
    port = pick_free_port()
    process = await asyncio.create_subprocess_exec(
        *(str(engine), "--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--api-key", KEY),
        *("--ctx-size", "2048", "--parallel", "4", "--threads", "2", "--alias", "smol", "--no-webui"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def wait_until_ready(manager_target: Target) -> None:
    """Ask until the model is loaded."""
    async with open_http() as http, asyncio.timeout(40):
        backend = connect(manager_target.endpoint, http=http, clock=SystemClock())
        while True:
            try:
                await backend.ping()
                return
            except ServerError:
                await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_a_burst_of_8_at_concurrency_4_is_measured_with_the_servers_own_token_counts(
    home: Path, engine: Path, demo_model: Path
) -> None:
    folders = home_at(home)
    create_folders(folders)
    clock = SystemClock()
    async with llama_server(engine, demo_model) as url, open_http() as http:
        target = Target(Endpoint(url, Engine.LLAMA_SERVER, KEY), "smol", "smol")
        await wait_until_ready(target)
        manager = StressManager(
            connect=lambda endpoint: connect(endpoint, http=http, clock=clock), home=folders, clock=clock
        )
        plan = BurstPlan(
            target=target,
            prompt="Name three colours.",
            concurrency=4,
            total_requests=8,
            max_tokens=24,
            ignore_eos=True,
            temperature=0.0,
        )
        report = await manager.run(plan)
        await manager.close()
    level = report.levels[0]
    assert report.verdict is Verdict.COMPLETED, report.error
    assert (level.requests.ok, level.requests.failed) == (8, 0), level.errors
    assert level.output_tokens == 8 * 24
    assert set(level.tokens_source) <= {"usage", "chunk_usage"}
    assert level.cached_tokens == 0
    assert level.ttft_s.n == level.tpot_s.n == 8
    assert level.ttft_s.mean is not None and level.ttft_s.mean > 0
    # Four streams at once: together they are faster than one stream alone is.
    assert level.output_tps is not None and level.decode_tps.mean is not None
    assert level.output_tps > level.decode_tps.mean
    assert level.mean_in_flight is not None and 2 < level.mean_in_flight <= 4
