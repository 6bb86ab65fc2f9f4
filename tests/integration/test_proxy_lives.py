"""Requests when clients leave, engines die and models come and go: a real service with real engines."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.gguf_files import write_tiny_llama
from tests.integration.service_process import ServiceProcess, started_service
from tests.integration.test_service_models import name_models

# Greedy: random weights now and then choose bytes that the engine refuses to call text.
BODY: dict[str, Any] = {
    "model": "a",
    "prompt": "x",
    "max_tokens": 200,
    "ignore_eos": True,
    "temperature": 0,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    return write_tiny_llama(path, demo_model)


@pytest.fixture
def service(tmp_path: Path, tiny: Path) -> Iterator[ServiceProcess]:
    name_models(tmp_path, tiny, "a", "b")
    with started_service(tmp_path, "--demo", "--openai", "127.0.0.1:0", "--ollama", "127.0.0.1:0") as one:
        yield one


async def instances(service: ServiceProcess) -> dict[str, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {service.run_file.token}"}
    async with httpx.AsyncClient(timeout=60) as http:
        answer = await http.get(f"{service.url}/api/v1/instances", headers=headers)
    return {one["model"]: one for one in answer.json()["instances"]}


async def until(
    service: ServiceProcess, fits: Callable[[dict[str, dict[str, Any]]], bool], limit_s: float = 60
) -> float:
    """Seconds until the instances are as wanted; waits for their changes."""
    began_s = time.monotonic()
    headers = {"Authorization": f"Bearer {service.run_file.token}"}
    revision = -1
    async with httpx.AsyncClient(headers=headers, timeout=limit_s) as http, asyncio.timeout(limit_s):
        while True:
            answer = await http.get(
                f"{service.url}/api/v1/instances", params={"after": max(revision, 0), "wait_s": 1}
            )
            revision = answer.json()["revision"]
            if fits({one["model"]: one for one in answer.json()["instances"]}):
                return time.monotonic() - began_s


async def until_idle(service: ServiceProcess, limit_s: float) -> float:
    """Seconds until no request is in flight."""
    return await until(service, lambda all: not any(one["in_flight"] for one in all.values()), limit_s)


@asynccontextmanager
async def client(service: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.ready["openai"], timeout=60) as http:
        yield http


async def test_eight_requests_load_a_model_once(service: ServiceProcess) -> None:
    async with client(service) as http, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(http.post("/v1/completions", json=BODY | {"max_tokens": 4})) for _ in range(8)
        ]
    assert [task.result().text for task in tasks if task.result().status_code != 200] == []
    assert list(await instances(service)) == ["a"]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_ends_its_request(service: ServiceProcess, streamed: bool) -> None:
    """H23, I17: also without streaming, where it is usually forgotten."""
    long = {"model": "SmolLM2-135M-Instruct.Q4_1", "prompt": "x", "ignore_eos": True, "stream": streamed}
    async with client(service) as http:
        await http.post("/v1/completions", json=long | {"max_tokens": 1, "stream": False})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await http.post("/v1/completions", json=long)
    assert await until_idle(service, 60) < 20


async def test_a_client_that_leaves_while_its_model_loads_is_forgotten(service: ServiceProcess) -> None:
    """H23."""
    async with client(service) as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await http.post("/v1/completions", json=BODY)
        # The load goes on: the next one gets it.
        assert (await http.post("/v1/completions", json=BODY | {"max_tokens": 1})).status_code == 200
    await until_idle(service, 60)


async def test_an_engine_that_dies_is_told_in_the_stream_and_comes_back(service: ServiceProcess) -> None:
    """F1, F22: an error event, no end marker; the next request is answered by its successor."""
    long = BODY | {"model": "SmolLM2-135M-Instruct.Q4_1", "stream": True, "max_tokens": 4000}
    async with client(service) as http:
        seen = b""
        async with http.stream("POST", "/v1/completions", json=long) as answer:
            async for data in answer.aiter_raw():
                if not seen:
                    os.kill((await instances(service))[long["model"]]["pid"], signal.SIGSEGV)
                seen += data
        assert b"[DONE]" not in seen
        assert b'data: {"error"' in seen and seen.endswith(b"\n\n")
        again = await http.post("/v1/completions", json=long | {"stream": False, "max_tokens": 1})
        assert again.status_code == 200, again.text


async def test_a_model_without_work_leaves_and_comes_back_when_asked(service: ServiceProcess) -> None:
    greedy = {"num_predict": 1, "temperature": 0}
    ask = {"model": "a", "prompt": "x", "raw": True, "stream": False, "options": greedy}
    async with httpx.AsyncClient(base_url=service.ready["ollama"], timeout=30) as http:
        for _ in range(2):
            assert (await http.post("/api/generate", json=ask | {"keep_alive": "200ms"})).status_code == 200
            await until(service, lambda all: "a" not in all)


async def test_work_keeps_a_model_in_memory(service: ServiceProcess) -> None:
    """A keep-alive shorter than an answer does not cut the answer."""
    ask = {"model": "SmolLM2-135M-Instruct.Q4_1", "prompt": "x", "keep_alive": "50ms"}
    options = {"num_predict": 40, "stop": []}
    async with httpx.AsyncClient(base_url=service.ready["ollama"], timeout=60) as http:
        answer = await http.post("/api/generate", json=ask | {"options": options, "stream": False})
    assert answer.json()["done_reason"] in ("length", "stop")


async def test_two_models_and_many_clients(service: ServiceProcess) -> None:
    async with client(service) as http, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(http.post("/v1/completions", json=BODY | {"model": name, "max_tokens": 3}))
            for name in "abababababababab"
        ]
    assert {task.result().status_code for task in tasks} == {200}
    assert sorted(await instances(service)) == ["a", "b"]


async def test_lm_studio_and_ollama_clients_load_and_unload(service: ServiceProcess) -> None:
    async with (
        client(service) as http,
        httpx.AsyncClient(base_url=service.ready["ollama"], timeout=60) as ollama,
    ):
        loaded = (await http.post("/api/v1/models/load", json={"model": "a"})).json()
        assert (loaded["status"], loaded["instance_id"]) == ("loaded", "a")
        assert (await http.post("/api/v1/models/unload", json={"instance_id": "a"})).json() == {
            "instance_id": "a"
        }
        assert await instances(service) == {}
        assert (await ollama.post("/api/generate", json={"model": "b"}, timeout=30)).json()[
            "done_reason"
        ] == "load"
        gone = await ollama.post("/api/generate", json={"model": "b", "keep_alive": 0})
        assert gone.json()["done_reason"] == "unload"
        assert (await ollama.get("/api/ps")).json() == {"models": []}


async def test_one_client_that_unloads_cuts_nobody_elses_answer(service: ServiceProcess) -> None:
    long = BODY | {"model": "SmolLM2-135M-Instruct.Q4_1", "stream": True, "max_tokens": 300}
    async with (
        client(service) as http,
        httpx.AsyncClient(base_url=service.ready["ollama"], timeout=60) as ollama,
    ):
        async with http.stream("POST", "/v1/completions", json=long) as answer:
            stream = answer.aiter_raw()
            seen = await anext(stream)
            said = await ollama.post("/api/generate", json={"model": long["model"], "keep_alive": 0})
            assert said.json()["done_reason"] == "unload"
            async for data in stream:
                seen += data
        assert seen.rstrip().endswith(b"data: [DONE]")
        await until(service, lambda all: not all)


async def test_a_service_ends_while_it_streams(service: ServiceProcess) -> None:
    """F40: nobody waits, nothing is left."""
    long = BODY | {"model": "SmolLM2-135M-Instruct.Q4_1", "stream": True, "max_tokens": 8000}
    async with client(service) as http, http.stream("POST", "/v1/completions", json=long) as answer:
        stream = answer.aiter_raw()
        assert await anext(stream)
        service.signal(signal.SIGTERM)
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in stream:
                continue
    assert await asyncio.to_thread(service.wait, 15) == 0
