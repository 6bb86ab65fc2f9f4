"""The servers that every backend test runs on: the metronome in each dialect, and a real llama-server."""

import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from llama_runner.backends.base import Backend, Endpoint, Engine
from llama_runner.backends.registry import connect
from llama_runner.backends.request import ChatRequest, Message, Role, SamplingOptions
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from llama_runner.net.ports import pick_free_port
from tests.fakes.metronome import Metronome, start_metronome
from tests.fakes.metronome_plan import Plan

API_KEY = "contract-key"
CONTEXT_TOKENS = 1024
DIALECTS = (Engine.OPENAI, Engine.LLAMA_SERVER, Engine.OLLAMA)


@dataclass(frozen=True)
class Server:
    """A server under the contract.

    Attributes:
        counts_prompt: It reports prompt tokens.
        metronome: The metronome behind it, None for the real one.
    """

    engine: Engine
    url: str
    model_id: str
    api_key: str | None
    metronome: Metronome | None

    def endpoint(self, api_key: str | None = API_KEY) -> Endpoint:
        return Endpoint(self.url, self.engine, api_key)

    def request(
        self, text: str = "Name three colours.", *, max_tokens: int = 16, plan: Plan | None = None
    ) -> ChatRequest:
        model_id = self.model_id
        if self.metronome is not None:
            model_id = (plan or Plan(tokens=max_tokens, prefill_ms=5, gap_ms=1)).model_id()
        options = SamplingOptions(max_tokens=max_tokens, temperature=0.0, seed=1)
        return ChatRequest(model_id, (Message(Role.USER, text),), options)


@pytest.fixture(scope="session")
def keyed_metronome() -> Iterator[Metronome]:
    server = start_metronome(api_key=API_KEY)
    yield server
    server.close()


@pytest.fixture(scope="session")
def llama_server_url(
    engine: Path, demo_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A real llama-server with the demo model, ready."""
    port = pick_free_port()
    command = [
        engine,
        "-m",
        demo_model,
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--alias",
        "smol",
        "--offline",
    ]
    command += ["-c", CONTEXT_TOKENS, "-np", 1, "-t", 2]
    environment = {**os.environ, "LLAMA_API_KEY": API_KEY}
    process = subprocess.Popen(
        [str(word) for word in command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    ready = threading.Event()
    lines: list[str] = []

    def drain() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if "listening on" in line or "all slots are idle" in line:
                ready.set()

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        assert ready.wait(45), "".join(lines[-20:])
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture(params=[*(f"metronome {dialect}" for dialect in DIALECTS), "real llama-server"])
def server(request: pytest.FixtureRequest, keyed_metronome: Metronome, llama_server_url: str) -> Server:
    """Each server in turn. Both processes start before the first test, so that they are no leak of it."""
    if request.param == "real llama-server":
        return Server(Engine.LLAMA_SERVER, llama_server_url, "smol", API_KEY, None)
    return _on_metronome(request.param.removeprefix("metronome "), keyed_metronome)


@pytest.fixture(params=DIALECTS)
def planned(request: pytest.FixtureRequest, keyed_metronome: Metronome) -> Server:
    """The metronome in each dialect, for what only it can do."""
    return _on_metronome(request.param, keyed_metronome)


def _on_metronome(dialect: str, metronome: Metronome) -> Server:
    return Server(Engine(dialect), metronome.url, "metronome", API_KEY, metronome)


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with open_http() as client:
        yield client


@pytest.fixture
def backend(server: Server, http: httpx.AsyncClient) -> Backend:
    """The backend for `server`."""
    return connect(server.endpoint(), http=http, clock=SystemClock())


@pytest.fixture
def planned_backend(planned: Server, http: httpx.AsyncClient) -> Backend:
    """The backend for `planned`."""
    return connect(planned.endpoint(), http=http, clock=SystemClock())
