"""Every layer behind the gate made to fail (H20): the client gets a number, the log the rest."""

import itertools
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from llama_runner.proxy import asking
from llama_runner.proxy.admission import Admission
from llama_runner.proxy.answers import SseThrough
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan
from tests.integration.test_gate_lives import Door, Host, door

SECRET = "/home/somebody/secret-path"
PLAN = Plan(tokens=3)
LAYERS = ("list of models", "queue", "runtime", "idle time", "way to the engine")
NUMBER = re.compile(r"Something went wrong here \(number ([0-9a-f]{8})\)")


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError(SECRET)


@asynccontextmanager
async def failing_context(*_: Any) -> AsyncIterator[Any]:
    fail()
    yield


def break_layer(monkeypatch: pytest.MonkeyPatch, layer: str) -> None:
    """Have one layer raise what nobody expects."""
    match layer:
        case "list of models":
            monkeypatch.setattr(Host, "offered", fail)
        case "queue":
            monkeypatch.setattr(Admission, "admitted", failing_context)
        case "runtime":
            monkeypatch.setattr(Host, "use", failing_context)
        case "idle time":
            monkeypatch.setattr(Host, "keep", fail)
        case "way to the engine":
            monkeypatch.setattr(asking, "open_pouring", failing_context)


async def ask(here: Door, path: str) -> httpx.Response:
    here.host.plans.append(PLAN)
    message = {"role": "user", "content": "x"}
    body = {"model": PLAN.model_id(), "messages": [message], "max_tokens": 3, "stream": False}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{here.port}", timeout=60) as http:
        return await (http.get(path) if path.endswith("models") else http.post(path, json=body))


def message_in(document: Any) -> str:
    """The text of an error in any dialect."""
    error = document["error"]
    return str(error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("/api/v0/models", LAYERS[0]),
        *itertools.product(("/v1/chat/completions", "/v1/messages", "/api/chat"), LAYERS),
    ],
)
async def test_h20_a_layer_that_fails_is_500_with_a_number_and_nothing_else(
    metronome: Metronome,
    layer: str,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    break_layer(monkeypatch, layer)
    with caplog.at_level(logging.ERROR):
        async with door(metronome.url, ollama=path == "/api/chat") as here:
            answer = await ask(here, path)
    assert answer.status_code == 500, answer.text
    found = NUMBER.search(message_in(answer.json()))
    assert found, answer.text
    assert isinstance(answer.json()["error"], str) == path.startswith("/api/chat")
    assert SECRET not in answer.text and "RuntimeError" not in answer.text and "Traceback" not in answer.text
    assert found[1] in caplog.text
    assert SECRET in caplog.text


async def test_h20_a_failure_in_the_middle_of_a_stream_ends_it_with_an_error(
    metronome: Metronome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SseThrough, "end", fail)
    async with door(metronome.url) as here:
        here.host.plans.append(PLAN)
        asked = {"model": PLAN.model_id(), "messages": [{"role": "user", "content": "x"}], "stream": True}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{here.port}", timeout=60) as http:
            answer = await http.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200
    last = answer.text.rstrip().rpartition("\n\n")[2]
    assert NUMBER.search(last) and last.startswith('data: {"error"')
    assert SECRET not in answer.text
