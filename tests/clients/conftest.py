"""Real clients in environments of their own, which LLAMA_RUNNER_CLIENTS names (docs/clients.md)."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.gguf_files import write_tiny_llama
from tests.integration.service_process import ServiceProcess, started_service

# A folder with `python/` (an environment) and `node/` (with node_modules); made by hand.
FOLDER = os.environ.get("LLAMA_RUNNER_CLIENTS")
# Without it there is nothing to run.
collect_ignore_glob = [] if FOLDER else ["test_*.py"]
TEMPLATE = Path(__file__).parents[1] / "contract" / "tools_and_thinking.jinja"


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
def service(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[ServiceProcess]:
    """SmolLM2 for sense, and a random model with tools, thinking and filling in the middle."""
    home, free = tmp_path_factory.mktemp("clients"), "127.0.0.1:0"
    models = home / "models"
    models.mkdir()
    template = TEMPLATE.read_text(encoding="utf-8")
    write_tiny_llama(models / "coder.gguf", demo_model, template=template, infills=True)
    (models / "smol.gguf").hardlink_to(demo_model)
    arguments = ("--demo", "--models", str(models), "--openai", free, "--ollama", free)
    with started_service(home, *arguments) as running:
        for model in ("smol", "coder"):
            asked = {"model": model, "keep_alive": -1}
            httpx.post(f"{running.ready['ollama']}/api/generate", json=asked, timeout=60).raise_for_status()
        yield running


@pytest.fixture(autouse=True)
def guarded(service: ServiceProcess, leak_guard: None) -> None:
    """The service before the guard looks: it is no leak of the first test."""
