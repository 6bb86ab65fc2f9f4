"""The service with real models: load, use, unload, and nothing left however it ends."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from llama_runner.cli.commands.load import until_ready
from llama_runner.cli.render import Output
from llama_runner.control.client import ControlClient
from llama_runner.control.launcher import attach
from llama_runner.control.values import Instance
from llama_runner.core.errors import LlamaRunnerError, NotFoundError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import create_folders, home_at
from llama_runner.net.client import open_http
from tests.fakes.fake_llama_server import fake_engine
from tests.fakes.gguf_files import write_tiny_llama
from tests.integration.service_process import (
    all_gone,
    children_of,
    run_to_end,
    started_service,
)

# Small enough that two models and a service start in a second.
OPTIONS: Final = LoadOptions(context_length=256, threads=1, parallel=1)
SILENT: Final = Output(json=True, quiet=True, stdout=sys.stdout, stderr=sys.stderr)
KILLS: Final = 20


def name_models(home: Path, model: Path, *ids: str) -> None:
    """Make one file known under several ids."""
    create_folders(home_at(home))
    models = {name: {"path": str(model)} for name in ids}
    home_at(home).models_config_file.write_text(json.dumps({"version": 1, "models": models}))


@contextlib.asynccontextmanager
async def client_of(home: Path) -> AsyncIterator[ControlClient]:
    """The control API of the home's service."""
    async with open_http() as http:
        client = await attach(home_at(home), http=http)
        assert client is not None
        yield client


async def load_ready(client: ControlClient, model: str) -> Instance:
    """Load and wait."""
    return await until_ready(client, await client.load(model, OPTIONS), SILENT)


async def test_a_model_is_loaded_used_with_its_key_and_unloaded(
    home: Path, engine: Path, demo_model: Path
) -> None:
    name_models(home, demo_model, "small")
    with started_service(home, "--engine", str(engine)) as service:
        async with client_of(home) as client, open_http() as http:
            assert [model.id for model in (await client.models()).models] == ["small"]
            started = await client.load("small", OPTIONS)
            assert started.state in ("starting", "ready")
            ready = await until_ready(client, started, SILENT)
            assert ready.load_s is not None
            assert ready.pid in [child.pid for child in children_of(service.process.pid)]

            access = await client.access(ready.id)
            question = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}
            url = f"{access.url}/v1/chat/completions"
            refused = await http.post(url, json=question)
            assert refused.status_code == 401
            answer = await http.post(
                url, json=question, headers={"Authorization": f"Bearer {access.api_key}"}
            )
            assert answer.status_code == 200
            assert answer.json()["choices"][0]["message"]["content"]

            chunk = await client.log(ready.id)
            assert chunk.lines
            assert access.api_key not in "\n".join(chunk.lines)
            assert (await client.log(ready.id, after=chunk.next)).next >= chunk.next

            children = children_of(service.process.pid)
            await client.unload(ready.id)
            assert all_gone(children)
            assert all(i.state == "stopped" for i in (await client.instances()).instances)
            with pytest.raises(LlamaRunnerError):
                await client.access(ready.id)


async def test_loading_twice_joins_and_the_revision_tells_of_every_change(
    home: Path, engine: Path, demo_model: Path
) -> None:
    name_models(home, demo_model, "small")
    with started_service(home, "--engine", str(engine)):
        async with client_of(home) as client:
            before = await client.instances()
            first, second = await asyncio.gather(client.load("small", OPTIONS), client.load("small", OPTIONS))
            assert first.id == second.id
            after = await client.instances(after=before.revision, wait_s=20)
            assert after.revision > before.revision
            await until_ready(client, first, SILENT)


async def test_ending_the_service_ends_its_models(home: Path, engine: Path, demo_model: Path) -> None:
    """F40."""
    name_models(home, demo_model, "one", "two")
    with started_service(home, "--engine", str(engine)) as service:
        async with client_of(home) as client:
            await asyncio.gather(load_ready(client, "one"), load_ready(client, "two"))
        children = children_of(service.process.pid)
        assert len(children) >= 2
        service.signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.wait, 10) == 0
        assert all_gone(children, 0.5)


@pytest.mark.slow
async def test_20_kills_with_two_models_loaded_leave_no_llama_server(
    home: Path, engine: Path, demo_model: Path
) -> None:
    """F9: also when the service had no chance to do anything; and the next one starts over what is left."""
    tiny = home / "tiny.gguf"
    write_tiny_llama(tiny, demo_model)
    name_models(home, tiny, "one", "two")
    for _ in range(KILLS):
        with started_service(home, "--engine", str(engine)) as service:
            async with client_of(home) as client:
                ready = await asyncio.gather(load_ready(client, "one"), load_ready(client, "two"))
            children = children_of(service.process.pid)
            assert {instance.pid for instance in ready} <= {child.pid for child in children}
            service.signal(signal.SIGKILL)
            assert service.wait() == -signal.SIGKILL
            assert all_gone(children), "a llama-server survived"


OWNER = """
import asyncio, sys
from pathlib import Path
from llama_runner.cli.commands.load import until_ready
from llama_runner.cli.render import Output
from llama_runner.control.launcher import start_owned
from llama_runner.core.paths import home_at
from llama_runner.net.client import open_http

async def main():
    async with open_http() as http:
        service = await start_owned(home_at(Path(sys.argv[1])), http=http)
        out = Output(json=True, quiet=True, stdout=sys.stdout, stderr=sys.stderr)
        await until_ready(service.client, await service.client.load("small"), out)
        print(service.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_an_owner_killed_with_9_takes_service_and_models_along(
    home: Path, engine: Path, demo_model: Path
) -> None:
    """F9."""
    name_models(home, demo_model, "small")
    settings = {"service": {"control_port": 0}, "runtime": {"engine_path": {"linux": str(engine)}}}
    home_at(home).app_config_file.write_text(json.dumps({"version": 1, **settings}))
    with subprocess.Popen([sys.executable, "-c", OWNER, str(home)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        service = psutil.Process(int(owner.stdout.readline()))
        family = [service, *service.children(recursive=True)]
        assert len(family) >= 2
        owner.kill()
    assert all_gone(family, 10)


def test_the_commands_load_show_and_unload(home: Path, engine: Path, demo_model: Path) -> None:
    name_models(home, demo_model, "small")
    with started_service(home, "--engine", str(engine)) as service:
        code, stdout, stderr = run_to_end(["load", "small", "--context-length", "256", "--json"])
        assert code == 0, stderr
        loaded = json.loads(stdout)
        assert (loaded["model"], loaded["state"]) == ("small", "ready")

        code, stdout, _ = run_to_end(["ps", "--json"])
        (shown,) = json.loads(stdout)["instances"]
        assert code == 0
        assert (shown["model"], shown["state"], shown["pid"]) == ("small", "ready", loaded["pid"])
        assert {"vram_bytes", "ram_bytes", "in_flight", "idle_s", "pinned", "port"} <= shown.keys()
        assert "small" in run_to_end(["ps"])[1]

        code, stdout, _ = run_to_end(["logs", "small", "--json", "--lines", "5"])
        lines = [json.loads(line) for line in stdout.splitlines()]
        assert code == 0
        assert 0 < len(lines) <= 5
        assert all(line["source"] == "small" for line in lines)

        code, stdout, _ = run_to_end(["models", "--json"])
        assert [model["id"] for model in json.loads(stdout)["models"]] == ["small"]
        code, stdout, _ = run_to_end(["engines", "--json"])
        assert json.loads(stdout)["engines"][0]["path"] == str(engine)

        children = children_of(service.process.pid)
        code, stdout, _ = run_to_end(["unload", "small", "--json"])
        assert (code, json.loads(stdout)) == (0, {"unloaded": [loaded["id"]]})
        assert all_gone(children)
        assert run_to_end(["unload", "small"])[0] == 1


def test_load_without_a_service_says_what_to_do(home: Path, demo_model: Path) -> None:
    name_models(home, demo_model, "small")
    code, stdout, _ = run_to_end(["load", "small", "--json"])
    error = json.loads(stdout)["error"]
    assert (code, error["kind"]) == (1, "service")
    assert "serve" in error["hint"]
    assert "--start" in error["hint"]


def test_load_start_leaves_a_service_running_that_serve_stop_ends(
    home: Path, engine: Path, demo_model: Path
) -> None:
    name_models(home, demo_model, "small")
    settings = {"service": {"control_port": 0}, "runtime": {"engine_path": {"linux": str(engine)}}}
    home_at(home).app_config_file.write_text(json.dumps({"version": 1, **settings}))
    code, stdout, stderr = run_to_end(["load", "small", "--start", "--json"])
    assert code == 0, stderr
    model = psutil.Process(json.loads(stdout)["pid"])
    assert model.is_running()
    code, stdout, _ = run_to_end(["serve", "--stop", "--json"])
    assert (code, json.loads(stdout)["stopped"]) == (0, True)
    assert all_gone([model])


async def test_an_unknown_model_names_the_known_ones(home: Path, engine: Path, demo_model: Path) -> None:
    name_models(home, demo_model, "small")
    with started_service(home, "--engine", str(engine)):
        async with client_of(home) as client:
            with pytest.raises(LlamaRunnerError) as caught:
                await client.load("smal")
            assert "small" in caught.value.hint
            with pytest.raises(NotFoundError):
                await client.unload("nobody")
            assert (await client.instances()).instances == ()


async def test_a_corrupt_model_is_refused_with_what_it_is(home: Path, engine: Path, tmp_path: Path) -> None:
    """G1."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"<!DOCTYPE html><html>")
    name_models(home, broken, "broken")
    with started_service(home, "--engine", str(engine)):
        async with client_of(home) as client:
            (model,) = (await client.models()).models
            assert model.problem
            with pytest.raises(LlamaRunnerError, match="broken"):
                await client.load("broken")
        code, stdout, _ = run_to_end(["load", "broken", "--json"])
        assert code == 1
        assert json.loads(stdout)["error"]["kind"] == "model_file"


async def test_a_missing_engine_is_told_by_every_way_in(home: Path, demo_model: Path, tmp_path: Path) -> None:
    """F2: the program a setting names is a folder."""
    name_models(home, demo_model, "small")
    settings = {"runtime": {"engine_path": {"linux": str(tmp_path)}}}
    home_at(home).app_config_file.write_text(json.dumps({"version": 1, **settings}))
    with started_service(home):
        async with client_of(home) as client:
            assert (await client.engine()).problem
            with pytest.raises(LlamaRunnerError, match=str(tmp_path)):
                await until_ready(client, await client.load("small"), SILENT)
        code, stdout, _ = run_to_end(["engines", "--json"])
        assert (code, json.loads(stdout)["error"]["kind"]) == (1, "engine")


async def test_a_second_interrupt_does_not_wait_for_the_grace(home: Path, demo_model: Path) -> None:
    """F40, F6: the model ignores every request to stop, and its grace is longer than the test may take."""
    engine = fake_engine(home / "engine", {"ignore_term": True, "protocol": False})
    name_models(home, demo_model, "stubborn")
    settings = {"runtime": {"stop_grace_s": 120}}
    home_at(home).app_config_file.write_text(json.dumps({"version": 1, **settings}))
    with started_service(home, "--engine", str(engine)) as service:
        async with client_of(home) as client:
            await load_ready(client, "stubborn")
            children = children_of(service.process.pid)
            service.signal(signal.SIGINT)
            async with asyncio.timeout(10):
                while (await client.health()).status != "closing":  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(0.01)
            assert all(child.is_running() for child in children)
        service.signal(signal.SIGINT)
        assert await asyncio.to_thread(service.wait, 10) == 0
        assert all_gone(children)
