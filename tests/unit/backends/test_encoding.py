"""Requests in each dialect: what is sent, under which name, what cannot be, and where the key goes."""

import json
import time
from dataclasses import fields
from typing import Any

import pytest

from llama_runner.backends.base import Endpoint, Engine, WireRequest
from llama_runner.backends.encoding import paired
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
    ToolCall,
    ToolChoice,
    ToolMode,
)
from llama_runner.core.clock import SystemClock
from llama_runner.core.jsonio import JsonValue
from llama_runner.net.client import open_http

QUESTION = (Message(Role.SYSTEM, "be brief"), Message(Role.USER, "žluť \ud800"))
NO_OPTIONS = SamplingOptions()
OPTIONS = SamplingOptions(
    temperature=0.5,
    top_p=0.9,
    max_tokens=7,
    seed=3,
    stop=("x", "y"),
    ignore_eos=True,
    cache_prompt=False,
    top_k=40,
    min_p=0.05,
    repeat_penalty=1.1,
    presence_penalty=0.2,
    frequency_penalty=0.3,
    keep_alive_s=300,
)
# What every dialect of OpenAI's kind calls by the same name.
COMMON = {
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 7,
    "seed": 3,
    "stop": ["x", "y"],
    "presence_penalty": 0.2,
    "frequency_penalty": 0.3,
}
STRICT = (Engine.OPENAI, Engine.UNKNOWN)
TEMPLATED = (Engine.LLAMA_SERVER, Engine.VLLM)
FOUR = (Engine.OPENAI, *TEMPLATED, Engine.OLLAMA)
PNG = Image("image/png", b"\x89PNG")
WEBP = Image("image/webp", b"RIFF")
PNG_URL = "data:image/png;base64,iVBORw=="
ZONE: dict[str, JsonValue] = {"type": "object", "properties": {"zone": {"type": "string"}}}
CLOCK = Tool("clock", "Tells the time.", ZONE)
DIE = Tool("die", "Rolls.", {})
CLOCK_SAID = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells the time.", "parameters": ZONE},
}


async def encode(
    engine: Engine, options: SamplingOptions = NO_OPTIONS, key: str | None = None, **more: Any
) -> tuple[WireRequest, dict[str, Any]]:
    request = ChatRequest("m", more.pop("messages", QUESTION), options, **more)
    async with open_http() as http:
        backend = connect(Endpoint("http://h:1", engine, key), http=http, clock=SystemClock())
        wire = backend.encode(request)
    return wire, json.loads(wire.body)


# --- options ---


@pytest.mark.parametrize("engine", FOUR)
async def test_unset_options_are_not_sent(engine: Engine) -> None:
    wire, body = await encode(engine)
    own = {"stream_options", "timings_per_token", "return_progress"}
    assert set(body) - own == {"model", "messages", "stream"}
    assert body["stream"] is True
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    assert wire.not_sent == ()
    assert "Authorization" not in wire.headers


@pytest.mark.parametrize("engine", STRICT)
async def test_strict_servers_get_only_what_openai_has(engine: Engine) -> None:
    wire, body = await encode(engine, OPTIONS)
    assert wire.url == "http://h:1/v1/chat/completions"
    rest = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}
    assert {name: value for name, value in body.items() if name != "messages"} == COMMON | rest
    unsaid = ("ignore_eos", "cache_prompt", "top_k", "min_p", "repeat_penalty", "keep_alive_s")
    assert wire.not_sent == unsaid


async def test_llama_server_gets_its_own_fields() -> None:
    wire, body = await encode(Engine.LLAMA_SERVER, OPTIONS)
    own = {"ignore_eos": True, "cache_prompt": False, "top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1}
    streamed = {"timings_per_token": True, "return_progress": True}
    assert body.items() >= (COMMON | own | streamed).items()
    assert wire.not_sent == ("keep_alive_s",)


async def test_vllm_gets_its_own_names_and_counts_in_every_chunk() -> None:
    wire, body = await encode(Engine.VLLM, OPTIONS)
    own = {"ignore_eos": True, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1}
    assert body.items() >= (COMMON | own).items()
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert not body.keys() & {"repeat_penalty", "cache_prompt"}
    assert wire.not_sent == ("cache_prompt", "keep_alive_s")


async def test_ollama_gets_its_own_names() -> None:
    wire, body = await encode(Engine.OLLAMA, OPTIONS)
    assert wire.url == "http://h:1/api/chat"
    common = {name: value for name, value in COMMON.items() if name != "max_tokens"}
    own = {"num_predict": 7, "top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1}
    assert body["options"] == common | own
    assert body["keep_alive"] == 300
    assert wire.not_sent == ("ignore_eos", "cache_prompt")


@pytest.mark.parametrize("engine", FOUR)
async def test_each_option_is_sent_or_named_as_not_sent(engine: Engine) -> None:
    """No option of today's or tomorrow's may vanish without a word."""
    everything = {option.name: getattr(OPTIONS, option.name) for option in fields(SamplingOptions)}
    everything |= {"thinking": True, "effort": Effort.LOW}
    _, plain = await encode(engine)
    for name, value in everything.items():
        wire, body = await encode(engine, SamplingOptions(**{name: value}))
        assert (body != plain) != (wire.not_sent == (name,)), name


@pytest.mark.parametrize("engine", FOUR)
async def test_usage_is_not_asked_of_servers_that_reject_the_question(engine: Engine) -> None:
    _, body = await encode(engine, ask_usage=False)
    assert "stream_options" not in body
    assert not body.get("timings_per_token")


# --- thinking ---


@pytest.mark.parametrize("engine", TEMPLATED)
@pytest.mark.parametrize("on", [True, False])
async def test_thinking_is_a_variable_of_the_template(engine: Engine, on: bool) -> None:
    wire, body = await encode(engine, SamplingOptions(thinking=on))
    assert body["chat_template_kwargs"] == {"enable_thinking": on, "thinking": on}
    assert "reasoning_effort" not in body
    assert wire.not_sent == ()


@pytest.mark.parametrize("engine", TEMPLATED)
async def test_effort_implies_thinking_in_the_template(engine: Engine) -> None:
    _, body = await encode(engine, SamplingOptions(effort=Effort.HIGH))
    assert body["chat_template_kwargs"] == {
        "enable_thinking": True,
        "thinking": True,
        "reasoning_effort": "high",
    }
    assert body["reasoning_effort"] == "high"


@pytest.mark.parametrize("engine", FOUR)
async def test_effort_without_thinking_is_no_effort(engine: Engine) -> None:
    wire, body = await encode(engine, SamplingOptions(thinking=False, effort=Effort.LOW))
    assert "effort" in wire.not_sent
    assert "low" not in json.dumps(body)


async def test_openai_knows_levels_of_thinking_only() -> None:
    wire, body = await encode(Engine.OPENAI, SamplingOptions(thinking=True, effort=Effort.MEDIUM))
    assert (body["reasoning_effort"], wire.not_sent) == ("medium", ())
    for on in (True, False):
        wire, body = await encode(Engine.OPENAI, SamplingOptions(thinking=on))
        assert wire.not_sent == ("thinking",)
        assert "reasoning_effort" not in body


@pytest.mark.parametrize(
    ("options", "think"),
    [
        (SamplingOptions(thinking=True), True),
        (SamplingOptions(thinking=False), False),
        (SamplingOptions(effort=Effort.LOW), "low"),
        (SamplingOptions(thinking=True, effort=Effort.HIGH), "high"),
    ],
)
async def test_ollama_thinks_or_not_or_how_long(options: SamplingOptions, think: bool | str) -> None:
    wire, body = await encode(Engine.OLLAMA, options)
    assert body["think"] == think
    assert wire.not_sent == ()


# --- images ---


async def test_images_are_data_urls_after_the_text() -> None:
    seen = (Message(Role.USER, "What is it?", images=(PNG, WEBP)),)
    for engine in (Engine.OPENAI, Engine.VLLM):
        wire, body = await encode(engine, messages=seen)
        assert body["messages"][0]["content"] == [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": PNG_URL}},
            {"type": "image_url", "image_url": {"url": "data:image/webp;base64,UklGRg=="}},
        ]
        assert wire.not_sent == ()


async def test_llama_server_gets_no_image_that_it_cannot_decode() -> None:
    seen = (Message(Role.USER, "", images=(WEBP, PNG)), Message(Role.USER, "and?", images=(WEBP,)))
    wire, body = await encode(Engine.LLAMA_SERVER, messages=seen)
    assert [message["content"] for message in body["messages"]] == [
        [{"type": "image_url", "image_url": {"url": PNG_URL}}],
        "and?",
    ]
    assert wire.not_sent == ("images",)


async def test_ollama_gets_images_without_their_type() -> None:
    wire, body = await encode(Engine.OLLAMA, messages=(Message(Role.USER, "What?", images=(PNG, WEBP)),))
    assert body["messages"] == [{"role": "user", "content": "What?", "images": ["iVBORw==", "UklGRg=="]}]
    assert wire.not_sent == ()


@pytest.mark.parametrize("engine", FOUR)
async def test_only_users_show_images(engine: Engine) -> None:
    wire, body = await encode(engine, messages=(Message(Role.SYSTEM, "Look.", images=(PNG,)),))
    assert body["messages"] == [{"role": "system", "content": "Look."}]
    assert wire.not_sent == ("images",)


# --- tools ---


@pytest.mark.parametrize("engine", FOUR)
async def test_tools_are_sent_as_they_are(engine: Engine) -> None:
    wire, body = await encode(engine, tools=(CLOCK, DIE))
    assert body["tools"][0] == CLOCK_SAID
    assert [tool["function"]["name"] for tool in body["tools"]] == ["clock", "die"]
    assert "tool_choice" not in body
    assert wire.not_sent == ()


@pytest.mark.parametrize("engine", (Engine.OPENAI, *TEMPLATED))
@pytest.mark.parametrize("mode", list(ToolMode))
async def test_a_choice_among_tools_is_a_word(engine: Engine, mode: ToolMode) -> None:
    _, body = await encode(engine, tools=(CLOCK,), tool_choice=mode)
    assert body["tool_choice"] == str(mode)


@pytest.mark.parametrize("engine", (Engine.OPENAI, Engine.VLLM))
async def test_a_forced_tool_is_named(engine: Engine) -> None:
    _, body = await encode(engine, tools=(CLOCK, DIE), tool_choice=ForcedTool("die"))
    assert body["tool_choice"] == {"type": "function", "function": {"name": "die"}}
    assert len(body["tools"]) == 2


async def test_llama_server_forces_a_tool_by_offering_no_other() -> None:
    """It takes a choice that is an object for "auto"."""
    wire, body = await encode(Engine.LLAMA_SERVER, tools=(CLOCK, DIE), tool_choice=ForcedTool("clock"))
    assert (body["tools"], body["tool_choice"]) == ([CLOCK_SAID], "required")
    assert wire.not_sent == ()
    wire, body = await encode(Engine.LLAMA_SERVER, tools=(CLOCK,), tool_choice=ForcedTool("missing"))
    assert (body["tools"], wire.not_sent) == ([CLOCK_SAID], ("tool_choice",))


@pytest.mark.parametrize(
    ("choice", "offered", "not_sent"),
    [
        (None, True, ()),
        (ToolMode.AUTO, True, ()),
        (ToolMode.NONE, False, ()),
        (ToolMode.REQUIRED, True, ("tool_choice",)),
        (ForcedTool("clock"), True, ("tool_choice",)),
    ],
)
async def test_ollama_can_force_no_tool(
    choice: ToolChoice | None, offered: bool, not_sent: tuple[str, ...]
) -> None:
    wire, body = await encode(Engine.OLLAMA, tools=(CLOCK,), tool_choice=choice)
    assert ("tools" in body) == offered
    assert "tool_choice" not in body
    assert wire.not_sent == not_sent


@pytest.mark.parametrize("engine", FOUR)
async def test_a_choice_without_tools_is_left_out(engine: Engine) -> None:
    """OpenAI refuses it."""
    wire, body = await encode(engine, tool_choice=ToolMode.NONE)
    assert not body.keys() & {"tools", "tool_choice"}
    assert wire.not_sent == ()


def _talk(call: ToolCall, result: Message) -> tuple[Message, ...]:
    asked = Message(Role.ASSISTANT, "", reasoning="Look at the clock.", tool_calls=(call,))
    return Message(Role.USER, "Time?"), asked, result


CALLED = _talk(ToolCall("c1", "clock", '{"zone": "UTC"}'), Message(Role.TOOL, "12:00", tool_call_id="c1"))


@pytest.mark.parametrize(
    ("engine", "reasoning", "not_sent"),
    [
        (Engine.OPENAI, {}, ("reasoning",)),
        (Engine.LLAMA_SERVER, {"reasoning_content": "Look at the clock."}, ()),
        (
            Engine.VLLM,
            {"reasoning": "Look at the clock.", "reasoning_content": "Look at the clock."},
            (),
        ),
    ],
)
async def test_calls_and_results_keep_their_ids_and_the_reasoning_that_led_there(
    engine: Engine, reasoning: dict[str, str], not_sent: tuple[str, ...]
) -> None:
    wire, body = await encode(engine, messages=CALLED)
    call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": '{"zone": "UTC"}'}}
    assert body["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [call], **reasoning},
        {"role": "tool", "content": "12:00", "tool_call_id": "c1"},
    ]
    assert wire.not_sent == not_sent


async def test_ollama_gets_arguments_as_an_object_and_results_with_their_name() -> None:
    wire, body = await encode(Engine.OLLAMA, messages=CALLED)
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "thinking": "Look at the clock.",
            "tool_calls": [{"id": "c1", "function": {"name": "clock", "arguments": {"zone": "UTC"}}}],
        },
        {"role": "tool", "content": "12:00", "tool_name": "clock", "tool_call_id": "c1"},
    ]
    assert wire.not_sent == ()


@pytest.mark.parametrize("arguments", ["{", "[1]", "", "\ud800"])
async def test_ollama_cannot_be_told_arguments_that_are_no_object(arguments: str) -> None:
    """T5: what a model wrote is not always JSON."""
    broken = _talk(ToolCall("c1", "clock", arguments), Message(Role.TOOL, "?", tool_call_id="c1"))
    wire, body = await encode(Engine.OLLAMA, messages=broken)
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == {}
    assert wire.not_sent == ("tool_calls",)


@pytest.mark.parametrize("engine", FOUR)
async def test_calls_without_ids_get_some_and_their_results_the_same(engine: Engine) -> None:
    """Ollama gives no ids, OpenAI's kind demands them: a conversation may go on elsewhere."""
    calls = (ToolCall(None, "clock", "{}"), ToolCall(None, "die", "{}"), ToolCall(None, "die", "{}"))
    talk = (
        Message(Role.ASSISTANT, "", tool_calls=calls),
        Message(Role.TOOL, "first die", tool_name="die"),
        Message(Role.TOOL, "clock"),
        Message(Role.TOOL, "second die"),
        Message(Role.TOOL, "nobody asked"),
    )
    _, body = await encode(engine, messages=talk)
    asked, *results = body["messages"]
    clock, die, other = (call["id"] for call in asked["tool_calls"])
    assert len({clock, die, other}) == 3
    assert all(len(name) == 9 and name.isalnum() for name in (clock, die, other))
    assert [result.get("tool_call_id") for result in results] == [die, clock, other, None]


@pytest.mark.parametrize("engine", FOUR)
async def test_reasoning_of_other_turns_is_never_sent_back(engine: Engine) -> None:
    """T6."""
    wire, body = await encode(engine, messages=(Message(Role.ASSISTANT, "4", reasoning="2+2"),))
    assert body["messages"] == [{"role": "assistant", "content": "4"}]
    assert wire.not_sent == ()


# --- JSON answers ---

SCHEMA: dict[str, JsonValue] = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize("engine", (Engine.OPENAI, *TEMPLATED))
async def test_a_schema_is_a_response_format(engine: Engine) -> None:
    _, body = await encode(engine, output=JsonOutput(SCHEMA, "count"))
    wanted = {"type": "json_schema", "json_schema": {"name": "count", "schema": SCHEMA}}
    assert body["response_format"] == wanted
    _, body = await encode(engine, output=JsonOutput())
    held = {"schema": {"type": "object"}} if engine is Engine.LLAMA_SERVER else {}
    assert body["response_format"] == {"type": "json_object", **held}


async def test_a_schema_is_ollamas_format() -> None:
    assert (await encode(Engine.OLLAMA, output=JsonOutput(SCHEMA)))[1]["format"] == SCHEMA
    assert (await encode(Engine.OLLAMA, output=JsonOutput()))[1]["format"] == "json"


# --- the key ---


@pytest.mark.parametrize("engine", FOUR)
async def test_the_key_is_a_header_and_in_no_repr(engine: Engine) -> None:
    wire, _ = await encode(engine, key="sk-secret")
    assert wire.headers["Authorization"] == "Bearer sk-secret"
    assert "secret" not in repr(wire)
    assert "secret" not in repr(Endpoint("http://h:1", engine, "sk-secret"))


@pytest.mark.timing
def test_tens_of_thousands_of_calls_are_paired_in_a_moment() -> None:
    """H15: results in the other order took half a minute, in which nobody else was served."""
    ids = [f"c{number}" for number in range(20_000)]
    asked = [Message(Role.ASSISTANT, "", tool_calls=(ToolCall(one, "f", "{}"),)) for one in ids]
    told = [Message(Role.TOOL, "x", tool_call_id=one) for one in reversed(ids)]
    began_s = time.process_time()
    found = paired((*asked, *told))
    assert time.process_time() - began_s < 10
    assert all(message.tool_name == "f" for message in found[len(ids) :])
