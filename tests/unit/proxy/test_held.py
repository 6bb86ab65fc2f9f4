"""What a llama-server is told so that its answer keeps to it."""

import json
from typing import Any

import pytest

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import dump_json
from llama_runner.proxy.held import held


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def test_json_without_a_schema_gets_one() -> None:
    said = json.loads(held(dump_json({"response_format": {"type": "json_object"}})))
    assert said["response_format"]["schema"] == {"type": "object"}


def test_a_tool_that_must_be_called_is_the_only_one_and_required() -> None:
    """In OpenAI's chat, in its responses, in Anthropic's messages: each is taken for auto."""
    chat: dict[str, Any] = {"tools": [tool("a"), tool("b")], "tool_choice": tool("b")}
    assert json.loads(held(dump_json(chat))) == {"tools": [tool("b")], "tool_choice": "required"}
    flat: list[Any] = [{"type": "function", "name": name} for name in ("a", "b")]
    responses: dict[str, Any] = {"tools": flat, "tool_choice": {"type": "function", "name": "a"}}
    assert json.loads(held(dump_json(responses))) == {"tools": flat[:1], "tool_choice": "required"}
    named: list[Any] = [{"name": name, "input_schema": {}} for name in ("a", "b")]
    messages: dict[str, Any] = {"tools": named, "tool_choice": {"type": "tool", "name": "b"}}
    assert json.loads(held(dump_json(messages))) == {"tools": named[1:], "tool_choice": {"type": "any"}}


def test_where_no_tool_may_be_called_there_is_none() -> None:
    body: dict[str, Any] = {"max_tokens": 5, "tools": [{"name": "a"}], "tool_choice": {"type": "none"}}
    assert json.loads(held(dump_json(body))) == {"max_tokens": 5}


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"name": "a"}], "tool_choice": {"type": "auto"}},
        {"tools": [tool("a"), 3], "tool_choice": {"type": "function"}},
        {"tool_choice": {"type": "any"}},
    ],
)
def test_other_choices_stay_as_they_are(body: dict[str, Any]) -> None:
    assert json.loads(held(dump_json(body))) == body


def test_a_tool_that_must_be_called_and_is_not_there_is_refused() -> None:
    """As OpenAI does; "auto" in its place would be another request."""
    body: dict[str, Any] = {"tools": [tool("a")], "tool_choice": tool("nobody")}
    with pytest.raises(InvalidRequestError, match="nobody"):
        held(dump_json(body))


def test_a_body_without_such_fields_is_not_read() -> None:
    body = rb'{"content": "\"tool_choice\": {", "tool_choice": "auto", "image": ' + b"\xff never read"
    assert held(body) is body
