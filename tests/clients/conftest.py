"""Real clients in environments of their own, which LLAMA_RUNNER_CLIENTS names (docs/clients.md)."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.gguf_files import copy_with_template, write_tiny_llama
from tests.fakes.metronome import Metronome, start_metronome
from tests.fakes.metronome_plan import Plan
from tests.integration.routed_proxy import home_with, known, routes
from tests.integration.service_process import ServiceProcess, started_service

# A folder with `python/` (an environment) and `node/` (with node_modules); made by hand.
FOLDER = os.environ.get("LLAMA_RUNNER_CLIENTS")
# Without it there is nothing to run.
collect_ignore_glob = [] if FOLDER else ["test_*.py"]
TEMPLATE = Path(__file__).parents[1] / "contract" / "tools_and_thinking.jinja"
BY_EXAMPLE = Path(__file__).parents[1] / "fakes" / "calls_by_example.jinja"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder; clients written in other languages take their time to start."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.real_clients)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def clients() -> Path:
    """The folder with the clients."""
    assert FOLDER
    return Path(FOLDER)


@pytest.fixture(scope="session")
def chat_only() -> Iterator[Metronome]:
    """A server that knows nothing but OpenAI's chat."""
    server = start_metronome(engine="openai-compatible")
    yield server
    server.close()


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory, demo_model: Path, chat_only: Metronome
) -> Iterator[ServiceProcess]:
    """SmolLM2, one that calls tools, a random one that thinks and fills in, one of another server."""
    home, free = tmp_path_factory.mktemp("clients"), "127.0.0.1:0"
    told = Plan(tokens=5, reasoning=2, tool_call=True).model_id()
    proxy = {"routes": routes(far=[f"{told}@{chat_only.url}"])}
    home_with(home, known(chat_only.url)).app_config_file.write_text(
        json.dumps({"version": 1, "proxy": proxy})
    )
    models = home / "models"
    models.mkdir(exist_ok=True)
    template = TEMPLATE.read_text(encoding="utf-8")
    write_tiny_llama(models / "coder.gguf", demo_model, template=template, infills=True)
    copy_with_template(models / "caller.gguf", demo_model, BY_EXAMPLE.read_text(encoding="utf-8"))
    (models / "smol.gguf").hardlink_to(demo_model)
    arguments = ("--demo", "--models", str(models), "--openai", free, "--ollama", free)
    with started_service(home, *arguments) as running:
        for model in ("smol", "coder", "caller"):
            asked = {"model": model, "keep_alive": -1}
            httpx.post(f"{running.ready['ollama']}/api/generate", json=asked, timeout=60).raise_for_status()
        yield running


@pytest.fixture(autouse=True)
def guarded(service: ServiceProcess, leak_guard: None) -> None:
    """The service before the guard looks: it is no leak of the first test."""
