"""A service for which the system has no more memory, files or processes: told, and over when that is over."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from llama_runner.control.client import ControlClient
from llama_runner.core.errors import EngineError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import home_at
from llama_runner.runtime.orphans import record_path
from tests.fakes.fake_llama_server import fake_engine
from tests.fakes.gguf_files import good_file
from tests.fakes.waiting import until
from tests.integration.service_process import ServiceProcess, started_service
from tests.integration.test_service_models import client_of, load_ready, name_models

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of a running process are Linux's")

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def _service(home: Path) -> AsyncIterator[tuple[ServiceProcess, ControlClient]]:
    """One with a model loaded."""
    model = home / "m.gguf"
    model.write_bytes(good_file())
    name_models(home, model, "one", "two")
    engine = fake_engine(home / "engine")
    with started_service(home, "--engine", str(engine), "--openai", "127.0.0.1:0") as service:
        async with client_of(home) as client:
            await load_ready(client, "one")
            yield service, client


@contextmanager
def _limited(service: ServiceProcess, what: int, value: int) -> Iterator[None]:
    process = psutil.Process(service.process.pid)
    soft, hard = process.rlimit(what)
    process.rlimit(what, (value, hard))
    try:
        yield
    finally:
        process.rlimit(what, (soft, hard))


async def _models(service: ServiceProcess) -> int:
    async with httpx.AsyncClient(base_url=service.ready["openai"], timeout=30) as http:
        return (await http.get("/v1/models")).status_code


async def test_f17_without_descriptors_a_load_is_refused_in_words_and_later_works(home: Path) -> None:
    async with _service(home) as (service, client):
        spare = psutil.Process(service.process.pid).num_fds() + 3
        with _limited(service, psutil.RLIMIT_NOFILE, spare):
            with pytest.raises(EngineError, match="starts no more programs") as caught:
                await load_ready(client, "two")
            assert "unload models" in caught.value.hint
        assert (await load_ready(client, "two")).state == "ready"


async def test_f17_connections_beyond_the_limit_wait_until_there_is_room_again(home: Path) -> None:
    async with _service(home) as (service, client):
        in_use = psutil.Process(service.process.pid).num_fds()
        with _limited(service, psutil.RLIMIT_NOFILE, in_use):
            with pytest.raises(httpx.ReadTimeout):
                async with httpx.AsyncClient(base_url=service.ready["openai"], timeout=0.5) as http:
                    # The first may take the place of a connection that was just closed.
                    await http.get("/v1/models")
                    async with httpx.AsyncClient(base_url=service.ready["openai"], timeout=0.5) as second:
                        await second.get("/v1/models")
            assert (await client.health()).status == "ok"
        assert await _models(service) == 200


async def test_f16_without_memory_one_request_fails_and_the_service_stays(home: Path) -> None:
    # Enough for the stack of a thread, not for two copies of the body.
    large = {"model": "one", "messages": [{"role": "user", "content": "x" * (24 << 20)}]}
    async with _service(home) as (service, client):
        spare = psutil.Process(service.process.pid).memory_info().vms + (40 << 20)
        with _limited(service, psutil.RLIMIT_AS, spare):
            async with httpx.AsyncClient(base_url=service.ready["openai"], timeout=30) as http:
                try:
                    assert (await http.post("/v1/chat/completions", json=large)).status_code >= 400
                except httpx.TransportError:
                    assert service.process.poll() is None
            assert await _models(service) == 200
        assert (await client.health()).status == "ok"
        assert (await load_ready(client, "two")).state == "ready"


async def test_f31_f33_where_nothing_can_be_written_models_run_and_old_files_stay_whole(home: Path) -> None:
    """What the runtime writes: output, footprints, the engine's checksum, the note of children."""
    folders = home_at(home)
    written = [folders.data_dir / "footprints.json", folders.data_dir / "engines.json", record_path(folders)]
    async with _service(home) as (service, client):
        await client.unload("one")
        await load_ready(client, "one")
        await until(lambda: all(map(Path.exists, written)))
        before = [path.read_bytes() for path in written]
        with _limited(service, psutil.RLIMIT_FSIZE, 0):
            await client.unload("one")
            ready = await load_ready(client, "two")
            assert any(line.startswith("$ ") for line in (await client.log(ready.id)).lines)
            await client.unload("two")
            assert [path.read_bytes() for path in written] == before
        await client.load("two", LoadOptions(context_length=512))
        await load_ready(client, "two")
        await client.unload("two")
        assert len(json.loads(written[0].read_bytes())["footprints"]) == 2
    assert not [path for path in folders.data_dir.iterdir() if "tmp" in path.name]


NO_PROCESSES = """
import asyncio, os, resource, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from llama_runner.core.errors import EngineError
from tests.fakes.fake_llama_server import fake_engine
from tests.integration.runtime_support import open_manager

async def main(folder):
    engine = fake_engine(folder / "engine")
    async with open_manager(folder, engine) as manager:
        await manager.ensure_ready("a")
        # Threads count too: all that the loop's pool may want exist from here on.
        await asyncio.gather(*(asyncio.to_thread(lambda: os.stat("/")) for _ in range(64)))
        soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
        try:
            await manager.ensure_ready("b")
        except EngineError as error:
            print(error.message)
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
        await manager.load("b")
        print((await manager.ensure_ready("b")).state.value, (await manager.ensure_ready("a")).state.value)

with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(Path(folder)))
"""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="no limit of processes holds for root"
)
def test_f18_without_processes_a_load_is_refused_in_words_and_later_works() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_PROCESSES, str(ROOT)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    said = done.stdout.splitlines()
    assert said[1:] == ["ready ready"], done.stderr
    assert "The system starts no more programs" in said[0]
