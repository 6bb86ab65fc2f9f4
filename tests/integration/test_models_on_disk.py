"""Models as they lie on disk, through a real service and engine: projectors, adapters, parts, stores."""

import base64
import json
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.fakes.gguf_companions import split_in_two, write_tiny_adapter, write_tiny_projector
from tests.fakes.gguf_files import write_tiny_llama
from tests.integration.service_process import ServiceProcess, started_service

LIMIT_S: Final = 60
# Tokens that the tiny projector makes of a picture.
PICTURE_TOKENS: Final = 16


def _png(side: int = 64) -> str:
    """A picture, as base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"".join(bytes((x * 4, y * 4, 99)) for x in range(side)) for y in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def _put_in_ollamas_store(root: Path, model: Path, adapter: Path) -> None:
    """As `ollama create` leaves a model with an ADAPTER."""
    (root / "blobs").mkdir(parents=True)
    layers = []
    for kind, source, digest in (("model", model, "a" * 64), ("adapter", adapter, "b" * 64)):
        shutil.copy(source, root / "blobs" / f"sha256-{digest}")
        media = f"application/vnd.ollama.image.{kind}"
        layers.append({"mediaType": media, "digest": f"sha256:{digest}", "size": source.stat().st_size})
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / "pulled" / "8m"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[ServiceProcess]:
    """One service with a model of each kind."""
    folder = tmp_path_factory.mktemp("disk")
    models, store = folder / "models", folder / "ollama"
    for name in ("seeing", "plain", "split"):
        (models / name).mkdir(parents=True)
    tiny = write_tiny_llama(folder / "pulled.gguf", demo_model)
    shutil.copy(tiny, models / "seeing" / "seeing-F16.gguf")
    write_tiny_projector(models / "seeing" / "mmproj-F16.gguf")
    shutil.copy(tiny, models / "plain" / "plain-F16.gguf")
    adapter = write_tiny_adapter(models / "plain" / "style.gguf")
    split_in_two(tiny, models / "split", "split")
    _put_in_ollamas_store(store, tiny, adapter)
    free = "127.0.0.1:0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLLAMA_MODELS", str(store))
        arguments = ("--demo", "--models", str(models), "--openai", free, "--ollama", free)
        with started_service(folder / "home", *arguments) as running:
            yield running


@pytest.fixture(autouse=True)
def unloaded(service: ServiceProcess, leak_guard: None) -> Iterator[None]:
    """The service before the guard looks; the engines that a test started are gone before it looks again."""
    yield
    for instance in _control(service, "GET", "/instances")["instances"]:
        _control(service, "DELETE", f"/instances/{instance['id']}")


def _control(service: ServiceProcess, method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {service.run_file.token}"}
    answer = httpx.request(method, f"{service.url}/api/v1{path}", json=body, headers=headers, timeout=LIMIT_S)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def _ask(service: ServiceProcess, model: str, *, picture: bool = False) -> tuple[str, int]:
    """A greedy answer through OpenAI's dialect, and the tokens of the prompt."""
    content: list[Any] = [{"type": "text", "text": "What is this?"}]
    if picture:
        content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png()}"}})
    body = {
        "model": model,
        "temperature": 0,
        "max_tokens": 12,
        "messages": [{"role": "user", "content": content}],
    }
    answer = httpx.post(f"{service.ready['openai']}/v1/chat/completions", json=body, timeout=LIMIT_S)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    return document["choices"][0]["message"]["content"], document["usage"]["prompt_tokens"]


def test_a_model_with_a_projector_takes_pictures_through_every_dialect(service: ServiceProcess) -> None:
    model = "seeing-F16"
    (listed,) = (one for one in _control(service, "GET", "/models")["models"] if one["id"] == model)
    assert "vision" in listed["capabilities"]
    assert listed["projector"].endswith("mmproj-F16.gguf")
    _, plain_tokens = _ask(service, model)
    _, seen_tokens = _ask(service, model, picture=True)
    assert seen_tokens >= plain_tokens + PICTURE_TOKENS
    ollama = service.ready["ollama"]
    body = {
        "model": model,
        "stream": False,
        "options": {"temperature": 0, "num_predict": 8},
        "messages": [{"role": "user", "content": "What is this?", "images": [_png()]}],
    }
    answer = httpx.post(f"{ollama}/api/chat", json=body, timeout=LIMIT_S)
    assert answer.status_code == 200, answer.text
    assert answer.json()["prompt_eval_count"] >= plain_tokens + PICTURE_TOKENS
    shown = httpx.post(f"{ollama}/api/show", json={"model": model}, timeout=LIMIT_S).json()
    assert "vision" in shown["capabilities"]


def test_a_model_without_a_projector_refuses_pictures(service: ServiceProcess) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png()}"}}
    body = {"model": "plain-F16", "messages": [{"role": "user", "content": [part]}]}
    answer = httpx.post(f"{service.ready['openai']}/v1/chat/completions", json=body, timeout=LIMIT_S)
    assert 400 <= answer.status_code < 500
    assert "image" in answer.text


def test_a_projector_can_be_left_out(service: ServiceProcess) -> None:
    loaded = _control(
        service, "POST", "/instances", {"model": "seeing-F16", "options": {"projector": "none"}}
    )
    text, _ = _ask(service, "seeing-F16")
    assert text
    log = _control(service, "GET", f"/instances/{loaded['id']}/log")["lines"]
    assert not any("mmproj-F16" in line for line in log)


def test_an_adapter_of_the_models_list_changes_what_the_model_says(service: ServiceProcess) -> None:
    model = "plain-F16"
    plain, _ = _ask(service, model)
    (instance,) = _control(service, "GET", "/instances")["instances"]
    _control(service, "DELETE", f"/instances/{instance['id']}")
    (listed,) = (one for one in _control(service, "GET", "/models")["models"] if one["id"] == model)
    (adapter,) = listed["adapters"]
    assert (adapter["name"], adapter["base_model"]) == ("style.gguf", "tiny")
    _control(service, "POST", "/instances", {"model": model, "options": {"loras": [adapter["path"]]}})
    styled, _ = _ask(service, model)
    assert styled != plain
    # Ollama's model of the same parts: there the adapter is part of the model.
    assert _ask(service, "pulled:8m")[0] == styled


def test_g15_a_split_model_is_one_and_is_loaded_whole(service: ServiceProcess) -> None:
    (listed,) = (one for one in _control(service, "GET", "/models")["models"] if one["id"] == "split")
    assert listed["parts"] > 1
    whole = next(one for one in _control(service, "GET", "/models")["models"] if one["id"] == "plain-F16")
    assert listed["parameter_count"] == whole["parameter_count"]
    assert listed["size_bytes"] > whole["size_bytes"]
    assert _ask(service, "split") == _ask(service, "plain-F16")


def test_a_model_that_ollama_pulled_answers_to_the_name_it_has_there(service: ServiceProcess) -> None:
    (listed,) = (one for one in _control(service, "GET", "/models")["models"] if one["origin"] == "Ollama")
    assert (listed["id"], listed["name"]) == ("pulled-8m", "pulled:8m")
    body = {"model": "pulled:8m", "prompt": "hi", "stream": False, "options": {"num_predict": 2}}
    answer = httpx.post(f"{service.ready['ollama']}/api/generate", json=body, timeout=LIMIT_S)
    assert answer.status_code == 200, answer.text


def test_every_usable_model_says_how_it_fits(service: ServiceProcess) -> None:
    models = _control(service, "GET", "/models")["models"]
    assert {one["fit"] for one in models} == {"fits"}
    assert all(0 < one["need_bytes"] <= one["room_bytes"] for one in models)
