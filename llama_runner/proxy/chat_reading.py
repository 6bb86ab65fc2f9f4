"""The body of an OpenAI chat completion as the backends take it. Pure.

Each field was checked by the face that took the request; what no backend can say is left out.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

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
from llama_runner.backends.values import as_list, as_object, as_text, content_text
from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue, dump_json

_SAMPLING: Final = {option.name for option in fields(SamplingOptions)} - {"stop", "thinking", "effort"}
# What `chat_request` reads, and what says nothing about the answer's words.
_READ: Final = _SAMPLING | {
    "model",
    "messages",
    "tools",
    "tool_choice",
    "response_format",
    "max_completion_tokens",
    "stop",
    "chat_template_kwargs",
    "reasoning_effort",
    "stream",
    "stream_options",
    "return_progress",
    "timings_per_token",
    "sse_ping_interval",
    "user",
}
# Servers do so when nothing is said.
_USUAL: Final[Mapping[str, JsonValue]] = {
    "n": 1,
    "parallel_tool_calls": True,
    "logprobs": False,
    "echo": False,
}
_ROLES: Final = {"developer": Role.SYSTEM, "function": Role.TOOL}
_EFFORTS: Final = {"minimal": Effort.LOW, "xhigh": Effort.HIGH, "max": Effort.HIGH}


def chat_request(document: Mapping[str, JsonValue]) -> ChatRequest:
    """The body of an OpenAI chat completion, as the backends take it. Raises InvalidRequestError."""
    return ChatRequest(
        model_id=as_text(document.get("model")),
        messages=tuple(_message(as_object(item)) for item in as_list(document.get("messages"))),
        options=_options(document),
        tools=tuple(_tool(as_object(item)) for item in as_list(document.get("tools"))),
        tool_choice=_tool_choice(document.get("tool_choice")),
        output=_output(as_object(document.get("response_format"))),
    )


def unread(document: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Names of what is asked for and no backend can say."""
    asked = [name for name, value in document.items() if value is not None and value != _USUAL.get(name)]
    return tuple(name for name in asked if name not in _READ)


def _message(said: Mapping[str, JsonValue]) -> Message:
    role = as_text(said.get("role"))
    content = said.get("content")
    calls = tuple(_call(as_object(call)) for call in as_list(said.get("tool_calls")))
    return Message(
        role=_ROLES.get(role) or (Role(role) if role in set(Role) else Role.USER),
        content=content_text(content),
        images=tuple(
            image
            for part in as_list(content)
            if (image := _image(as_object(part).get("image_url"))) is not None
        ),
        reasoning=as_text(said.get("reasoning_content")) or as_text(said.get("reasoning")),
        tool_calls=calls,
        tool_call_id=as_text(said.get("tool_call_id")) or None,
        tool_name=as_text(said.get("name")) or None,
    )


def _call(call: Mapping[str, JsonValue]) -> ToolCall:
    function = as_object(call.get("function"))
    given = function.get("arguments")
    arguments = given if isinstance(given, str) else dump_json(given or {}).decode()
    return ToolCall(as_text(call.get("id")) or None, as_text(function.get("name")), arguments)


def _image(said: JsonValue) -> Image | None:
    url = as_text(said) or as_text(as_object(said).get("url"))
    if not url:
        return None
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    try:
        return Image(kind, base64.b64decode(data, validate=True))
    except binascii.Error as error:
        raise InvalidRequestError("A picture is not base64.", "Send it as a data: URL.") from error


def _tool(said: Mapping[str, JsonValue]) -> Tool:
    function = as_object(said.get("function"))
    return Tool(
        as_text(function.get("name")),
        as_text(function.get("description")),
        as_object(function.get("parameters")),
    )


def _tool_choice(said: JsonValue) -> ToolChoice | None:
    name = as_text(as_object(as_object(said).get("function")).get("name"))
    if name:
        return ForcedTool(name)
    return ToolMode(said) if isinstance(said, str) and said in set(ToolMode) else None


def _output(said: Mapping[str, JsonValue]) -> JsonOutput | None:
    if said.get("type") not in ("json_object", "json_schema"):
        return None
    wanted = as_object(said.get("json_schema"))
    schema = as_object(wanted.get("schema")) or as_object(said.get("schema"))
    return JsonOutput(schema or None, as_text(wanted.get("name")) or "answer")


def _options(document: Mapping[str, JsonValue]) -> SamplingOptions:
    given = {name: value for name in _SAMPLING if (value := document.get(name)) is not None}
    if (limit := document.get("max_completion_tokens")) is not None:
        given["max_tokens"] = limit
    # -1 is llama-server's word for no limit.
    if given.get("max_tokens") == -1:
        del given["max_tokens"]
    stop = document.get("stop")
    stops = [stop] if isinstance(stop, str) else as_list(stop)
    thinking = as_object(document.get("chat_template_kwargs")).get("enable_thinking")
    return SamplingOptions(
        **given,  # type: ignore[arg-type]  # of the allowed kinds: the face checked each field
        stop=tuple(text for text in stops if isinstance(text, str)),
        thinking=thinking if isinstance(thinking, bool) else None,
        effort=_effort(as_text(document.get("reasoning_effort"))),
    )


def _effort(said: str) -> Effort | None:
    return _EFFORTS.get(said) or (Effort(said) if said in set(Effort) else None)
