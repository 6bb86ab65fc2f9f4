"""Requests as each of the other engines takes them: its own names, and what it cannot be told."""

import json
from dataclasses import fields
from typing import Any

import pytest

from llama_runner.backends.base import Endpoint, Engine, WireRequest
from llama_runner.backends.registry import connect
from llama_runner.backends.request import (
    ChatRequest,
    Effort,
    ForcedTool,
    Image,
    JsonOutput,
    Message,
    Role,
    SamplingOptions,
    Tool,
)
from llama_runner.core.clock import SystemClock
from llama_runner.core.jsonio import JsonValue
from llama_runner.net.client import open_http

USER = Message(Role.USER, "now?")
NO_OPTIONS = SamplingOptions()
EVERYTHING: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 3000,
    "seed": 3,
    "stop": ("x", "y"),
    "ignore_eos": True,
    "cache_prompt": False,
    "top_k": 40,
    "min_p": 0.05,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.2,
    "frequency_penalty": 0.3,
    "thinking": True,
    "effort": Effort.LOW,
    "keep_alive_s": 299.5,
}
FIELDS: dict[str, JsonValue] = {"type": "object", "properties": {"legs": {"type": "integer"}}}


async def encode(
    engine: Engine, options: SamplingOptions = NO_OPTIONS, **more: Any
) -> tuple[WireRequest, dict[str, Any]]:
    request = ChatRequest("m", more.pop("messages", (USER,)), options, **more)
    async with open_http() as http:
        wire = connect(Endpoint("http://h:1", engine), http=http, clock=SystemClock()).encode(request)
    return wire, json.loads(wire.body)


@pytest.mark.parametrize("engine", list(Engine))
async def test_each_option_is_sent_or_named_as_not_sent(engine: Engine) -> None:
    """No option of today's or tomorrow's may vanish without a word."""
    assert set(EVERYTHING) == {option.name for option in fields(SamplingOptions)}
    _, plain = await encode(engine)
    for name, value in EVERYTHING.items():
        wire, body = await encode(engine, SamplingOptions(**{name: value}))
        assert (body != plain) != (wire.not_sent == (name,)), name


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("output", JsonOutput()),
        ("output", JsonOutput(FIELDS)),
        ("tools", (Tool("clock", "tells", {}),)),
        ("images", (Message(Role.USER, "now?", images=(Image("image/png", b"x"),)),)),
        ("images", (Message(Role.ASSISTANT, "now?", images=(Image("image/png", b"x"),)), USER)),
        ("images", (Message(Role.USER, "now?", images=(Image("image/tiff", b"x"),)),)),
    ],
)
async def test_everything_else_is_sent_or_named_as_not_sent(engine: Engine, name: str, value: Any) -> None:
    _, plain = await encode(engine)
    wire, body = await encode(engine, **{"messages" if name == "images" else name: value})
    without = {**body, "messages": plain["messages"]} if name != "images" else body
    changed = without != plain and (name != "images" or "eA==" in json.dumps(body))
    assert changed != (wire.not_sent == (name,))


@pytest.mark.parametrize(
    ("engine", "own", "not_sent"),
    [
        (
            Engine.LM_STUDIO,
            {"top_k": 40, "repeat_penalty": 1.1, "ttl": 300, "reasoning_effort": "low"},
            {"min_p", "ignore_eos", "cache_prompt"},
        ),
        (
            Engine.SGLANG,
            {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "ignore_eos": True},
            {"cache_prompt", "keep_alive_s"},
        ),
        (
            Engine.TGI,
            {"seed": 3, "stop": ["x", "y"]},
            {
                "min_p",
                "top_k",
                "repeat_penalty",
                "ignore_eos",
                "cache_prompt",
                "keep_alive_s",
                "thinking",
                "effort",
            },
        ),
        (
            Engine.LOCALAI,
            {
                "top_k": 40,
                "min_p": 0.05,
                "repeat_penalty": 1.1,
                "ignore_eos": True,
                "metadata": {"enable_thinking": "true"},
                "reasoning_effort": "low",
            },
            {"cache_prompt", "keep_alive_s"},
        ),
        (
            Engine.KOBOLDCPP,
            {"top_k": 40, "min_p": 0.05, "rep_pen": 1.1, "ban_eos_token": True, "presence_penalty": 0.2},
            {"frequency_penalty", "cache_prompt", "keep_alive_s"},
        ),
        (
            Engine.LITELLM,
            {"reasoning_effort": "low"},
            {"min_p", "top_k", "repeat_penalty", "ignore_eos", "cache_prompt", "keep_alive_s"},
        ),
        (
            Engine.LLAMA_SWAP,
            {
                "top_k": 40,
                "min_p": 0.05,
                "repeat_penalty": 1.1,
                "cache_prompt": False,
                "return_progress": True,
            },
            {"keep_alive_s"},
        ),
    ],
)
async def test_each_engine_gets_its_own_names(
    engine: Engine, own: dict[str, JsonValue], not_sent: set[str]
) -> None:
    wire, body = await encode(engine, SamplingOptions(**EVERYTHING))
    assert wire.url == "http://h:1/v1/chat/completions"
    assert body.items() >= own.items()
    assert set(wire.not_sent) == not_sent


@pytest.mark.parametrize(
    ("engine", "sent"),
    [
        (Engine.LM_STUDIO, {"reasoning_effort": "none"}),
        (Engine.KOBOLDCPP, {"reasoning_effort": "none"}),
        (Engine.LOCALAI, {"reasoning_effort": "none", "metadata": {"enable_thinking": "false"}}),
        (Engine.SGLANG, {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
    ],
)
async def test_reasoning_can_be_switched_off(engine: Engine, sent: dict[str, JsonValue]) -> None:
    wire, body = await encode(engine, SamplingOptions(thinking=False))
    assert body.items() >= sent.items()
    assert wire.not_sent == ()


@pytest.mark.parametrize(
    ("engine", "sent"),
    [
        (Engine.LM_STUDIO, {"reasoning_effort": "medium"}),
        (Engine.KOBOLDCPP, {"reasoning_effort": "high"}),
        (Engine.LOCALAI, {"metadata": {"enable_thinking": "true"}}),
    ],
)
async def test_reasoning_without_a_level_is_on(engine: Engine, sent: dict[str, JsonValue]) -> None:
    wire, body = await encode(engine, SamplingOptions(thinking=True))
    assert body.items() >= sent.items()
    assert wire.not_sent == ()


@pytest.mark.parametrize("seconds", [0, -1])
async def test_lm_studio_cannot_be_told_to_keep_a_model_for_ever_or_not_at_all(seconds: float) -> None:
    wire, body = await encode(Engine.LM_STUDIO, SamplingOptions(keep_alive_s=seconds))
    assert "ttl" not in body
    assert wire.not_sent == ("keep_alive_s",)


async def test_tgi_has_a_grammar_for_an_answer_with_named_fields() -> None:
    _, body = await encode(Engine.TGI, output=JsonOutput(FIELDS))
    assert body["response_format"] == {"type": "json", "value": FIELDS}
    for schema in (None, {"type": "object"}):
        wire, body = await encode(Engine.TGI, output=JsonOutput(schema))
        assert "response_format" not in body
        assert wire.not_sent == ("output",)


async def test_lm_studio_refuses_json_without_a_schema_so_it_is_not_asked() -> None:
    wire, body = await encode(Engine.LM_STUDIO, output=JsonOutput())
    assert "response_format" not in body
    assert wire.not_sent == ("output",)
    _, body = await encode(Engine.LM_STUDIO, output=JsonOutput(FIELDS))
    assert body["response_format"]["json_schema"]["schema"] == FIELDS


async def test_sglang_counts_in_every_chunk() -> None:
    _, body = await encode(Engine.SGLANG)
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


async def test_llama_swap_forces_a_tool_as_the_llama_server_behind_it_wants_it() -> None:
    tools = (Tool("clock", "", {}), Tool("die", "", {}))
    _, body = await encode(Engine.LLAMA_SWAP, tools=tools, tool_choice=ForcedTool("die"))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["die"]
    assert body["tool_choice"] == "required"
