"""Requests as a real llama-server renders them: everything that was asked arrives at the model's template."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from llama_runner.backends.base import Backend
from llama_runner.backends.models import COMPLETION, THINKING, TOOLS
from llama_runner.backends.registry import connect
from llama_runner.backends.request import (
    ChatRequest,
    Effort,
    ForcedTool,
    JsonOutput,
    Message,
    Role,
    SamplingOptions,
    Tool,
    ToolCall,
)
from llama_runner.core.clock import SystemClock
from llama_runner.core.jsonio import JsonValue
from llama_runner.net.fetch import fetch
from tests.contract.servers import Server, templated_llama_server
from tests.contract.test_model_calls import answer_to

TEMPLATE = Path(__file__).with_name("tools_and_thinking.jinja")
ZONE: dict[str, JsonValue] = {"type": "object", "properties": {"zone": {"type": "string"}}}
CLOCK = Tool("clock", "Tells the time.", ZONE)
DIE = Tool("die", "Rolls.", {"type": "object", "properties": {}})
QUESTION = ChatRequest("smol", (Message(Role.USER, "What time is it?"),), SamplingOptions(max_tokens=1))


@pytest.fixture(scope="module")
def templated(request: pytest.FixtureRequest) -> Iterator[Server]:
    with templated_llama_server(request, TEMPLATE) as running:
        yield running


@pytest.fixture
def templated_backend(templated: Server, http: httpx.AsyncClient) -> Backend:
    return connect(templated.endpoint(), http=http, clock=SystemClock())


async def rendered(backend: Backend, http: httpx.AsyncClient, request: ChatRequest) -> str:
    """The prompt that the server makes of exactly what the backend would send."""
    wire = backend.encode(request)
    url = f"{backend.endpoint.base_url}/apply-template"
    reply = await fetch(http, url, method="POST", headers=wire.headers, body=wire.body)
    document = reply.raise_for_status().json()
    assert isinstance(document, dict)
    return str(document["prompt"])


async def test_a_template_tells_what_its_model_can(templated_backend: Backend) -> None:
    assert (await templated_backend.describe("smol")).capabilities == (COMPLETION, TOOLS, THINKING)


async def test_tools_calls_results_and_reasoning_reach_the_model(
    templated_backend: Backend, http: httpx.AsyncClient
) -> None:
    call = ToolCall("c1", "clock", '{"zone": "UTC"}')
    talk = (
        *QUESTION.messages,
        Message(Role.ASSISTANT, "", reasoning="Look at the clock.", tool_calls=(call,)),
        Message(Role.TOOL, "12:00", tool_call_id="c1"),
    )
    prompt = await rendered(templated_backend, http, replace(QUESTION, messages=talk, tools=(CLOCK, DIE)))
    for part in ("Tells the time.", "Rolls.", "<think>\nLook at the clock.\n</think>", "12:00"):
        assert part in prompt
    called = prompt.split("<tool_call>\n")[-1].split("\n</tool_call>")[0]
    assert json.loads(called) == {"name": "clock", "arguments": {"zone": "UTC"}}


async def test_a_forced_tool_is_the_only_one_that_the_model_sees(
    templated_backend: Backend, http: httpx.AsyncClient
) -> None:
    forced = replace(QUESTION, tools=(CLOCK, DIE), tool_choice=ForcedTool("die"))
    prompt = await rendered(templated_backend, http, forced)
    assert "Rolls." in prompt and "Tells the time." not in prompt


@pytest.mark.parametrize(
    ("options", "ending"),
    [
        (SamplingOptions(), "<|im_start|>assistant\n"),
        (SamplingOptions(thinking=True), "<|im_start|>assistant\n"),
        (SamplingOptions(thinking=False), "<think>\n\n</think>\n\n"),
        (SamplingOptions(effort=Effort.HIGH), "<think>\n(high)\n"),
        (SamplingOptions(thinking=True, effort=Effort.LOW), "<think>\n(low)\n"),
    ],
)
async def test_thinking_is_switched_where_the_model_begins(
    templated_backend: Backend, http: httpx.AsyncClient, options: SamplingOptions, ending: str
) -> None:
    assert (await rendered(templated_backend, http, replace(QUESTION, options=options))).endswith(ending)


async def test_the_count_of_a_request_has_its_tools_in_it(templated_backend: Backend) -> None:
    for tools in ((), (CLOCK,)):
        request = replace(QUESTION, tools=tools)
        count = await templated_backend.count_prompt(request)
        usage = (await answer_to(templated_backend, request)).metrics()
        assert count is not None and count.tokens == usage.prompt_tokens
        assert (count.tokens > 60) == bool(tools)


async def test_a_schema_is_obeyed_without_thinking(templated_backend: Backend) -> None:
    schema = JsonOutput({"type": "object", "properties": {"hour": {"type": "integer"}}, "required": ["hour"]})
    options = SamplingOptions(max_tokens=60, temperature=0.0, thinking=False)
    answer = await answer_to(templated_backend, replace(QUESTION, options=options, output=schema))
    assert isinstance(json.loads(answer.snapshot().text)["hour"], int)
