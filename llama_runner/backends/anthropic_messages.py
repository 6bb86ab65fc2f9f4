"""A conversation in Anthropic's words: the system text apart, turns of blocks, calls with their results.

Source: platform.claude.com/docs/en/api/messages and .../agents-and-tools/tool-use.
"""

import re
from typing import Final

from llama_runner.backends.encoding import base64_of, paired
from llama_runner.backends.request import ChatRequest, Image, Message, Role, Tool, ToolCall
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json

Block = dict[str, JsonValue]
# Of one call; what a model wrote beyond it was cut where it was read.
MAX_ARGUMENT_BYTES: Final = 4 * 1024 * 1024
_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_BAD_ID_CHARACTERS: Final = re.compile(r"[^A-Za-z0-9_-]")


def system_text(request: ChatRequest) -> str:
    """All system turns as one text, "" without any."""
    return "\n\n".join(m.content for m in request.messages if m.role is Role.SYSTEM and m.content)


def turns(request: ChatRequest) -> list[JsonValue]:
    """The other turns; neighbours of one role become one, as all results of parallel calls have to."""
    found: list[tuple[str, list[Block]]] = []
    for message in paired(request.messages):
        if message.role is Role.SYSTEM or not (blocks := _blocks(message)):
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        if found and found[-1][0] == role:
            found[-1][1].extend(blocks)
        else:
            found.append((role, blocks))
    return [{"role": role, "content": _content(blocks)} for role, blocks in found]


def tools(offered: tuple[Tool, ...]) -> list[JsonValue]:
    """The functions that may be called."""
    # A schema without a type is refused, which is what a function without arguments often has.
    return [
        {
            "name": tool.name,
            "description": tool.description,
            "input_schema": {"type": "object", **tool.parameters},
        }
        for tool in offered
    ]


def drops_images(request: ChatRequest) -> bool:
    """Whether some of its images cannot be shown."""
    return any(_shown(message) != message.images for message in request.messages)


def has_reasoning(request: ChatRequest) -> bool:
    """Whether earlier reasoning would have to go back with the calls it led to.

    It cannot: the service takes it only with the signature that came with it, which no other dialect has.
    """
    return any(m.reasoning and m.tool_calls for m in request.messages)


def _content(blocks: list[Block]) -> JsonValue:
    """A lone text as a plain string, which every imitation understands."""
    if len(blocks) == 1 and blocks[0].get("type") == "text":
        return blocks[0]["text"]
    return list[JsonValue](blocks)


def _blocks(message: Message) -> list[Block]:
    if message.role is Role.TOOL:
        return [
            {"type": "tool_result", "tool_use_id": _id(message.tool_call_id), "content": _result(message)}
        ]
    blocks = [_image(image) for image in _shown(message)]
    # An empty text is refused, so an answer that was cut before its first word is left out as a whole.
    if message.content or (message.role is Role.USER and not blocks):
        blocks.append({"type": "text", "text": message.content})
    return blocks + [_call(call) for call in message.tool_calls]


def _result(message: Message) -> JsonValue:
    if not (images := _shown(message)):
        return message.content
    text: list[Block] = [{"type": "text", "text": message.content}] if message.content else []
    return list[JsonValue]([*text, *(_image(image) for image in images)])


def _shown(message: Message) -> tuple[Image, ...]:
    """Its images: users show them, and tools, and only those of four kinds are decoded."""
    if message.role not in (Role.USER, Role.TOOL):
        return ()
    return tuple(image for image in message.images if image.media_type in _IMAGE_TYPES)


def _image(image: Image) -> Block:
    source: Block = {"type": "base64", "media_type": image.media_type, "data": base64_of(image)}
    return {"type": "image", "source": source}


def _call(call: ToolCall) -> Block:
    return {"type": "tool_use", "id": _id(call.call_id), "name": call.name, "input": _arguments(call)}


def _arguments(call: ToolCall) -> JsonValue:
    """Only an object can be said; arguments that are none go as an empty one."""
    try:
        value = parse_json(call.arguments.encode("utf-8", "replace"), max_bytes=MAX_ARGUMENT_BYTES)
    except JsonRejected:
        return {}
    return value if isinstance(value, dict) else {}


def _id(call_id: str | None) -> str:
    """In the alphabet that is allowed."""
    return _BAD_ID_CHARACTERS.sub("_", call_id or "unknown")
