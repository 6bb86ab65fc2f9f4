"""A chat for a server of another dialect: what it is asked, and what of its answer comes back."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from llama_runner.backends.base import Engine
from llama_runner.backends.registry import decoder_for
from llama_runner.backends.request import Effort, ForcedTool, Role, ToolMode
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import InvalidRequestError, LlamaRunnerError, TruncatedError, UnsupportedError
from llama_runner.proxy.answers import BodyThrough, SseThrough
from llama_runner.proxy.bridge import BridgedWriter, is_needed, not_told
from llama_runner.proxy.calls import Call
from llama_runner.proxy.chat_reading import chat_request, unread
from llama_runner.proxy.host import OfferedModel
from llama_runner.proxy.openai_errors import engine_error, error_answer, error_document

PNG = b"\x89PNG\r\n\x1a\n"


def call(path: str, *, translated: bool = False) -> Call:
    return Call(
        model=OfferedModel("m", "0" * 64, 1, 0.0),
        path=path,
        body=b"{}",
        streamed=True,
        writer=lambda record: BodyThrough(error_document),
        error_answer=error_answer,
        error_body=engine_error,
        translated=translated,
    )


@pytest.mark.parametrize(
    ("path", "engine", "translated", "needed"),
    [
        ("/v1/chat/completions", Engine.LLAMA_SERVER, True, False),
        ("/v1/chat/completions", Engine.OPENAI, False, False),
        ("/v1/chat/completions", Engine.OPENAI, True, True),
        ("/v1/chat/completions", Engine.ANTHROPIC, False, True),
        ("/v1/messages", Engine.ANTHROPIC, False, False),
        ("/v1/embeddings", Engine.OPENAI, True, False),
    ],
)
def test_a_bridge_is_used_where_the_words_differ(
    path: str, engine: Engine, translated: bool, needed: bool
) -> None:
    assert is_needed(call(path, translated=translated), engine) == needed


def test_what_a_server_has_no_words_for_is_refused_before_it_is_asked() -> None:
    with pytest.raises(UnsupportedError):
        is_needed(call("/v1/embeddings"), Engine.ANTHROPIC)


def test_a_whole_request_is_understood() -> None:
    picture = "data:image/png;base64," + base64.b64encode(PNG).decode()
    document: dict[str, Any] = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is "},
                    {"type": "text", "text": "this?"},
                    {"type": "image_url", "image_url": {"url": picture}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "A tool may know.",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "animal", "schema": {"type": "object"}},
        },
        "max_completion_tokens": 7,
        "temperature": 0.5,
        "stop": "END",
        "reasoning_effort": "minimal",
        "logprobs": True,
    }
    asked = chat_request(document)
    assert [message.role for message in asked.messages] == [
        Role.SYSTEM,
        Role.USER,
        Role.ASSISTANT,
        Role.TOOL,
    ]
    assert asked.messages[1].content == "What is this?"
    assert (asked.messages[1].images[0].media_type, asked.messages[1].images[0].data) == ("image/png", PNG)
    assert (asked.messages[2].reasoning, asked.messages[2].tool_calls[0].arguments) == (
        "A tool may know.",
        '{"x": 1}',
    )
    assert asked.messages[3].tool_call_id == "c1"
    assert (asked.tools[0].name, asked.tool_choice) == ("look", ForcedTool("look"))
    assert asked.output is not None
    assert (asked.output.name, asked.output.schema) == ("animal", {"type": "object"})
    options = asked.options
    assert (options.max_tokens, options.temperature, options.stop) == (7, 0.5, ("END",))
    assert options.effort is Effort.LOW


@pytest.mark.parametrize(
    ("said", "meant"),
    [("auto", ToolMode.AUTO), ("required", ToolMode.REQUIRED), ("sometimes", None), (None, None)],
)
def test_a_choice_of_tools_is_understood(said: Any, meant: Any) -> None:
    assert chat_request({"model": "m", "tool_choice": said}).tool_choice == meant


def test_a_limit_of_minus_one_is_none() -> None:
    assert chat_request({"model": "m", "max_tokens": -1}).options.max_tokens is None


def test_what_no_backend_can_say_is_named() -> None:
    """What says nothing new, or nothing about the answer, is not."""
    asked: dict[str, Any] = {"model": "m", "n": 1, "logprobs": False, "user": "u", "return_progress": True}
    assert unread(asked) == ()
    more: dict[str, Any] = {"n": 2, "logit_bias": [[1, 2]], "seed": 1, "top_n_sigma": None}
    assert unread({**asked, **more}) == ("n", "logit_bias")
    assert not_told(("seed", "cache_prompt", "seed")) == "this server was not told: seed"
    assert not_told(("cache_prompt",)) is None


def test_a_picture_that_is_none_is_refused() -> None:
    parts: Any = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,!!"}}]
    with pytest.raises(InvalidRequestError):
        chat_request({"model": "m", "messages": [{"role": "user", "content": parts}]})


def events(*documents: Mapping[str, Any]) -> bytes:
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in documents)


ANSWER = events(
    {"type": "message_start", "message": {"usage": {"input_tokens": 11, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Look: é"}},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "t1", "name": "look", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '{"x"'},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": ": 1}"},
    },
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
)


def bridged(*, streamed: bool) -> BridgedWriter:
    inner = SseThrough("m", error_document) if streamed else BodyThrough(error_document)
    decoder = decoder_for(Engine.ANTHROPIC, "http://there")
    return BridgedWriter(decoder, inner, streamed=streamed, model="m", clock=SystemClock())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_a_stream_becomes_openais_however_it_is_cut(size: int) -> None:
    writer = bridged(streamed=True)
    told = b"".join(writer.feed(ANSWER[at : at + size]) for at in range(0, len(ANSWER), size)) + writer.end()
    assert told.endswith(b"data: [DONE]\n\n")
    chunks = [json.loads(line[6:]) for line in told.decode().splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Hm."
    assert "".join(delta.get("content", "") for delta in deltas) == "Look: é"
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert (calls[0]["id"], calls[0]["function"]["name"]) == ("t1", "look")
    assert "".join(one["function"]["arguments"] for one in calls) == '{"x": 1}'
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1] == "tool_calls"
    assert chunks[-1]["usage"] == {"prompt_tokens": 11, "completion_tokens": 9, "total_tokens": 20}
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_an_answer_that_is_not_streamed_is_one_object() -> None:
    writer = bridged(streamed=False)
    assert writer.feed(ANSWER) == b""
    (choice,) = json.loads(whole := writer.end())["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "Look: é",
        "reasoning_content": "Hm.",
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}
        ],
    }
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(whole)["usage"]["total_tokens"] == 20


@pytest.mark.parametrize("streamed", [True, False])
def test_f22_an_answer_that_breaks_off_is_no_whole_one(streamed: bool) -> None:
    writer = bridged(streamed=streamed)
    writer.feed(ANSWER[: len(ANSWER) // 2])
    with pytest.raises(TruncatedError):
        writer.end()


def test_the_servers_own_error_in_a_stream_is_raised() -> None:
    writer = bridged(streamed=True)
    with pytest.raises(LlamaRunnerError, match="too busy"):
        writer.feed(events({"type": "error", "error": {"type": "overloaded_error", "message": "too busy"}}))
