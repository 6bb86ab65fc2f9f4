"""Requests in Anthropic's words: what is sent, what cannot be, and where the key goes."""

import json
from typing import Any

import pytest

from llama_runner.backends.anthropic import AnthropicBackend
from llama_runner.backends.anthropic_thinking import decides_itself
from llama_runner.backends.base import Endpoint, Engine, WireRequest
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
    ToolCall,
    ToolChoice,
    ToolMode,
)
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http

CLOCK = Tool("clock", "tells the time", {"type": "object", "properties": {"zone": {"type": "string"}}})
USER = Message(Role.USER, "now?")


async def encode(
    *messages: Message,
    key: str | None = None,
    model: str = "claude-sonnet-4-5-20250929",
    host: str = "http://h:1",
    **fields: Any,
) -> tuple[WireRequest, dict[str, Any]]:
    async with open_http() as http:
        backend = AnthropicBackend(Endpoint(host, Engine.ANTHROPIC, key), http=http, clock=SystemClock())
        wire = backend.encode(ChatRequest(model, messages or (USER,), **fields))
    return wire, json.loads(wire.body)


async def thinking(model: str = "claude-opus-4-1", **options: Any) -> tuple[WireRequest, dict[str, Any]]:
    return await encode(model=model, options=SamplingOptions(**options))


async def test_a_plain_question_has_a_limit_and_the_system_text_apart() -> None:
    wire, body = await encode(Message(Role.SYSTEM, "be brief"), USER, Message(Role.SYSTEM, "and kind"))
    assert wire.url == "http://h:1/v1/messages"
    assert body == {
        "model": "claude-sonnet-4-5-20250929",
        "system": "be brief\n\nand kind",
        "messages": [{"role": "user", "content": "now?"}],
        "max_tokens": 4096,
        "stream": True,
    }
    assert wire.not_sent == ()


@pytest.mark.parametrize("host", ["https://api.anthropic.com", "https://anthropic.com"])
async def test_the_service_gets_the_key_in_its_own_header_alone(host: str) -> None:
    """It refuses a request that has the other one too."""
    wire, _ = await encode(key="sk-secret", host=host)
    assert (wire.headers["x-api-key"], wire.headers["anthropic-version"]) == ("sk-secret", "2023-06-01")
    assert "Authorization" not in wire.headers
    assert "secret" not in repr(wire)


@pytest.mark.parametrize("host", ["http://h:1", "https://anthropic.com.evil.example", "http://[::1]:8000"])
async def test_imitations_get_the_key_in_both_headers(host: str) -> None:
    """vLLM, SGLang and Ollama's cloud know only the second."""
    wire, _ = await encode(key="sk-secret", host=host)
    assert (wire.headers["x-api-key"], wire.headers["Authorization"]) == ("sk-secret", "Bearer sk-secret")


async def test_without_a_key_there_is_no_header_for_it() -> None:
    wire, _ = await encode()
    assert not {"x-api-key", "Authorization"} & set(wire.headers)


async def test_sampling_options_have_their_own_names_and_the_rest_is_reported() -> None:
    wire, body = await encode(
        options=SamplingOptions(
            temperature=0.5,
            top_p=0.9,
            top_k=3,
            max_tokens=7,
            stop=("x", "y"),
            seed=1,
            min_p=0.1,
            repeat_penalty=1.1,
            presence_penalty=0.1,
            frequency_penalty=0.2,
            ignore_eos=True,
            cache_prompt=False,
            keep_alive_s=0,
        )
    )
    assert {name: body[name] for name in ("temperature", "top_p", "top_k", "max_tokens")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "max_tokens": 7,
    }
    assert body["stop_sequences"] == ["x", "y"]
    assert set(wire.not_sent) == {
        "seed",
        "min_p",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
        "ignore_eos",
        "cache_prompt",
        "keep_alive_s",
    }


async def test_images_come_before_the_text() -> None:
    _, body = await encode(Message(Role.USER, "what?", images=(Image("image/png", b"\x89P"),)))
    assert body["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVA="}},
        {"type": "text", "text": "what?"},
    ]


async def test_calls_and_their_results_are_blocks_and_results_share_one_turn() -> None:
    wire, body = await encode(
        USER,
        Message(
            Role.ASSISTANT,
            "I look.",
            tool_calls=(ToolCall("call_a", "clock", '{"zone": "UTC"}'), ToolCall("b:1", "clock", "[1")),
        ),
        Message(Role.TOOL, "12:00", tool_call_id="call_a", tool_name="clock"),
        Message(Role.TOOL, "13:00", tool_call_id="b:1", tool_name="clock"),
        Message(Role.USER, "so?"),
        tools=(CLOCK,),
    )
    assert body["messages"][1]["content"] == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_a", "name": "clock", "input": {"zone": "UTC"}},
        {"type": "tool_use", "id": "b_1", "name": "clock", "input": {}},
    ]
    assert body["messages"][2:] == [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_a", "content": "12:00"},
                {"type": "tool_result", "tool_use_id": "b_1", "content": "13:00"},
                {"type": "text", "text": "so?"},
            ],
        }
    ]
    assert body["tools"] == [
        {"name": "clock", "description": "tells the time", "input_schema": dict(CLOCK.parameters)}
    ]
    assert wire.not_sent == ()


async def test_calls_without_ids_find_their_results_by_name() -> None:
    """Ollama has no ids."""
    _, body = await encode(
        USER,
        Message(Role.ASSISTANT, "", tool_calls=(ToolCall(None, "clock", "{}"), ToolCall(None, "date", "{}"))),
        Message(Role.TOOL, "monday", tool_name="date"),
        Message(Role.TOOL, "noon", tool_name="clock"),
    )
    used = {block["name"]: block["id"] for block in body["messages"][1]["content"]}
    results = {block["content"]: block["tool_use_id"] for block in body["messages"][2]["content"]}
    assert len(set(used.values())) == 2
    assert results == {"monday": used["date"], "noon": used["clock"]}


async def test_an_answer_that_was_cut_before_its_first_word_is_left_out() -> None:
    _, body = await encode(USER, Message(Role.ASSISTANT, ""), Message(Role.USER, "again"))
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "now?"}, {"type": "text", "text": "again"}]}
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolMode.AUTO, {"type": "auto"}),
        (ToolMode.NONE, {"type": "none"}),
        (ToolMode.REQUIRED, {"type": "any"}),
        (ForcedTool("clock"), {"type": "tool", "name": "clock"}),
    ],
)
async def test_tool_choices(choice: ToolChoice, sent: dict[str, str]) -> None:
    _, body = await encode(tools=(CLOCK,), tool_choice=choice)
    assert body["tool_choice"] == sent


async def test_a_tool_without_arguments_has_a_schema_all_the_same() -> None:
    _, body = await encode(tools=(Tool("now", "", {}),))
    assert body["tools"][0]["input_schema"] == {"type": "object"}


async def test_json_output_needs_a_schema() -> None:
    wire, body = await encode(output=JsonOutput({"type": "object"}))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert wire.not_sent == ()
    wire, body = await encode(output=JsonOutput())
    assert "output_config" not in body
    assert wire.not_sent == ("output",)


async def test_reasoning_has_a_budget_below_the_limit_and_its_own_sampling() -> None:
    wire, body = await thinking(thinking=True, temperature=0.5, top_k=3)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 8192}
    assert body["max_tokens"] > 8192
    assert "temperature" not in body
    assert wire.not_sent == ("temperature", "top_k")
    _, body = await thinking(thinking=True, max_tokens=3000)
    assert (body["thinking"]["budget_tokens"], body["max_tokens"]) == (2999, 3000)


async def test_effort_implies_reasoning() -> None:
    budgets = [(await thinking(effort=e))[1]["thinking"]["budget_tokens"] for e in Effort]
    assert budgets == sorted(budgets) and len(set(budgets)) == 3


async def test_a_limit_without_room_for_a_budget_is_reported() -> None:
    wire, body = await thinking(thinking=True, effort=Effort.LOW, max_tokens=1024)
    assert "thinking" not in body
    assert body["max_tokens"] == 1024
    assert wire.not_sent == ("thinking", "effort")


async def test_reasoning_switched_off_is_said_and_no_wish_says_nothing() -> None:
    assert (await thinking(thinking=False))[1]["thinking"] == {"type": "disabled"}
    assert "thinking" not in (await thinking())[1]


async def test_models_that_decide_themselves_get_an_effort_instead_of_a_budget() -> None:
    wire, body = await thinking("claude-opus-5", effort=Effort.LOW, max_tokens=50)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "low"}
    assert body["max_tokens"] == 50
    assert wire.not_sent == ()


@pytest.mark.parametrize(
    ("model", "itself"),
    [
        ("claude-opus-4-6", True),
        ("claude-sonnet-4.6", True),
        ("anthropic/claude-fable-5-1", True),
        ("claude-opus-5", True),
        ("claude-opus-4-5-20251101", False),
        ("claude-sonnet-4-20250514", False),
        ("claude-3-7-sonnet-20250219", False),
        ("qwen3-5", False),
    ],
)
def test_who_decides_itself_shows_in_the_name(model: str, itself: bool) -> None:
    assert decides_itself(model) is itself


async def test_a_forced_call_leaves_no_room_for_reasoning() -> None:
    wire, body = await encode(
        tools=(CLOCK,), tool_choice=ToolMode.REQUIRED, options=SamplingOptions(thinking=True)
    )
    assert "thinking" not in body
    assert wire.not_sent == ("thinking",)


async def test_earlier_reasoning_cannot_go_back_without_its_signature() -> None:
    wire, body = await encode(
        USER,
        Message(Role.ASSISTANT, "", reasoning="hm", tool_calls=(ToolCall("a", "clock", "{}"),)),
        Message(Role.TOOL, "noon", tool_call_id="a"),
        tools=(CLOCK,),
        options=SamplingOptions(thinking=True),
    )
    assert "hm" not in json.dumps(body)
    assert "thinking" not in body
    assert wire.not_sent == ("reasoning", "thinking")
