"""Two models, memory for one: swaps that cut nobody, pins that hold, plans that say what will happen."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_runner.core.paths import create_folders, home_at
from tests.fakes.gguf_files import write_tiny_llama
from tests.integration.service_process import ServiceProcess, run_to_end, started_service

MIB = 1024 * 1024
REQUESTS = 200
CLIENTS = 8


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf", demo_model)


@pytest.fixture
def service(tmp_path: Path, tiny: Path) -> Iterator[ServiceProcess]:
    """Two names for one tiny model, each of which needs more than half of what there is."""
    home = home_at(tmp_path)
    create_folders(home)
    small = {"context_length": 256, "threads": 1, "parallel": 2}
    models = {name: {"path": str(tiny), "parameters": small} for name in ("a", "b")}
    home.models_config_file.write_text(json.dumps({"version": 1, "models": models}))
    home.app_config_file.write_text(json.dumps({"version": 1, "runtime": {"memory_limit_bytes": 70 * MIB}}))
    with started_service(tmp_path, "--demo", "--openai", "127.0.0.1:0") as one:
        yield one


@asynccontextmanager
async def proxy(service: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.ready["openai"], timeout=120) as http:
        yield http


@asynccontextmanager
async def control(service: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {service.run_file.token}"}
    async with httpx.AsyncClient(base_url=f"{service.url}/api/v1", headers=headers, timeout=60) as http:
        yield http


async def standing(service: ServiceProcess) -> str:
    """What the service is at, for a person who wonders why nothing moves."""
    log = (home_at(service.home).logs_dir / "llama-runner.log").read_text().splitlines()[-40:]
    async with control(service) as http:
        now = [(await http.get(path)).text for path in ("/instances", "/requests")]
    return "\n".join([*now, *log])


def ask(model: str, tokens: int = 4) -> dict[str, Any]:
    # Greedy: random weights now and then choose bytes that the engine refuses to call text.
    sampling = {"temperature": 0, "ignore_eos": True, "max_tokens": tokens}
    return {"model": model, "prompt": "x", "stream": True, **sampling}


@pytest.mark.timeout(240)
async def test_two_hundred_interleaved_requests_are_all_answered_whole(service: ServiceProcess) -> None:
    order = random.Random(4).choices("ab", k=REQUESTS)
    waiting = iter(order)
    whole = 0

    async def client(http: httpx.AsyncClient) -> None:
        nonlocal whole
        for model in waiting:
            answer = await http.post("/v1/completions", json=ask(model))
            assert answer.status_code == 200, answer.text
            assert answer.text.rstrip().endswith("data: [DONE]"), answer.text[-200:]
            whole += 1

    try:
        async with asyncio.timeout(200), proxy(service) as http, asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client(http))
    except TimeoutError:
        pytest.fail(f"{whole} answered, then it stood still:\n{await standing(service)}")
    assert whole == REQUESTS
    async with control(service) as http:
        (last,) = (await http.get("/instances")).json()["instances"]
    loads = int(last["id"].removeprefix("i"))
    # Asked one after the other, each change of the model would be a load.
    changes = 1 + sum(before != after for before, after in pairwise(order))
    assert loads < changes


async def test_a_pinned_model_stays_and_the_other_is_told_why(service: ServiceProcess) -> None:
    async with proxy(service) as http, control(service) as api:
        assert (await http.post("/v1/completions", json=ask("a"))).status_code == 200
        assert (await api.patch("/instances/a", json={"pinned": True})).json()["pinned"] is True
        refused = await http.post("/v1/completions", json=ask("b"))
        assert refused.status_code == 500
        assert "Unpin or unload a" in refused.json()["error"]["message"]
        assert (await http.post("/v1/completions", json=ask("a"))).status_code == 200
        await api.patch("/instances/a", json={"pinned": False})
        assert (await http.post("/v1/completions", json=ask("b"))).status_code == 200
        assert [one["model"] for one in (await api.get("/instances")).json()["instances"]] == ["b"]


async def test_a_swap_waits_for_the_answer_that_streams(service: ServiceProcess) -> None:
    async with proxy(service) as http, asyncio.TaskGroup() as group:
        async with http.stream("POST", "/v1/completions", json=ask("a", 200)) as answer:
            stream = answer.aiter_raw()
            seen = await anext(stream)
            other = group.create_task(http.post("/v1/completions", json=ask("b")))
            async for data in stream:
                seen += data
        assert seen.rstrip().endswith(b"data: [DONE]")
        assert (await other).status_code == 200


async def test_the_plan_says_who_leaves_and_nothing_happens(service: ServiceProcess) -> None:
    async with proxy(service) as http, control(service) as api:
        await http.post("/v1/completions", json=ask("a"))
        plan = (await api.post("/plan", json={"model": "b"})).json()
        assert plan["fits"] and not plan["loaded"] and not plan["measured"]
        assert [one["model"] for one in plan["evict"]] == ["a"]
        assert [one["model"] for one in (await api.get("/instances")).json()["instances"]] == ["a"]
    code, text, _ = await asyncio.to_thread(run_to_end, ["load", "b", "--plan", "--home", str(service.home)])
    assert code == 0
    assert "a leaves: idle for" in text


async def test_requests_are_told_with_their_times(service: ServiceProcess) -> None:
    async with proxy(service) as http:
        await http.post("/v1/completions", json=ask("a"))
        await http.post("/v1/completions", json=ask("nope"))
    code, text, _ = await asyncio.to_thread(run_to_end, ["requests", "--json", "--home", str(service.home)])
    told, refused = json.loads(text)["requests"]
    assert code == 0
    assert (refused["model"], refused["outcome"], refused["status"]) == ("nope", "refused", 404)
    assert (told["model"], told["outcome"], told["status"], told["streamed"]) == ("a", "done", 200, True)
    assert told["load_s"] > 0 and told["total_s"] >= told["first_byte_s"] > told["load_s"]
    assert 0 <= told["own_s"] < 0.5
