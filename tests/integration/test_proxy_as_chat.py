"""Messages and responses, asked of servers that speak neither: said as a chat, and told back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from llama_runner.backends.base import Engine
from tests.fakes.metronome import Metronome, start_metronome
from tests.fakes.metronome_plan import Plan
from tests.fakes.raw_server import raw_server
from tests.integration.routed_proxy import RoutedProxy, address, known, routed_proxy, routes

# Two words of thought, two of answer, a call.
TOLD: Final = Plan(id="told", tokens=5, reasoning=2, tool_call=True).model_id()
ZONE: Final = {"zone": "UTC"}
CHAT_ONLY: Final = [Engine.OPENAI, Engine.OLLAMA]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[Engine, Metronome]]:
    """Servers that know one dialect each."""
    found = {engine: start_metronome(engine=str(engine)) for engine in (*CHAT_ONLY, Engine.ANTHROPIC)}
    yield found
    for one in found.values():
        one.close()


@pytest.fixture(autouse=True)
def guarded(servers: dict[Engine, Metronome], leak_guard: None) -> None:
    """The servers before the guard looks: they are no leak of the first test."""


def proxied(folder: Path, server: Metronome, engine: Engine, model: str = TOLD) -> Any:
    """The proxy with one route, "way", to a model of the server."""
    return routed_proxy(
        folder, known(server.url, engine=engine), routes=routes(way=[f"{model}@{server.url}"])
    )


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The documents of a stream whose events have names, which their documents repeat."""
    assert answer.status_code == 200, answer.text
    found = []
    for event in answer.text.strip().split("\n\n"):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


# --- anthropic's messages ---------------------------------------------------------------------------------

MESSAGES: Final[Any] = {
    "model": "way",
    "max_tokens": 50,
    "system": [{"type": "text", "text": "Be brief."}],
    "top_k": 7,
    "stop_sequences": ["END"],
    "tools": [
        {"name": "clock", "description": "The time", "input_schema": {"type": "object"}},
        {"type": "web_search_20260209", "name": "web_search"},
    ],
    "tool_choice": {"type": "any"},
    "messages": [
        {"role": "user", "content": "What time is it?"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "clock", "input": ZONE},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "noon"}]},
    ],
}


@pytest.mark.parametrize("engine", CHAT_ONLY)
async def test_messages_are_answered_by_a_server_that_knows_only_chat(
    tmp_path: Path, servers: dict[Engine, Metronome], engine: Engine
) -> None:
    async with proxied(tmp_path, servers[engine], engine) as proxy:
        answer = await proxy.openai.post("/v1/messages", json=MESSAGES)
        assert answer.status_code == 200, answer.text
        message = answer.json()
        assert message["content"][:2] == [
            {"type": "thinking", "thinking": "w1 w2 ", "signature": ""},
            {"type": "text", "text": "w3 w4 "},
        ]
        call = message["content"][2]
        assert (call["type"], call["name"], call["input"]) == ("tool_use", "clock", ZONE)
        assert (message["type"], message["role"], message["stop_reason"]) == (
            "message",
            "assistant",
            "tool_use",
        )
        assert message["usage"]["output_tokens"] == 5
        # Nothing is left out without a word.
        told = answer.headers["x-llama-runner"]
        assert "web_search" in told and ("top_k" in told) == (engine is Engine.OPENAI)
        sent = servers[engine].last("told").body
        assert [turn["role"] for turn in sent["messages"]] == ["system", "user", "assistant", "tool"]
        assert sent["messages"][2]["tool_calls"][0]["function"]["name"] == "clock"
        assert sent["messages"][3]["content"] == "noon"
        assert [tool["function"]["name"] for tool in sent["tools"]] == ["clock"]


@pytest.mark.parametrize("engine", CHAT_ONLY)
async def test_messages_are_streamed_by_a_server_that_knows_only_chat(
    tmp_path: Path, servers: dict[Engine, Metronome], engine: Engine
) -> None:
    async with proxied(tmp_path, servers[engine], engine) as proxy:
        found = events(await proxy.openai.post("/v1/messages", json={**MESSAGES, "stream": True}))
    kinds = [one["type"] for one in found]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    starts = [one for one in found if one["type"] == "content_block_start"]
    assert [one["content_block"]["type"] for one in starts] == ["thinking", "text", "tool_use"]
    assert [one["index"] for one in starts] == [0, 1, 2]
    deltas = [one["delta"] for one in found if one["type"] == "content_block_delta"]
    assert "".join(one.get("thinking", "") for one in deltas) == "w1 w2 "
    assert "".join(one.get("text", "") for one in deltas) == "w3 w4 "
    assert json.loads("".join(one.get("partial_json", "") for one in deltas)) == ZONE
    # Each block ends before the next begins.
    nested = [kind for kind in kinds if kind in ("content_block_start", "content_block_stop")]
    assert nested == ["content_block_start", "content_block_stop"] * 3
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


# --- openai's responses -----------------------------------------------------------------------------------

RESPONSES: Final[Any] = {
    "model": "way",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "What time is it?"}]},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "?"}],
        },
        {"type": "function_call", "call_id": "c1", "name": "clock", "arguments": '{"zone": "UTC"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "noon"},
    ],
    "tools": [
        {"type": "function", "name": "clock", "parameters": {"type": "object"}, "strict": False},
        {"type": "web_search"},
    ],
    "max_output_tokens": 50,
}


@pytest.mark.parametrize("engine", [*CHAT_ONLY, Engine.ANTHROPIC])
@pytest.mark.parametrize("streamed", [False, True])
async def test_responses_are_answered_by_a_server_that_knows_only_its_own_chat(
    tmp_path: Path, servers: dict[Engine, Metronome], engine: Engine, streamed: bool
) -> None:
    async with proxied(tmp_path, servers[engine], engine) as proxy:
        client = openai.AsyncOpenAI(
            base_url="http://proxy/v1", api_key="any", http_client=proxy.openai, max_retries=0
        )
        if streamed:
            async with client.responses.stream(**RESPONSES) as stream:
                kinds = [event.type async for event in stream]
                answer: Response = await stream.get_final_response()
            assert "response.reasoning_text.delta" in kinds and kinds[-1] == "response.completed"
        else:
            answer = await client.responses.create(**RESPONSES)
        assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]
        call = answer.output[2]
        assert call.type == "function_call" and json.loads(call.arguments) == ZONE
        assert (answer.status, answer.output_text) == ("completed", "w3 w4 ")
        assert answer.usage is not None and answer.usage.output_tokens == 5
        assert "web_search" in (proxy.last.warning or "")
        sent = servers[engine].last("told").body
        assert sent["messages"][-1]["role"] == ("user" if engine is Engine.ANTHROPIC else "tool")


async def test_every_event_of_a_response_is_of_its_type(
    tmp_path: Path, servers: dict[Engine, Metronome]
) -> None:
    """As the official package declares them; numbered without a gap."""
    async with proxied(tmp_path, servers[Engine.OPENAI], Engine.OPENAI) as proxy:
        found = events(await proxy.openai.post("/v1/responses", json={**RESPONSES, "stream": True}))
    typed: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for document in found:
        typed.validate_python(document, strict=True)
    assert [one["sequence_number"] for one in found] == list(range(len(found)))


async def test_an_answer_that_was_cut_says_so(tmp_path: Path) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "w1 "}, "finish_reason": "length"}]}
    body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    found = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{body}".encode()

    def script(_: int, head: bytes) -> bytes:
        return found if head.startswith(b"POST /v1/chat/completions") else missing

    async with raw_server(script) as server, routed_to(tmp_path, server.url) as proxy:
        asked: Any = {"model": "way", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        message = (await proxy.openai.post("/v1/messages", json=asked)).json()
        assert message["stop_reason"] == "max_tokens"
        response = (await proxy.openai.post("/v1/responses", json={"model": "way", "input": "x"})).json()
        assert response["status"] == "incomplete"
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}


def routed_to(folder: Path, url: str) -> Any:
    return routed_proxy(folder, known(url), routes=routes(way=[f"m@{url}"]))


# --- errors, counts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
async def test_an_answer_that_breaks_off_ends_with_an_error(
    tmp_path: Path, servers: dict[Engine, Metronome], path: str
) -> None:
    cut = Plan(id="cut", tokens=5, cut_at=2).model_id()
    body = {"model": "way", "max_tokens": 9, "input": "x", "messages": [{"role": "user", "content": "x"}]}
    async with proxied(tmp_path, servers[Engine.OPENAI], Engine.OPENAI, cut) as proxy:
        streamed = (await proxy.openai.post(path, json={**body, "stream": True})).text
        last = json.loads(streamed.strip().rpartition("data: ")[2])
        assert "incomplete" in last["error"]["message"]
        whole = await proxy.openai.post(path, json=body)
        assert (whole.status_code, "error" in whole.json()) == (502, True)


async def test_what_a_chat_has_no_room_for_is_refused(
    tmp_path: Path, servers: dict[Engine, Metronome]
) -> None:
    """A question without its document is another question."""
    paper = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
    }
    body = {"model": "way", "max_tokens": 5, "messages": [{"role": "user", "content": [paper]}]}
    async with proxied(tmp_path, servers[Engine.OPENAI], Engine.OPENAI) as proxy:
        answer = await proxy.openai.post("/v1/messages", json=body)
        assert (answer.status_code, answer.json()["type"]) == (400, "error")
        assert "document" in answer.json()["error"]["message"]


async def test_tokens_are_counted_by_whatever_a_server_has_for_it(
    tmp_path: Path, servers: dict[Engine, Metronome]
) -> None:
    """A chat server that cannot count says so; one that counts in another dialect is asked in it."""
    body = {"model": "way", "messages": [{"role": "user", "content": "x"}], "input": "x"}
    async with proxied(tmp_path, servers[Engine.OPENAI], Engine.OPENAI) as proxy:
        answer = await proxy.openai.post("/v1/messages/count_tokens", json=body)
        assert (answer.status_code, "cannot count" in answer.text) == (501, True)

    def script(_: int, head: bytes) -> bytes:
        counts = head.startswith(b"POST /v1/messages/count_tokens")
        found = '{"input_tokens": 11}' if counts else "{}"
        status = "200 OK" if counts else "404 Not Found"
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(found)}\r\n\r\n{found}".encode()

    async with raw_server(script) as server:
        one = known(server.url, engine=Engine.ANTHROPIC)
        async with routed_proxy(tmp_path / "b", one, routes=routes(way=[f"m@{server.url}"])) as proxy:
            answer = await proxy.openai.post("/v1/responses/input_tokens", json=body)
            assert answer.json() == {"input_tokens": 11, "object": "response.input_tokens"}


async def test_the_next_step_is_asked_when_a_server_knows_neither(
    tmp_path: Path, servers: dict[Engine, Metronome]
) -> None:
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(lambda *_: missing) as empty:
        url = servers[Engine.OPENAI].url
        way = routes(way=[f"m@{empty.url}", f"{TOLD}@{url}"])
        async with routed_proxy(tmp_path, known(empty.url), known(url), routes=way) as proxy:
            proxy_: RoutedProxy = proxy
            answer = await proxy_.openai.post("/v1/messages", json=MESSAGES)
            assert answer.json()["stop_reason"] == "tool_use"
            assert [one.where for one in proxy_.last.tried] == [address(empty.url)]
            assert len(empty.heads) == 2


async def test_lm_studios_own_chat_says_to_other_servers_only_what_they_know(
    tmp_path: Path, servers: dict[Engine, Metronome]
) -> None:
    plain = Plan(id="plain").model_id()
    async with proxied(tmp_path, servers[Engine.OPENAI], Engine.OPENAI, plain) as proxy:
        body = {"model": "way", "input": "Hello", "min_p": 0.1, "temperature": 0.5}
        answer = (await proxy.openai.post("/api/v1/chat", json=body)).json()
        assert answer["output"][0]["content"].startswith("w1 w2")
        sent = servers[Engine.OPENAI].last("plain").body
        assert sent["temperature"] == 0.5 and not {"min_p", "return_progress"} & set(sent)
        assert proxy.last.warning == "this server was not told: min_p"
