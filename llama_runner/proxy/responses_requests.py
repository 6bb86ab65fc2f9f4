"""OpenAI's Responses said as a chat, for servers that know only that. Pure.

Source: platform.openai.com/docs/api-reference/responses and the types of the `openai` package 3.52.
"""

from collections.abc import Mapping
from typing import Final

from llama_runner.backends.values import as_object, as_text
from llama_runner.core.jsonio import JsonValue
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

_SAME: Final = ("temperature", "top_p", "parallel_tool_calls")
_TEXTS: Final = ("input_text", "output_text", "text")


def responses_in_chat(document: Mapping[str, JsonValue]) -> InChat:
    """The request. Raises InvalidRequestError for content that a chat has no room for."""
    said = InChat()
    for name in _SAME:
        said.put(name, document.get(name))
    said.put("max_tokens", document.get("max_output_tokens"))
    said.put("messages", _messages(document, said))
    _put_tools(document, said)
    _put_reasoning(as_object(document.get("reasoning")), said)
    _put_format(as_object(document.get("text")), said)
    return said


def _messages(document: Mapping[str, JsonValue], said: InChat) -> list[JsonValue]:
    turns: list[dict[str, JsonValue]] = []
    if instructions := as_text(document.get("instructions")):
        turns.append({"role": "system", "content": instructions})
    given = document.get("input")
    if isinstance(given, str):
        turns.append({"role": "user", "content": given})
    for item in objects(given):
        _add(item, turns, said)
    return [*turns]


def _add(item: Mapping[str, JsonValue], turns: list[dict[str, JsonValue]], said: InChat) -> None:
    """One item; thoughts, words and calls of one turn, in that order, are items of their own here."""
    match item.get("type"):
        case None | "message" if item.get("role") == "assistant":
            words = content(_parts(item.get("content")))
            _turn_without(turns, "content", "tool_calls")["content"] = words
        case None | "message":
            turns.append({"role": _role(item), "content": content(_parts(item.get("content")))})
        case "reasoning":
            thoughts = [*objects(item.get("content")), *objects(item.get("summary"))]
            if text := "\n".join(as_text(one.get("text")) for one in thoughts):
                turns.append({"role": "assistant", "content": "", "reasoning_content": text})
            elif item.get("encrypted_content"):
                said.leave_out("reasoning")
        case "function_call":
            calls = _turn_without(turns).setdefault("tool_calls", [])
            assert isinstance(calls, list)
            calls.append(call(item.get("call_id"), item.get("name"), as_text(item.get("arguments"))))
        case "function_call_output":
            texts, pictures = split_pictures(_parts(item.get("output")))
            answered = {"tool_call_id": item.get("call_id"), "content": content(texts)}
            turns.append({"role": "tool", **answered})
            if pictures:
                turns.append({"role": "user", "content": pictures})
        case kind:
            raise unsayable("item", kind)


def _turn_without(turns: list[dict[str, JsonValue]], *taken: str) -> dict[str, JsonValue]:
    """The model's last turn where it has none of these yet, else a new one."""
    last = turns[-1] if turns else {}
    if last.get("role") != "assistant" or any(last.get(name) for name in taken):
        turns.append({"role": "assistant", "content": ""})
    return turns[-1]


def _role(item: Mapping[str, JsonValue]) -> str:
    role = as_text(item.get("role")) or "user"
    return "system" if role == "developer" else role


def _parts(given: JsonValue) -> list[JsonValue]:
    if isinstance(given, str):
        return [text_part(given)]
    return [_part(part) for part in objects(given)]


def _part(part: Mapping[str, JsonValue]) -> JsonValue:
    kind = part.get("type")
    if kind in _TEXTS:
        return text_part(as_text(part.get("text")))
    if kind == "refusal":
        return text_part(as_text(part.get("refusal")))
    if kind == "input_image" and (url := as_text(part.get("image_url"))):
        return picture_part(url)
    raise unsayable("content", kind)


def _put_tools(document: Mapping[str, JsonValue], said: InChat) -> None:
    tools: list[JsonValue] = []
    for tool in objects(document.get("tools")):
        if tool.get("type") == "function":
            tools.append(function(tool, tool.get("parameters")))
        else:
            # Such as OpenAI runs itself, and those whose input is free text.
            said.leave_out(as_text(tool.get("name")) or as_text(tool.get("type")) or "tools")
    said.put("tools", tools)
    choice = document.get("tool_choice")
    if isinstance(choice, str) and tools:
        said.put("tool_choice", choice)
    elif isinstance(choice, dict) and choice.get("type") == "function":
        said.put("tool_choice", {"type": "function", "function": {"name": choice.get("name")}})
    elif isinstance(choice, dict):
        said.leave_out("tool_choice")


def _put_reasoning(reasoning: Mapping[str, JsonValue], said: InChat) -> None:
    effort = as_text(reasoning.get("effort"))
    if effort == "none":
        said.put("chat_template_kwargs", {"enable_thinking": False})
    elif effort:
        said.put("reasoning_effort", effort)
    if reasoning.get("summary") is not None:
        said.leave_out("summary")


def _put_format(text: Mapping[str, JsonValue], said: InChat) -> None:
    wanted = as_object(text.get("format"))
    if wanted.get("type") == "json_object":
        said.put("response_format", {"type": "json_object"})
    elif wanted.get("type") == "json_schema":
        schema = {name: wanted[name] for name in ("name", "schema", "strict") if wanted.get(name) is not None}
        said.put("response_format", {"type": "json_schema", "json_schema": schema})
    if text.get("verbosity") is not None:
        said.leave_out("verbosity")
