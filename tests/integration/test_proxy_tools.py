"""Real tool calls: a real model calls a function, is told its result and answers with it, in every dialect.

The model's template shows it by examples how to call, so that it does so greedily, without bias or grammar.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import ollama
import openai
import pytest

from tests.fakes.gguf_files import copy_with_template
from tests.integration.service_process import ServiceProcess, started_service

MODEL: Final = "caller"
TEMPLATE: Final = Path(__file__).parents[1] / "fakes" / "calls_by_example.jinja"
QUESTION: Final[Any] = {"role": "user", "content": "What is the weather in Paris?"}
SCHEMA: Final[Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION: Final[Any] = {"name": "get_weather", "description": "The weather of a city", "parameters": SCHEMA}
TOOL: Final[Any] = {"type": "function", "function": FUNCTION}
PARIS: Final = {"city": "Paris"}
# Nothing but the function's result can put this number into an answer.
RESULT: Final = "Rain, 17 degrees."
# Bounds an answer that never ends; the call takes 31 tokens.
LIMIT: Final = 80


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[ServiceProcess]:
    home, free = tmp_path_factory.mktemp("tools"), "127.0.0.1:0"
    models = home / "models"
    models.mkdir()
    copy_with_template(models / f"{MODEL}.gguf", demo_model, TEMPLATE.read_text(encoding="utf-8"))
    arguments = ("--demo", "--models", str(models), "--openai", free, "--ollama", free)
    with started_service(home, *arguments) as running:
        # Loaded before the guard looks: an engine that appears during a test would be a leak of it.
        asked = {"model": MODEL, "keep_alive": -1}
        httpx.post(f"{running.ready['ollama']}/api/generate", json=asked, timeout=60).raise_for_status()
        yield running


@pytest.fixture(autouse=True)
def guarded(service: ServiceProcess, leak_guard: None) -> None:
    """The service before the guard looks: it is no leak of the first test."""


@pytest.fixture(params=["openai", "ollama"])
def port(request: pytest.FixtureRequest, service: ServiceProcess) -> str:
    """The address of each listener: both speak OpenAI's and Anthropic's dialects."""
    return str(service.ready[request.param])


@pytest.fixture
def oai(port: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{port}/v1", api_key="any", timeout=60, max_retries=0) as client:
        yield client


@pytest.fixture
def oll(service: ServiceProcess) -> Iterator[ollama.Client]:
    client = ollama.Client(host=service.ready["ollama"], timeout=60)
    yield client
    client._client.close()


# --- openai -----------------------------------------------------------------------------------------------


def test_openai_calls_and_answers_with_the_result(oai: openai.OpenAI) -> None:
    more: Any = {"tools": [TOOL], "temperature": 0, "max_tokens": LIMIT}
    first = oai.chat.completions.create(
        model=MODEL, messages=[QUESTION], tool_choice="required", **more
    ).choices[0]
    (call,) = first.message.tool_calls or []
    assert call.type == "function" and call.id
    assert (first.finish_reason, call.function.name) == ("tool_calls", "get_weather")
    assert json.loads(call.function.arguments) == PARIS
    back: Any = [
        QUESTION,
        first.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": RESULT},
    ]
    second = oai.chat.completions.create(model=MODEL, messages=back, **more).choices[0]
    assert second.finish_reason == "stop" and not second.message.tool_calls
    assert "17" in (second.message.content or "")


def test_openai_streams_a_call(oai: openai.OpenAI) -> None:
    """Index, id and name come with the first fragment, the arguments as pieces of one text."""
    more: Any = {"tools": [TOOL], "temperature": 0, "max_tokens": LIMIT}
    with oai.chat.completions.stream(model=MODEL, messages=[QUESTION], **more) as stream:
        events = list(stream)
        final = stream.get_final_completion().choices[0]
    fragments = [
        one
        for event in events
        if event.type == "chunk"
        for one in event.chunk.choices[0].delta.tool_calls or ()
    ]
    assert len(fragments) > 1 and {one.index for one in fragments} == {0}
    assert fragments[0].id and fragments[0].function and fragments[0].function.name == "get_weather"
    assert not any(one.id for one in fragments[1:])
    (call,) = final.message.tool_calls or []
    assert (final.finish_reason, json.loads(call.function.arguments)) == ("tool_calls", PARIS)


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_call_and_answer_with_the_result(oai: openai.OpenAI, streamed: bool) -> None:
    more: Any = {"tools": [{"type": "function", **FUNCTION}], "temperature": 0, "max_output_tokens": LIMIT}
    if streamed:
        with oai.responses.stream(model=MODEL, input=[QUESTION], **more) as stream:
            kinds = {event.type for event in stream}
            first = stream.get_final_response()
        assert {"response.function_call_arguments.delta", "response.output_item.done"} <= kinds
    else:
        first = oai.responses.create(model=MODEL, input=[QUESTION], **more)
    call = next(item for item in first.output if item.type == "function_call")
    assert (call.name, json.loads(call.arguments)) == ("get_weather", PARIS)
    back: Any = [
        QUESTION,
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": RESULT},
    ]
    assert "17" in oai.responses.create(model=MODEL, input=back, **more).output_text


# --- anthropic --------------------------------------------------------------------------------------------


def _messages(port: str, messages: list[Any], **more: Any) -> httpx.Response:
    tool = {"name": FUNCTION["name"], "description": FUNCTION["description"], "input_schema": SCHEMA}
    body = {"model": MODEL, "max_tokens": LIMIT, "temperature": 0, "tools": [tool], "messages": messages}
    answer = httpx.post(f"{port}/v1/messages", json={**body, **more}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def test_anthropic_calls_and_answers_with_the_result(port: str) -> None:
    first = _messages(port, [QUESTION], tool_choice={"type": "any"}).json()
    call = next(block for block in first["content"] if block["type"] == "tool_use")
    assert (first["stop_reason"], call["name"], call["input"]) == ("tool_use", "get_weather", PARIS)
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": RESULT}
    back = [
        QUESTION,
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [result]},
    ]
    second = _messages(port, back).json()
    assert second["stop_reason"] == "end_turn"
    assert "17" in "".join(block["text"] for block in second["content"] if block["type"] == "text")


def test_anthropic_streams_a_call(port: str) -> None:
    stream = _messages(port, [QUESTION], stream=True).text
    events = [json.loads(line[len("data: ") :]) for line in stream.splitlines() if line.startswith("data: ")]
    blocks = [one["content_block"] for one in events if one["type"] == "content_block_start"]
    assert [block["name"] for block in blocks if block["type"] == "tool_use"] == ["get_weather"]
    pieces = [one["delta"].get("partial_json", "") for one in events if one["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == PARIS
    reasons = [one["delta"]["stop_reason"] for one in events if one["type"] == "message_delta"]
    assert (reasons, events[-1]["type"]) == (["tool_use"], "message_stop")


def test_anthropic_answers_in_the_form_that_is_asked_for(port: str) -> None:
    """The engine knows no such field in a message; in a chat it does."""
    schema = {"type": "object", "properties": {"degrees": {"type": "integer"}}, "required": ["degrees"]}
    form = {"format": {"type": "json_schema", "schema": schema}}
    answer = _messages(port, [QUESTION], tools=[], output_config=form).json()
    (block,) = answer["content"]
    assert (answer["type"], answer["stop_reason"], block["type"]) == ("message", "end_turn", "text")
    assert isinstance(json.loads(block["text"])["degrees"], int)
    assert answer["usage"]["input_tokens"] + answer["usage"]["cache_read_input_tokens"] > 5


# --- one function of two ----------------------------------------------------------------------------------

NEWS: Final[Any] = {**FUNCTION, "name": "get_news", "description": "The news of a city"}
SHORT: Final[Any] = {"model": MODEL, "temperature": 0, "max_tokens": LIMIT}


def test_the_function_that_must_be_called_is_called(service: ServiceProcess) -> None:
    """Left to itself the model takes the first one, and so does llama-server whichever is named."""

    def asked(path: str, **body: Any) -> Any:
        return httpx.post(f"{service.ready['openai']}{path}", json={**SHORT, **body}, timeout=60).json()

    both = [{"type": "function", "function": one} for one in (FUNCTION, NEWS)]
    choice: Any = {"type": "function", "function": {"name": "get_news"}}
    chat = asked("/v1/chat/completions", messages=[QUESTION], tools=both, tool_choice=choice)
    (call,) = chat["choices"][0]["message"]["tool_calls"]
    flat = [{"type": "function", **one} for one in (FUNCTION, NEWS)]
    choice = {"type": "function", "name": "get_news"}
    response = asked(
        "/v1/responses", input=[QUESTION], tools=flat, tool_choice=choice, max_output_tokens=LIMIT
    )
    items = [item["name"] for item in response["output"] if item["type"] == "function_call"]
    named = [{"name": one["name"], "input_schema": SCHEMA} for one in (FUNCTION, NEWS)]
    choice = {"type": "tool", "name": "get_news"}
    message = asked("/v1/messages", messages=[QUESTION], tools=named, tool_choice=choice)
    blocks = [block["name"] for block in message["content"] if block["type"] == "tool_use"]
    assert (call["function"]["name"], items, blocks) == ("get_news", ["get_news"], ["get_news"])


def test_a_function_that_must_be_called_and_is_not_there(service: ServiceProcess) -> None:
    choice = {"type": "function", "function": {"name": "get_stars"}}
    tools = [{"type": "function", "function": FUNCTION}]
    answer = httpx.post(
        f"{service.ready['openai']}/v1/chat/completions",
        json={**SHORT, "messages": [QUESTION], "tools": tools, "tool_choice": choice},
        timeout=60,
    )
    assert answer.status_code == 400
    assert "get_stars" in answer.json()["error"]["message"]


def test_nothing_is_called_where_nothing_may_be(port: str) -> None:
    answer = _messages(port, [QUESTION], tool_choice={"type": "none"}).json()
    assert [block["type"] for block in answer["content"]] == ["text"]


# --- ollama -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_ollama_calls_and_answers_with_the_result(oll: ollama.Client, streamed: bool) -> None:
    """The call comes whole, in one line before the last; its result goes back by the function's name."""
    more: Any = {"model": MODEL, "tools": [TOOL], "options": {"temperature": 0, "num_predict": LIMIT}}
    assert "tools" in (oll.show(MODEL).capabilities or ())
    if streamed:
        parts = list(oll.chat(messages=[QUESTION], stream=True, **more))
        assert [part.done for part in parts if part.message.tool_calls] == [False]
        said = next(part.message for part in parts if part.message.tool_calls)
    else:
        parts = [oll.chat(messages=[QUESTION], **more)]
        said = parts[0].message
    assert (parts[-1].done, parts[-1].done_reason) == (True, "stop")
    (call,) = said.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("get_weather", PARIS)
    back = [QUESTION, said, {"role": "tool", "tool_name": "get_weather", "content": RESULT}]
    second = oll.chat(messages=back, **more)
    assert not second.message.tool_calls and "17" in (second.message.content or "")


def test_lm_studio_says_that_it_stopped_for_a_call(service: ServiceProcess) -> None:
    body = {"model": MODEL, "messages": [QUESTION], "tools": [TOOL], "temperature": 0, "max_tokens": LIMIT}
    url = f"{service.ready['openai']}/api/v0/chat/completions"
    answer = httpx.post(url, json=body, timeout=60).json()
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert answer["stats"]["stop_reason"] == "toolCalls"
