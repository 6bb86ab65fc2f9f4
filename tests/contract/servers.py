"""The table of servers that the contract suite runs on, and what a test may expect of each.

A row starts its server when the first test wants it; everything that differs between servers stands in its
`Traits`, never as a question for the engine inside a test.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from llama_runner.backends.base import Endpoint, Engine
from llama_runner.backends.models import ContextSource, ModelInfo
from llama_runner.backends.request import ChatRequest, Message, Role, SamplingOptions
from llama_runner.core.trace import TokensSource
from llama_runner.net.ports import pick_free_port
from tests.contract.traits import ORDINARY, OTHER_ENGINES
from tests.contract.traits import Traits as Traits
from tests.fakes.metronome import Metronome, start_metronome
from tests.fakes.metronome_plan import Plan

API_KEY: Final = "contract-key"
CONTEXT_TOKENS: Final = 1024
START_TIMEOUT_S: Final = 45.0


@dataclass(frozen=True)
class Server:
    """A running server under the contract.

    Attributes:
        metronome: The metronome behind it, None for a real one.
    """

    engine: Engine
    url: str
    model_id: str
    api_key: str | None = API_KEY
    metronome: Metronome | None = None
    traits: Traits = ORDINARY

    def endpoint(self) -> Endpoint:
        """How to reach it, with its key."""
        return Endpoint(self.url, self.engine, self.api_key)

    def endpoint_with(self, api_key: str | None) -> Endpoint:
        """How to reach it with another key, or none."""
        return Endpoint(self.url, self.engine, api_key)

    def request(
        self, text: str = "Name three colours.", *, max_tokens: int = 16, plan: Plan | None = None
    ) -> ChatRequest:
        """A question; where it is the metronome, with its plan."""
        model_id = self.model_id
        if self.metronome is not None:
            model_id = (plan or Plan(tokens=max_tokens, prefill_ms=5, gap_ms=1)).model_id()
        options = SamplingOptions(max_tokens=max_tokens, temperature=0.0, seed=1)
        return ChatRequest(model_id, (Message(Role.USER, text),), options)


Start = Callable[[pytest.FixtureRequest], AbstractContextManager[Server]]


@dataclass(frozen=True)
class Row:
    """One server of the table.

    Attributes:
        name: As in the names of tests.
        start: Have it running; stop it when left. Skips where its program is not installed.
    """

    name: str
    start: Start


def metronome_row(engine: Engine, traits: Traits = ORDINARY, *, speaks: str | None = None) -> Row:
    """The metronome in the dialect of an engine, in a process of its own.

    Args:
        speaks: Its `--engine`, where that is not the engine's name.
    """

    @contextmanager
    def start(request: pytest.FixtureRequest) -> Iterator[Server]:
        metronome = start_metronome(engine=speaks or str(engine), api_key=API_KEY)
        try:
            yield Server(engine, metronome.url, "metronome", API_KEY, metronome, traits)
        finally:
            metronome.close()

    return Row(f"metronome {engine}", start)


@contextmanager
def _llama_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A real llama-server with the demo model, which also makes embeddings."""
    model: Path = request.getfixturevalue("demo_model")
    options = ("-m", str(model), "--alias", "smol", "-np", "1", "--embedding", "--pooling", "mean")
    with _llama_server_process(request, *options, "-c", str(CONTEXT_TOKENS)) as url:
        yield Server(Engine.LLAMA_SERVER, url, "smol", traits=REAL_LLAMA_SERVER)


@contextmanager
def _llama_server_messages(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The same, asked in Anthropic's dialect, which it speaks as well."""
    model: Path = request.getfixturevalue("demo_model")
    options = ("-m", str(model), "--alias", "smol", "-np", "1", "-c", str(CONTEXT_TOKENS))
    with _llama_server_process(request, *options) as url:
        yield Server(Engine.ANTHROPIC, url, "smol", traits=REAL_MESSAGES)


@contextmanager
def templated_llama_server(request: pytest.FixtureRequest, template: Path) -> Iterator[Server]:
    """A real llama-server that renders another chat template than its model's own."""
    model: Path = request.getfixturevalue("demo_model")
    options = ("-m", str(model), "--alias", "smol", "-np", "1", "-c", str(CONTEXT_TOKENS))
    with _llama_server_process(request, *options, "--chat-template-file", str(template)) as url:
        yield Server(Engine.LLAMA_SERVER, url, "smol")


@contextmanager
def _router(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A real llama-server that starts others: one for each model of a folder, of which one is damaged."""
    model: Path = request.getfixturevalue("demo_model")
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("models")
    (folder / "smol.gguf").symlink_to(model)
    (folder / "broken.gguf").write_bytes(b"GGUF" + bytes(64))
    options = ("--models-dir", str(folder), "-np", "1", "-c", str(CONTEXT_TOKENS))
    with _llama_server_process(request, *options) as url:
        traits = replace(REAL_LLAMA_SERVER, loads=True, embedding_model=None)
        yield Server(Engine.LLAMA_SERVER, url, "smol", traits=traits)


@contextmanager
def _llama_server_process(request: pytest.FixtureRequest, *options: str) -> Iterator[str]:
    """Its base URL once it listens."""
    engine: Path = request.getfixturevalue("engine")
    port = pick_free_port()
    command = [str(engine), "--host", "127.0.0.1", "--port", str(port), "--offline", "-t", "2", *options]
    process = subprocess.Popen(
        command,
        env={**os.environ, "LLAMA_API_KEY": API_KEY},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    ready, lines = threading.Event(), list[str]()

    def drain() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if "listening on" in line:
                ready.set()

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        assert ready.wait(START_TIMEOUT_S), "".join(lines[-20:])
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


REAL_LLAMA_SERVER: Final = Traits(
    limit_reason="length",
    counts=TokensSource.CHUNK_USAGE,
    reports_progress=True,
    embedding_model="smol",
    counts_tokens=True,
    counts_prompt=True,
    obeys_schema=True,
    describes=ModelInfo(
        "smol",
        context_length=CONTEXT_TOKENS,
        context_source=ContextSource.SLOT,
        trained_context=8192,
        quantization="Q4_1",
        parameters="135M",
        loaded=True,
        capabilities=("completion",),
    ),
)
# It says nothing of its models in that dialect but their names.
REAL_MESSAGES: Final = Traits(limit_reason="length", counts_prompt=True)

# Every dialect of the metronome: what only it can do on demand is asked of these.
PLANNED: Final[tuple[Row, ...]] = (
    metronome_row(Engine.OPENAI, Traits(embedding_model="metronome")),
    metronome_row(
        Engine.LLAMA_SERVER,
        Traits(
            counts=TokensSource.CHUNK_USAGE,
            reports_progress=True,
            embedding_model="metronome",
            counts_tokens=True,
            counts_prompt=True,
            describes=ModelInfo(
                "metronome",
                context_length=4096,
                context_source=ContextSource.SLOT,
                trained_context=8192,
                size_bytes=1_000_000,
                quantization="Q4_K - Medium",
                parameters="7B",
                loaded=True,
                capabilities=("completion", "tools"),
            ),
        ),
    ),
    metronome_row(
        Engine.VLLM,
        Traits(
            counts=TokensSource.CHUNK_USAGE,
            embedding_model="metronome",
            counts_tokens=True,
            counts_prompt=True,
            describes=ModelInfo("metronome", context_length=4096, context_source=ContextSource.RUNNING),
        ),
    ),
    metronome_row(
        Engine.OLLAMA,
        Traits(
            counts_reasoning=False,
            counts_per_chunk=False,
            loads=True,
            embedding_model="metronome",
            describes=ModelInfo(
                "metronome",
                context_length=4096,
                context_source=ContextSource.RUNNING,
                trained_context=8192,
                size_bytes=1_000_000,
                quantization="Q4_K_M",
                family="metronome",
                parameters="7B",
                loaded=True,
                capabilities=("completion", "tools", "vision", "thinking", "embedding"),
            ),
        ),
    ),
    *(metronome_row(engine, traits) for engine, traits in OTHER_ENGINES.items()),
)
# Programs that really serve a model.
REAL: Final[tuple[Row, ...]] = (
    Row("real llama-server", _llama_server),
    Row("real llama-server messages", _llama_server_messages),
)
# Starts a process per model, so it is started anew for each test and is in no shared fixture.
ROUTER: Final = Row("real llama-server router", _router)
SERVERS: Final = PLANNED + REAL
