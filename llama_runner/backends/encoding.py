"""Pieces of chat requests: what dialects share, and how OpenAI's says it. Pure; opens nothing.

Each piece is a `Part`: fields of the body, and the names of what was asked for and this dialect cannot say.
"""

import base64
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import count
from typing import Final

from llama_runner.backends.request import (
    ChatRequest,
    ForcedTool,
    Image,
    JsonOutput,
    Message,
    Role,
    SamplingOptions,
    Tool,
    ToolMode,
    cut_result,
)
from llama_runner.core.jsonio import JsonValue

# How long a model may think is no number of the sampler: each dialect has its own switches for it.
THINKING_OPTIONS: Final = ("thinking", "effort")


@dataclass(frozen=True, slots=True)
class Part:
    """Some fields of a request's body.

    Attributes:
        not_sent: Names as in `SamplingOptions`, `ChatRequest` and `Message`.
    """

    fields: Mapping[str, JsonValue] = field(default_factory=dict)
    not_sent: tuple[str, ...] = ()


def joined(*parts: Part) -> Part:
    """All of them as one; each name that was not sent once, in order."""
    together: dict[str, JsonValue] = {}
    for part in parts:
        together.update(part.fields)
    return Part(together, tuple(dict.fromkeys(name for part in parts for name in part.not_sent)))


def sampling_part(
    options: SamplingOptions, names: Mapping[str, str], *, apart: tuple[str, ...] = THINKING_OPTIONS
) -> Part:
    """The sampling options that were set.

    Args:
        names: Name of each option in the dialect; what is not there cannot be said.
        apart: Options that are said elsewhere.
    """
    asked = {
        option.name: getattr(options, option.name) for option in fields(options) if option.name not in apart
    }
    asked = {name: value for name, value in asked.items() if value is not None and value != ()}
    return Part(
        {names[name]: _plain(value) for name, value in asked.items() if name in names},
        tuple(name for name in asked if name not in names),
    )


def _plain(value: "JsonValue | tuple[str, ...]") -> JsonValue:
    return list(value) if isinstance(value, tuple) else value


def paired(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Every call with an id, every result with the id and the name of its call, and no result without end.

    A result that names no call is taken for the earliest one that has no result yet.
    """
    # Nine letters and digits: Mistral's templates take nothing else.
    new_ids = (f"call{number:05d}" for number in count(1))
    waiting = OpenCalls()
    found: list[Message] = []
    for message in messages:
        if message.tool_calls:
            calls = tuple(replace(call, call_id=call.call_id or next(new_ids)) for call in message.tool_calls)
            for call in calls:
                waiting.add(call.call_id or "", call.name)
            message = replace(message, tool_calls=calls)
        elif message.role is Role.TOOL:
            message = replace(message, content=cut_result(message.content))
            answered = waiting.take(message.tool_call_id, message.tool_name)
            if answered is not None:
                call_id, name = answered
                message = replace(message, tool_call_id=call_id, tool_name=message.tool_name or name)
        found.append(message)
    return tuple(found)


class OpenCalls:
    """Calls that no result has been given for yet, oldest first; found at once among any number (H15)."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, str] = OrderedDict()
        self._of_name: dict[str, OrderedDict[str, None]] = {}

    def add(self, call_id: str, name: str) -> None:
        """Another one; the last of those with the same id counts."""
        if call_id in self._names:
            self._remove(call_id)
        self._names[call_id] = name
        self._of_name.setdefault(name, OrderedDict())[call_id] = None

    def take(self, call_id: str | None, name: str | None) -> tuple[str, str] | None:
        """Id and name of the call that a result belongs to; None when it belongs to none.

        The one with that id, else the oldest of that name, else the oldest.
        """
        if call_id is None:
            ids: Iterable[str] = self._names if name is None else self._of_name.get(name, ())
            call_id = next(iter(ids), None)
        found = self._names.get(call_id) if call_id is not None else None
        if call_id is None or found is None:
            return None
        self._remove(call_id)
        return call_id, found

    def _remove(self, call_id: str) -> None:
        del self._of_name[self._names.pop(call_id)][call_id]


def usable_images(message: Message, types: frozenset[str] | None) -> tuple[Image, ...]:
    """Those of a message's images that can be sent: users show images, and `types` are understood."""
    if message.role is not Role.USER:
        return ()
    return tuple(image for image in message.images if types is None or image.media_type in types)


def base64_of(image: Image) -> str:
    """Its bytes as text."""
    return base64.b64encode(image.data).decode("ascii")


# --- OpenAI's dialect ---


def messages_part(
    messages: tuple[Message, ...], *, image_types: frozenset[str] | None, reasoning_keys: tuple[str, ...]
) -> Part:
    """The conversation.

    Args:
        image_types: Media types that the server decodes, None for all.
        reasoning_keys: Where it reads the reasoning that led to a tool call; empty where it reads none.
    """
    not_sent = []
    if any(message.images != usable_images(message, image_types) for message in messages):
        not_sent.append("images")
    if not reasoning_keys and any(message.reasoning and message.tool_calls for message in messages):
        not_sent.append("reasoning")
    said: list[JsonValue] = [
        _message(message, usable_images(message, image_types), reasoning_keys) for message in paired(messages)
    ]
    return Part({"messages": said}, tuple(not_sent))


def _message(
    message: Message, images: tuple[Image, ...], reasoning_keys: tuple[str, ...]
) -> dict[str, JsonValue]:
    said: dict[str, JsonValue] = {"role": str(message.role), "content": _content(message, images)}
    if message.role is Role.TOOL and message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        said["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
        if message.reasoning:
            said.update(dict.fromkeys(reasoning_keys, message.reasoning))
    return said


def _content(message: Message, images: tuple[Image, ...]) -> JsonValue:
    """A plain text, or parts where there are images: some servers take parts from no one else."""
    if not images:
        return message.content
    text: list[JsonValue] = [{"type": "text", "text": message.content}] if message.content else []
    shown: list[JsonValue] = [
        {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{base64_of(image)}"}}
        for image in images
    ]
    return text + shown


def tool_definitions(tools: tuple[Tool, ...]) -> list[JsonValue]:
    """The tools, as OpenAI and Ollama both take them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            },
        }
        for tool in tools
    ]


def tools_part(request: ChatRequest) -> Part:
    """The tools and the choice among them; a choice among none is refused by OpenAI, so it is left out."""
    if not request.tools:
        return Part()
    said: dict[str, JsonValue] = {"tools": tool_definitions(request.tools)}
    match request.tool_choice:
        case ToolMode() as mode:
            said["tool_choice"] = str(mode)
        case ForcedTool(name):
            said["tool_choice"] = {"type": "function", "function": {"name": name}}
    return Part(said)


def tools_part_in_words(request: ChatRequest) -> Part:
    """The same for servers that know only the words: a forced tool is the only one, and one is required."""
    if not isinstance(request.tool_choice, ForcedTool):
        return tools_part(request)
    wanted = request.tool_choice.name
    only = tuple(tool for tool in request.tools if tool.name == wanted)
    if not only:
        return joined(tools_part(replace(request, tool_choice=None)), Part({}, ("tool_choice",)))
    return tools_part(replace(request, tools=only, tool_choice=ToolMode.REQUIRED))


def output_part(output: JsonOutput | None) -> Part:
    """The form of the answer."""
    if output is None:
        return Part()
    if output.schema is None:
        return Part({"response_format": {"type": "json_object"}})
    wanted: dict[str, JsonValue] = {"name": output.name, "schema": dict(output.schema)}
    return Part({"response_format": {"type": "json_schema", "json_schema": wanted}})


def json_held(body: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """A body for llama-server that holds the answer to the JSON it asks for.

    It holds answers to a schema only (b10434): an object without one is asked for in words the model ignores.
    """
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_object" or wanted.get("schema"):
        return body
    return {**body, "response_format": {**wanted, "schema": {"type": "object"}}}


def effort_part(options: SamplingOptions) -> Part:
    """Thinking as OpenAI has it: levels only. Whether to think at all is the model's own business."""
    if options.effort is None or options.thinking is False:
        return Part({}, tuple(name for name in THINKING_OPTIONS if getattr(options, name) is not None))
    return Part({"reasoning_effort": str(options.effort)})


def template_part(options: SamplingOptions) -> Part:
    """Thinking as servers have it that render the model's own chat template: its variables are set.

    Most templates know `enable_thinking`, some (DeepSeek, Granite) `thinking`, gpt-oss `reasoning_effort`;
    a variable that a template does not know changes nothing.
    """
    if options.thinking is None and options.effort is None:
        return Part()
    on = options.thinking is not False
    variables: dict[str, JsonValue] = {"enable_thinking": on, "thinking": on}
    if options.effort is None or not on:
        return Part({"chat_template_kwargs": variables}, ("effort",) if options.effort is not None else ())
    level = str(options.effort)
    return Part({"chat_template_kwargs": variables | {"reasoning_effort": level}, "reasoning_effort": level})
