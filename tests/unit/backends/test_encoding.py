"""Requests in each dialect: what is sent, what cannot be, and where the key goes."""

import json
from typing import Any

import pytest

from llama_runner.backends.base import Endpoint, Engine, WireRequest
from llama_runner.backends.registry import connect
from llama_runner.backends.request import ChatRequest, Message, Role, SamplingOptions
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http

OPTIONS = SamplingOptions(
    temperature=0.5, top_p=0.9, max_tokens=7, seed=3, stop=("x",), ignore_eos=True, cache_prompt=False
)
MESSAGES = (Message(Role.SYSTEM, "be brief"), Message(Role.USER, "žluť \ud800"))


async def encode(
    engine: Engine, options: SamplingOptions, key: str | None = None
) -> tuple[WireRequest, dict[str, Any]]:
    async with open_http() as http:
        backend = connect(Endpoint("http://h:1", engine, key), http=http, clock=SystemClock())
        wire = backend.encode(ChatRequest("m", MESSAGES, options))
    return wire, json.loads(wire.body)


@pytest.mark.parametrize("engine", list(Engine))
async def test_unset_options_are_not_sent(engine: Engine) -> None:
    wire, body = await encode(engine, SamplingOptions())
    assert set(body) <= {
        "model",
        "messages",
        "stream",
        "stream_options",
        "timings_per_token",
        "return_progress",
    }
    assert body["stream"] is True
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    assert wire.not_sent == ()
    assert "Authorization" not in wire.headers


@pytest.mark.parametrize("engine", [Engine.OPENAI, Engine.LM_STUDIO, Engine.UNKNOWN])
async def test_strict_servers_get_only_what_openai_has(engine: Engine) -> None:
    wire, body = await encode(engine, OPTIONS)
    assert wire.url == "http://h:1/v1/chat/completions"
    assert body["stream_options"] == {"include_usage": True}
    assert (body["max_tokens"], body["stop"]) == (7, ["x"])
    assert "ignore_eos" not in body
    assert wire.not_sent == ("ignore_eos", "cache_prompt")


async def test_llama_server_gets_its_own_fields() -> None:
    wire, body = await encode(Engine.LLAMA_SERVER, OPTIONS)
    assert (body["ignore_eos"], body["cache_prompt"]) == (True, False)
    assert (body["timings_per_token"], body["return_progress"]) == (True, True)
    assert wire.not_sent == ()


async def test_vllm_is_asked_to_count_in_every_chunk() -> None:
    wire, body = await encode(Engine.VLLM, OPTIONS)
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert body["ignore_eos"] is True
    assert wire.not_sent == ("cache_prompt",)


async def test_ollama_gets_its_own_names() -> None:
    wire, body = await encode(Engine.OLLAMA, OPTIONS)
    assert wire.url == "http://h:1/api/chat"
    assert body["options"] == {"temperature": 0.5, "top_p": 0.9, "num_predict": 7, "seed": 3, "stop": ["x"]}
    assert wire.not_sent == ("ignore_eos", "cache_prompt")


@pytest.mark.parametrize("engine", list(Engine))
async def test_the_key_is_a_header_and_in_no_repr(engine: Engine) -> None:
    wire, _ = await encode(engine, SamplingOptions(), "sk-secret")
    assert wire.headers["Authorization"] == "Bearer sk-secret"
    assert "secret" not in repr(wire)
    assert "secret" not in repr(Endpoint("http://h:1", engine, "sk-secret"))
