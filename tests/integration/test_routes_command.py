"""Routes as a person sets them up: commands, a real service, a real model here and a server elsewhere."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_runner.cli import app
from llama_runner.core.paths import create_folders, home_at
from tests.fakes.gguf_files import write_tiny_llama
from tests.fakes.metronome import Metronome, start_metronome
from tests.integration.service_process import ServiceProcess, started_service


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf", demo_model)


@pytest.fixture
def server() -> Iterator[Metronome]:
    found = start_metronome(engine="openai-compatible", models=("big",))
    yield found
    found.close()


@pytest.fixture
def service(tmp_path: Path, tiny: Path) -> Iterator[ServiceProcess]:
    home = home_at(tmp_path)
    create_folders(home)
    models = {"tiny": {"path": str(tiny), "parameters": {"context_length": 256, "threads": 1, "parallel": 1}}}
    home.models_config_file.write_text(json.dumps({"version": 1, "models": models}))
    with started_service(tmp_path, "--demo", "--openai", "127.0.0.1:0", "--ollama", "127.0.0.1:0") as one:
        yield one


def run(home: Path, *arguments: str) -> tuple[int, Any]:
    """A command's exit code and its JSON."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code = app.run([*arguments, "--json", "--home", str(home)], stdout=stdout, stderr=stderr)
    assert stdout.getvalue(), stderr.getvalue()
    return code, json.loads(stdout.getvalue())


def chat(service: ServiceProcess, model: str) -> httpx.Response:
    # Greedy: random weights now and then choose bytes that the engine refuses to call text.
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 2, "temperature": 0}
    return httpx.post(f"{service.ready['openai']}/v1/chat/completions", json=body, timeout=60)


def notices(service: ServiceProcess) -> list[str]:
    headers = {"Authorization": f"Bearer {service.run_file.token}"}
    found: list[str] = httpx.get(f"{service.url}/api/v1/health", headers=headers, timeout=60).json()[
        "notices"
    ]
    return found


@pytest.mark.timeout(120)
def test_a_route_leads_here_when_the_server_is_gone(service: ServiceProcess, server: Metronome) -> None:
    home = service.home
    where = server.url.partition("://")[2]
    assert run(home, "servers", "add", server.url)[0] == 0
    code, shown = run(home, "routes", "add", "away", f"big@{where}", "tiny")
    assert code == 0
    steps = [(step["target"], step["where"]) for step in shown["routes"][0]["steps"]]
    assert steps == [(f"big@{where}", where), ("tiny", "local")]

    code, tested = run(home, "routes", "test", "away")
    assert code == 0
    assert tested["steps"][0]["answered_s"] > 0
    assert [step["problem"] for step in tested["steps"]] == [None, None]

    answer = chat(service, "away")
    assert (answer.status_code, f"step={where}" in answer.headers["x-llama-runner"]) == (200, True)
    server.close()
    answer = chat(service, "away")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-llama-runner"].endswith("model=away; step=local; attempts=2")

    # Refused before anything was asked: on record all the same, with the name that comes close.
    refused = chat(service, "tinny")
    assert refused.status_code == 404
    assert "Did you mean tiny?" in refused.json()["error"]["message"]
    ollama = httpx.post(
        f"{service.ready['ollama']}/api/chat", json={"model": "tinny", "messages": [{}]}, timeout=60
    )
    assert ollama.json()["error"].startswith("model 'tinny' not found. Did you mean tiny")

    _, found = run(home, "requests")
    kept = [(one["model"], one["outcome"], one["step"]) for one in found["requests"]]
    assert kept == [
        ("away", "done", where),
        ("away", "done", "local"),
        ("tinny", "refused", None),
        ("tinny", "refused", None),
    ]
    assert found["requests"][1]["tried"][0]["where"] == where
    assert found["requests"][1]["output_tokens"] == 2
    assert found["requests"][1]["prefill_s"] > 0

    # F19: a person sees that a server is passed over.
    assert notices(service) == []
    for _ in range(4):
        assert chat(service, "away").status_code == 200
    (told,) = notices(service)
    assert told.startswith(f"{where} failed again and again")

    code, tested = run(home, "routes", "test", "away")
    assert (code, tested["steps"][0]["problem"] is None) == (0, False)
    assert run(home, "routes", "remove", "away") == (0, {"routes": [], "servers": []})
    assert chat(service, "away").status_code == 404
