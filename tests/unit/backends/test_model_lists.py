"""Model lists and health as servers really send them, and as they never should (D4, D5, D7, D16)."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from llama_runner.backends.base import Backend, Endpoint, Engine
from llama_runner.backends.models import ContextSource, ModelInfo
from llama_runner.backends.registry import connect
from llama_runner.backends.request import ChatRequest, Message, Role
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import OverloadedError, ProtocolError, ServerError
from llama_runner.net.client import open_http
from tests.fakes.raw_server import raw_server, response

LISTS = {Engine.OPENAI: "/v1/models", Engine.LLAMA_SERVER: "/v1/models", Engine.OLLAMA: "/api/tags"}
NOT_FOUND = response(b"{}", status="404 Not Found")


@asynccontextmanager
async def serving(engine: Engine, answers: Mapping[str, Any]) -> AsyncIterator[Backend]:
    """A backend on a server with fixed answers per path: bytes as they are, anything else as JSON."""

    def script(number: int, head: bytes) -> bytes:
        path = head.split(b" ")[1].decode()
        if path not in answers:
            return NOT_FOUND
        answer = answers[path]
        return answer if isinstance(answer, bytes) else response(json.dumps(answer).encode())

    async with raw_server(script) as server, open_http() as http:
        yield connect(Endpoint(server.url, engine), http=http, clock=SystemClock())


@pytest.mark.parametrize("engine", list(LISTS))
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"x"', b"{}", b"<html>", b"{", b"[" * 99_999, b'{"data":']
)
async def test_an_answer_that_is_no_model_list_says_so(engine: Engine, body: bytes) -> None:
    """D4."""
    async with serving(engine, {LISTS[engine]: response(body)}) as backend:
        with pytest.raises(ProtocolError):
            await backend.list_models()


@pytest.mark.parametrize("engine", list(LISTS))
async def test_an_error_with_status_200_is_an_error(engine: Engine) -> None:
    """LM Studio answers every unknown path like this."""
    async with serving(engine, {LISTS[engine]: {"error": "Unexpected endpoint or method."}}) as backend:
        with pytest.raises(ServerError, match="Unexpected endpoint"):
            await backend.list_models()


async def test_odd_entries_are_left_out_and_names_kept_as_they_are() -> None:
    """D7, D8: showing them safely is the view's work."""
    data = [{"id": "a\u202eb"}, {"id": "../../x"}, {"id": 7}, {"id": ""}, {}, None, "x", {"id": "a\u202eb"}]
    async with serving(Engine.OPENAI, {"/v1/models": {"data": data}}) as backend:
        assert [m.id for m in await backend.list_models()] == ["a\u202eb", "../../x", "a\u202eb"]


async def test_a_list_without_models_is_empty() -> None:
    """Ollama's /v1 has null there."""
    async with serving(Engine.OPENAI, {"/v1/models": {"object": "list", "data": None}}) as backend:
        assert await backend.list_models() == ()


async def test_a_very_long_list_is_cut_and_a_huge_one_refused() -> None:
    """D5."""
    async with serving(
        Engine.OPENAI, {"/v1/models": {"data": [{"id": str(n)} for n in range(3000)]}}
    ) as backend:
        assert len(await backend.list_models()) == 2000
    async with serving(Engine.OPENAI, {"/v1/models": response(b" " * 5_000_000)}) as backend:
        with pytest.raises(ProtocolError, match="longer than"):
            await backend.list_models()


@pytest.mark.parametrize(
    ("entry", "length", "source", "trained"),
    [
        ({"max_model_len": 4096}, 4096, ContextSource.RUNNING, None),
        ({"context_length": 4096}, 4096, ContextSource.RUNNING, None),
        ({"max_context_length": 8192}, 8192, ContextSource.TRAINED, 8192),
        ({"max_context_length": 8192, "loaded_context_length": 2048}, 2048, ContextSource.RUNNING, 8192),
        ({"context_length": -1, "max_context_length": "x"}, None, None, None),
        ({"context_length": 0}, None, None, None),
        ({}, None, None, None),
    ],
)
async def test_the_context_length_that_applies_is_found(
    entry: dict[str, Any], length: int | None, source: ContextSource | None, trained: int | None
) -> None:
    async with serving(Engine.VLLM, {"/v1/models": {"data": [{"id": "m", **entry}]}}) as backend:
        assert await backend.list_models() == (
            ModelInfo("m", context_length=length, context_source=source, trained_context=trained),
        )


async def test_a_hosted_service_says_what_its_models_take_and_do() -> None:
    item = {
        "id": "m",
        "context_length": 1000,
        "architecture": {"input_modalities": ["text", "image", "audio", "smell", 7]},
        "supported_parameters": ["tools", "reasoning", "seed", None],
    }
    flags = {"completion_chat": True, "function_calling": True, "vision": False, "fine_tuning": 1}
    other = {"id": "n", "capabilities": flags, "max_context_length": 32_768}
    async with serving(
        Engine.OPENAI, {"/v1/models": {"data": [item, other, {"id": "o", "capabilities": {"x": True}}]}}
    ) as backend:
        models = await backend.list_models()
    assert [model.capabilities for model in models] == [
        ("completion", "vision", "audio", "tools", "thinking"),
        ("completion", "tools"),
        (),
    ]


async def test_a_single_llama_server_model_has_its_capabilities_from_props() -> None:
    meta = {
        "n_ctx": 4096,
        "n_ctx_train": 8192,
        "size": 9_000,
        "ftype": "Q4_K - Medium",
        "n_params": 8_190_735_360,
    }
    props = {
        "chat_template": "{% if enable_thinking %}<think>{% endif %}",
        "chat_template_caps": {"supports_tools": True},
        "modalities": {"vision": True, "audio": False},
    }
    answers = {"/v1/models": {"data": [{"id": "m", "meta": meta}]}, "/props": props}
    async with serving(Engine.LLAMA_SERVER, answers) as backend:
        assert await backend.list_models() == (
            ModelInfo(
                "m",
                4096,
                9_000,
                "Q4_K - Medium",
                True,
                ("completion", "tools", "vision", "thinking"),
                ContextSource.SLOT,
                8192,
                parameters="8.19B",
            ),
        )


async def test_a_llama_server_without_props_keeps_what_its_list_says() -> None:
    item = {"id": "m", "meta": None, "architecture": {"input_modalities": ["text", "image"]}}
    async with serving(Engine.LLAMA_SERVER, {"/v1/models": {"data": [item, {"id": 3}]}}) as backend:
        assert await backend.list_models() == (
            ModelInfo("m", loaded=True, capabilities=("completion", "vision")),
        )


async def test_a_router_lists_what_is_loaded_and_what_is_not() -> None:
    data = [{"id": "a", "status": {"value": "loaded"}}, {"id": "b", "status": {"value": "unloaded"}}]
    async with serving(Engine.LLAMA_SERVER, {"/v1/models": {"data": data}}) as backend:
        assert [(m.id, m.loaded, m.loadable) for m in await backend.list_models()] == [
            ("a", True, True),
            ("b", False, True),
        ]


async def test_ollama_lists_what_is_on_disk_and_in_memory() -> None:
    details = {
        "quantization_level": "Q4_K_M",
        "context_length": 40_960,
        "family": "qwen3",
        "parameter_size": "8.2B",
    }
    tags = [
        {"name": "a:latest", "size": 5, "details": details, "capabilities": ["completion", "tools", 3]},
        {"model": "b:latest"},
        {"name": 7},
    ]
    running = [{"name": "a:latest", "context_length": 4096}, {"name": None}]
    answers = {"/api/tags": {"models": tags}, "/api/ps": {"models": running}}
    async with serving(Engine.OLLAMA, answers) as backend:
        assert await backend.list_models() == (
            ModelInfo(
                "a:latest",
                4096,
                5,
                "Q4_K_M",
                True,
                ("completion", "tools"),
                ContextSource.RUNNING,
                40_960,
                "qwen3",
                "8.2B",
            ),
            ModelInfo("b:latest", loaded=False),
        )


async def test_what_is_in_memory_is_unknown_where_nobody_says() -> None:
    async with serving(Engine.OLLAMA, {"/api/tags": {"models": [{"name": "a"}]}}) as backend:
        assert await backend.list_models() == (ModelInfo("a", loaded=None),)


async def test_a_loading_llama_server_is_overloaded_not_gone() -> None:
    loading = response(b'{"error":{"message":"Loading model","code":503}}', status="503 Service Unavailable")
    async with serving(Engine.LLAMA_SERVER, {"/health": loading}) as backend:
        with pytest.raises(OverloadedError, match="Loading model"):
            await backend.ping()


async def test_a_client_from_elsewhere_is_refused_at_once() -> None:
    """Its stamps would be missing, and its redirects followed."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"{}")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        backend = connect(Endpoint("http://h", Engine.OPENAI), http=http, clock=SystemClock())
        with pytest.raises(TypeError, match="open_http"):
            async for _ in backend.stream(ChatRequest("m", (Message(Role.USER, "x"),))):
                raise AssertionError("nothing may arrive")
