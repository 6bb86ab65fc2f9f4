"""Anthropic's Messages said as an OpenAI chat, for servers that have no such path. Pure.

Source: platform.claude.com/docs/en/api/messages and .../agents-and-tools/tool-use.
"""

from collections.abc import Mapping
from typing import Final

from llama_runner.backends.values import as_object, as_text, content_text
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.proxy.in_chat import (
    InChat,
    call,
    content,
    function,
    objects,
    picture_part,
    split_pictures,
    text_part,
    unsayable,
)

_SAME: Final = ("max_tokens", "temperature", "top_p", "top_k")
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
# Thoughts that only the service itself can read again.
_UNREADABLE: Final = "redacted_thinking"


def messages_in_chat(document: Mapping[str, JsonValue]) -> InChat:
    """The request. Raises InvalidRequestError for content that a chat has no room for."""
    said = InChat()
    for name in _SAME:
        said.put(name, document.get(name))
    said.put("stop", document.get("stop_sequences"))
    said.put("messages", _messages(document, said))
    _put_tools(document, said)
    _put_thinking(as_object(document.get("thinking")), said)
    _put_form(as_object(document.get("output_config")), said)
    return said


def _messages(document: Mapping[str, JsonValue], said: InChat) -> list[JsonValue]:
    turns: list[JsonValue] = []
    if system := _system(document.get("system")):
        turns.append({"role": "system", "content": system})
    for turn in objects(document.get("messages")):
        given = turn.get("content")
        if isinstance(given, str):
            turns.append({"role": as_text(turn.get("role")), "content": given})
        elif turn.get("role") == "assistant":
            turns.append(_answer(objects(given), said))
        else:
            turns += _question(as_text(turn.get("role")) or "user", objects(given))
    return turns


def _system(given: JsonValue) -> str:
    return given if isinstance(given, str) else "\n\n".join(as_text(b.get("text")) for b in objects(given))


def _answer(blocks: list[Mapping[str, JsonValue]], said: InChat) -> JsonValue:
    """What the model said: thoughts, texts and calls, each in its place."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[JsonValue] = []
    for block in blocks:
        match block.get("type"):
            case "text":
                texts.append(as_text(block.get("text")))
            case "thinking":
                thoughts.append(as_text(block.get("thinking")))
            case "tool_use":
                arguments = dump_json(dict(as_object(block.get("input")))).decode()
                calls.append(call(block.get("id"), block.get("name"), arguments))
            case kind:
                said.leave_out(as_text(kind) if kind != _UNREADABLE else "thinking")
    turn: dict[str, JsonValue] = {"role": "assistant", "content": "".join(texts)}
    if thoughts:
        turn["reasoning_content"] = "".join(thoughts)
    if calls:
        turn["tool_calls"] = calls
    return turn


def _question(role: str, blocks: list[Mapping[str, JsonValue]]) -> list[JsonValue]:
    """What the model was told: results of its calls first, each a turn of its own."""
    results: list[JsonValue] = []
    parts: list[JsonValue] = []
    for block in blocks:
        if block.get("type") == "tool_result":
            texts, pictures = split_pictures(_parts(block.get("content")))
            answered = {"tool_call_id": block.get("tool_use_id"), "content": content(texts)}
            results.append({"role": "tool", **answered})
            parts += pictures
        else:
            parts += _part(block)
    return [*results, {"role": role, "content": content(parts)}] if parts else results


def _parts(given: JsonValue) -> list[JsonValue]:
    if isinstance(given, str):
        return [text_part(given)]
    return [part for block in objects(given) for part in _part(block)]


def _part(block: Mapping[str, JsonValue]) -> list[JsonValue]:
    source = as_object(block.get("source"))
    match block.get("type"):
        case "text":
            return [text_part(as_text(block.get("text")))]
        case "image" if source.get("type") == "base64":
            url = f"data:{as_text(source.get('media_type'))};base64,{as_text(source.get('data'))}"
            return [picture_part(url)]
        case "document" if source.get("type") == "text":
            return [text_part(as_text(source.get("data")))]
        case "document" if source.get("type") == "content":
            return _parts(source.get("content"))
        case "search_result":
            return [text_part(f"{as_text(block.get('title'))}\n{content_text(block.get('content'))}")]
        case kind:
            raise unsayable("content", kind)


def _put_tools(document: Mapping[str, JsonValue], said: InChat) -> None:
    tools: list[JsonValue] = []
    for tool in objects(document.get("tools")):
        if tool.get("type") in (None, "custom"):
            tools.append(function(tool, tool.get("input_schema")))
        else:
            # Such as Anthropic runs itself.
            said.leave_out(as_text(tool.get("name")) or "tools")
    said.put("tools", tools)
    choice = as_object(document.get("tool_choice"))
    kind = as_text(choice.get("type"))
    if kind == "tool":
        said.put("tool_choice", {"type": "function", "function": {"name": choice.get("name")}})
    elif tools:
        said.put("tool_choice", _CHOICES.get(kind))
    if choice.get("disable_parallel_tool_use") is True:
        said.put("parallel_tool_calls", False)


def _put_thinking(thinking: Mapping[str, JsonValue], said: InChat) -> None:
    if kind := as_text(thinking.get("type")):
        said.put("chat_template_kwargs", {"enable_thinking": kind != "disabled"})
    if thinking.get("budget_tokens") is not None:
        said.leave_out("budget_tokens")


def _put_form(wanted: Mapping[str, JsonValue], said: InChat) -> None:
    """What the answer is to be like: JSON of a schema, and how much is thought before it."""
    said.put("reasoning_effort", wanted.get("effort"))
    form = as_object(wanted.get("format"))
    if form.get("type") == "json_schema":
        schema = {"name": "answer", "schema": form.get("schema")}
        said.put("response_format", {"type": "json_schema", "json_schema": schema})
