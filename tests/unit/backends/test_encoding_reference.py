"""Requests against the types of the official clients: nothing in them that the reference does not have."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import pytest
from ollama import Options
from ollama._types import ChatRequest as OllamaRequest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from llama_runner.backends.base import Engine
from llama_runner.backends.request import (
    ForcedTool,
    JsonOutput,
    Message,
    Role,
    SamplingOptions,
    ToolChoice,
    ToolMode,
)
from tests.unit.backends.test_encoding import CALLED, CLOCK, OPTIONS, PNG, SCHEMA, encode

# Kept: what it validates lazily is validated by it when it is read.
OPENAI_REQUEST: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsStreaming)
TALK = (Message(Role.SYSTEM, "Be brief."), *CALLED, Message(Role.USER, "And this?", images=(PNG,)))


def whole(value: Any) -> Any:
    """What pydantic validates lazily, as lists."""
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    return (
        [whole(item) for item in value]
        if isinstance(value, Iterable) and not isinstance(value, str)
        else value
    )


@pytest.mark.parametrize("choice", [None, ToolMode.REQUIRED, ForcedTool("clock")])
async def test_openai_gets_a_request_of_its_own_reference(choice: ToolChoice | None) -> None:
    """Strict servers refuse a field that they do not know: pydantic drops such fields, which shows them."""
    options = SamplingOptions(
        **{f.name: getattr(OPTIONS, f.name) for f in fields(OPTIONS)} | {"effort": "low"}
    )
    more: dict[str, Any] = {
        "messages": TALK,
        "tools": (CLOCK,),
        "tool_choice": choice,
        "output": JsonOutput(SCHEMA),
    }
    _, body = await encode(Engine.OPENAI, options, **more)
    assert whole(OPENAI_REQUEST.validate_python(body)) == body


async def test_ollama_gets_a_request_of_its_own_reference() -> None:
    options = SamplingOptions(
        **{f.name: getattr(OPTIONS, f.name) for f in fields(OPTIONS)} | {"effort": "low"}
    )
    more: dict[str, Any] = {"messages": TALK, "tools": (CLOCK,), "output": JsonOutput(SCHEMA)}
    _, body = await encode(Engine.OLLAMA, options, **more)
    # The server has it since 0.5; the client does not know it yet.
    assert body["options"].pop("min_p") == 0.05
    accepted = OllamaRequest.model_validate(body)
    assert body.keys() <= OllamaRequest.model_fields.keys()
    assert body["options"].keys() <= Options.model_fields.keys()
    sent = accepted.model_dump(exclude_unset=True)
    assert sent["messages"][2]["tool_calls"][0]["function"] == {"name": "clock", "arguments": {"zone": "UTC"}}
    assert sent["messages"][3]["tool_name"] == "clock"
    assert sent["think"] == "low"
