"""The runtime against the real llama-server, with the real model and tiny random ones."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from llama_runner.core.errors import EngineError, ModelFileError
from llama_runner.core.load_options import LoadOptions
from llama_runner.net.client import open_http
from llama_runner.runtime.instance import InstanceState, Timings
from llama_runner.system.processes import PIPE, spawn, stop
from tests.fakes.gguf_files import GOOD_KEYS, header, tensor, write_tiny_llama
from tests.fakes.waiting import is_gone, until
from tests.integration.runtime_support import ONE_THREAD, open_manager

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the demo engine is a Linux build")


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    """A models folder with two tiny random models."""
    folder = tmp_path_factory.mktemp("tiny")
    first = write_tiny_llama(folder / "tiny-1.gguf", demo_model)
    (folder / "tiny-2.gguf").write_bytes(first.read_bytes())
    return folder


def _chat(stream: bool, max_tokens: int) -> dict[str, object]:
    return {
        "messages": [{"role": "user", "content": "Name three colours."}],
        "max_tokens": max_tokens,
        "stream": stream,
        "ignore_eos": True,
    }


async def test_the_real_model_answers_who_has_the_key_and_nobody_else(tmp_path: Path, engine: Path) -> None:
    empty = tmp_path / "models"
    empty.mkdir()
    async with (
        open_manager(tmp_path, engine, models=empty, timings=Timings()) as manager,
        open_http() as http,
    ):
        (model,) = (await manager.models()).models
        ready = await manager.ensure_ready(model.id, ONE_THREAD)
        assert ready.ram_bytes and ready.ram_bytes > 50_000_000
        url, key = manager.access(ready.id)
        body = _chat(stream=False, max_tokens=8)
        refused = await http.post(f"{url}/v1/chat/completions", json=body)
        assert refused.status_code == 401
        reply = await http.post(
            f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}
        )
        assert reply.status_code == 200
        assert reply.json()["model"] == model.id
        assert reply.json()["usage"]["completion_tokens"] == 8
        lines = "\n".join(manager.log_lines(ready.id, 0)[0])
        assert "model loaded" in lines
        assert key not in lines
        await manager.unload(ready.id)
        assert is_gone(ready.pid or 0)


@pytest.mark.parametrize("name", ["-rf", "--help", "a b'c\"d", "é%PATH%&x"])
async def test_a2_a3_a_file_whose_name_looks_like_an_option_or_a_command_is_a_file(
    tmp_path: Path, engine: Path, tiny_models: Path, name: str
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / f"{name}.gguf").write_bytes((tiny_models / "tiny-1.gguf").read_bytes())
    async with open_manager(tmp_path, engine, models=folder) as manager:
        (model,) = (await manager.models()).models
        ready = await manager.ensure_ready(model.id, ONE_THREAD)
        command = psutil.Process(ready.pid or 0).cmdline()
        assert command[command.index("--model") + 1] == str(folder / f"{name}.gguf")
        # An id that begins like an option would be one to whoever types it.
        assert not model.id.startswith("-")


async def test_two_models_load_at_once_and_end_together(
    tmp_path: Path, engine: Path, tiny_models: Path
) -> None:
    async with open_manager(tmp_path, engine, models=tiny_models, stop_grace_s=120) as manager:
        found = await asyncio.gather(
            manager.ensure_ready("tiny-1", ONE_THREAD), manager.ensure_ready("tiny-2", ONE_THREAD)
        )
        assert all(one.state is InstanceState.READY for one in found)
        await manager.close()
        assert all(is_gone(one.pid or 0) for one in found)


async def test_a_model_is_loaded_and_unloaded_ten_times_without_a_trace(
    tmp_path: Path, engine: Path, tiny_models: Path
) -> None:
    async with open_manager(tmp_path, engine, models=tiny_models) as manager:
        for _ in range(10):
            ready = await manager.ensure_ready("tiny-1", ONE_THREAD)
            await manager.unload(ready.id)
            assert is_gone(ready.pid or 0)
        assert manager.instances() == ()


async def test_stopping_while_it_loads_waits_for_no_grace(
    tmp_path: Path, engine: Path, demo_model: Path
) -> None:
    async with open_manager(tmp_path, engine, models=demo_model.parent, stop_grace_s=120) as manager:
        await manager.load(demo_model.stem, ONE_THREAD)
        await until(lambda: manager.instances()[0].pid)
        pid = manager.instances()[0].pid or 0
        await manager.unload("i1")
        assert is_gone(pid)


async def _first_line(http_stream: AsyncIterator[bytes]) -> bytes:
    async for data in http_stream:
        return data
    return b""


async def test_a_stop_with_an_open_stream_ends_within_the_grace(
    tmp_path: Path, engine: Path, demo_model: Path
) -> None:
    async with (
        open_manager(tmp_path, engine, models=demo_model.parent, stop_grace_s=2.0) as manager,
        open_http() as http,
    ):
        ready = await manager.ensure_ready(
            demo_model.stem, LoadOptions(context_length=4096, threads=1, parallel=1)
        )
        url, key = manager.access(ready.id)
        request = http.build_request(
            "POST",
            f"{url}/v1/chat/completions",
            json=_chat(stream=True, max_tokens=3000),
            headers={"Authorization": f"Bearer {key}"},
        )
        response = await http.send(request, stream=True)
        assert await _first_line(response.aiter_raw())
        await manager.unload(ready.id)
        assert is_gone(ready.pid or 0)
        await response.aclose()


async def test_g11_a_file_cut_short_is_refused_before_any_start(
    tmp_path: Path, engine: Path, tiny_models: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "cut.gguf").write_bytes((tiny_models / "tiny-1.gguf").read_bytes()[:-100])
    async with open_manager(tmp_path, engine, models=folder) as manager:
        with pytest.raises(ModelFileError, match="incomplete"):
            await manager.load("cut")


async def test_a_model_the_engine_cannot_load_fails_with_its_own_words(tmp_path: Path, engine: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    content = header(GOOD_KEYS, [tensor("token_embd.weight", (64, 2))], data=b"\0" * 512)
    (folder / "odd.gguf").write_bytes(content)
    async with open_manager(tmp_path, engine, models=folder) as manager:
        with pytest.raises(EngineError, match="could not load the model") as caught:
            await manager.ensure_ready("odd", ONE_THREAD)
        assert caught.value.hint


async def test_a_crash_of_the_real_engine_is_survived(
    tmp_path: Path, engine: Path, tiny_models: Path
) -> None:
    async with open_manager(tmp_path, engine, models=tiny_models) as manager:
        first = await manager.ensure_ready("tiny-1", ONE_THREAD)
        os.kill(first.pid or 0, signal.SIGSEGV)
        await until(lambda: manager.instances()[0].state is InstanceState.BACKOFF)
        again = await manager.ensure_ready("tiny-1")
        assert again.pid != first.pid


PARENT = """
import asyncio, json, sys
from pathlib import Path
from tests.integration.runtime_support import ONE_THREAD, open_manager

async def main(home, engine, models):
    async with open_manager(home, engine, models=models) as manager:
        found = [await manager.ensure_ready(name, ONE_THREAD) for name in ("tiny-1", "tiny-2")]
        print(json.dumps([one.pid for one in found]), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*map(Path, sys.argv[1:])))
"""


def _is_serving_child(child: psutil.Process) -> bool:
    try:
        return "--alias" in child.cmdline()
    except psutil.Error:
        return False


@pytest.mark.parametrize("when", ["serving", "serving again", "loading"])
async def test_f9_a_killed_parent_leaves_no_engine_behind(
    tmp_path: Path, engine: Path, tiny_models: Path, when: str
) -> None:
    root = Path(__file__).resolve().parents[2]
    parent = await spawn(
        [sys.executable, "-c", PARENT, str(tmp_path), str(engine), str(tiny_models)],
        env=dict(os.environ) | {"PYTHONPATH": str(root)},
        stdout=PIPE,
    )
    if when == "loading":
        family = psutil.Process(parent.pid)
        await until(lambda: any(map(_is_serving_child, family.children())), limit_s=20)
        pids = [child.pid for child in family.children()]
    else:
        assert parent.stdout is not None
        async with asyncio.timeout(30):
            pids = json.loads(await parent.stdout.readline())
        assert not any(map(is_gone, pids))
    os.kill(parent.pid, signal.SIGKILL)
    await until(lambda: all(map(is_gone, pids)), limit_s=5)
    await stop(parent, grace_s=0)
