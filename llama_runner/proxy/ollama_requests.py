"""Requests of Ollama's dialect as llama-server takes them (conversions: docs of both, Ollama's types.go)."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from llama_runner.backends.encoding import OpenCalls
from llama_runner.backends.values import as_text
from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy import fields, infill
from llama_runner.proxy.host import OfferedModel
from llama_runner.proxy.media import data_url, refuse_unseen
from llama_runner.proxy.schemas import bounded

# Names that both sides share; the rest of `options` is for loading, or unknown, and has no effect here.
_SAME: Final = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "seed",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
)
_LEVELS: Final = {"low": "low", "medium": "medium", "high": "high", "max": "high"}


def chat_body(document: Mapping[str, JsonValue], model: OfferedModel) -> dict[str, JsonValue]:
    """`/api/chat` as `/v1/chat/completions`. Raises InvalidRequestError."""
    messages = _list(document.get("messages"), "messages")
    body: dict[str, JsonValue] = {"messages": _messages(messages, model)}
    tools = document.get("tools")
    if tools:
        if "tools" not in model.capabilities:
            raise InvalidRequestError(
                f"registry.ollama.ai/library/{model.id}:latest does not support tools",
                "Use a model whose template knows tools.",
            )
        body |= fields.allowed({"tools": tools}, fields.CHAT)
    return body | common_body(document, model)


def generate_body(document: Mapping[str, JsonValue], model: OfferedModel) -> dict[str, JsonValue]:
    """`/api/generate` with a template as a chat of one or two messages."""
    system = _text(document.get("system"), "system")
    user: dict[str, JsonValue] = {"role": "user", "content": _text(document.get("prompt"), "prompt")}
    if images := document.get("images"):
        user["images"] = images
    messages: list[JsonValue] = [{"role": "system", "content": system}] if system else []
    return {"messages": _messages([*messages, user], model)} | common_body(document, model)


def raw_body(document: Mapping[str, JsonValue], model: OfferedModel) -> dict[str, JsonValue]:
    """`/api/generate` with `raw`: the prompt as it is, no template."""
    body = common_body(document, model, thinking=False)
    if "logprobs" in body:
        # Here one number says both.
        body["logprobs"] = body.pop("top_logprobs")
    return {"prompt": _text(document.get("prompt"), "prompt")} | body


def suffix_body(document: Mapping[str, JsonValue], model: OfferedModel) -> dict[str, JsonValue]:
    """`/api/generate` with a suffix: what stands between the two."""
    suffix = _text(document.get("suffix"), "suffix")
    return infill.infill_body(document.get("prompt"), suffix, sampling(document.get("options")))


def common_body(
    document: Mapping[str, JsonValue], model: OfferedModel, *, thinking: bool = True
) -> dict[str, JsonValue]:
    """Options, format, thinking, log probabilities."""
    body = sampling(document.get("options"))
    if (wanted := _format(document.get("format"))) is not None:
        body["response_format"] = wanted
    if thinking:
        body |= _thinking(document.get("think"), model)
    if document.get("logprobs") is True:
        asked: dict[str, JsonValue] = {"logprobs": True, "top_logprobs": document.get("top_logprobs")}
        body |= fields.allowed(asked, fields.CHAT)
        # Asked for no others, the engine says nothing of the token itself either.
        body["top_logprobs"] = body.get("top_logprobs") or 1
    return body


def sampling(options: JsonValue) -> dict[str, JsonValue]:
    """Ollama's `options` under llama-server's names, within its bounds. Raises InvalidRequestError."""
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise InvalidRequestError("options must be an object.", "Correct the request.")
    found: dict[str, JsonValue] = {name: options[name] for name in _SAME if options.get(name) is not None}
    stop = options.get("stop")
    if stop:
        found["stop"] = stop
    limit = options.get("num_predict")
    # -1 means no limit and -2 "fill the context"; llama-server has no word for the second.
    if isinstance(limit, int | float) and not isinstance(limit, bool) and limit >= 0:
        found["max_tokens"] = int(limit)
    last = options.get("repeat_last_n")
    if isinstance(last, int | float) and not isinstance(last, bool) and last >= 0:
        found["repeat_last_n"] = int(last)
    return fields.allowed(found, fields.CHAT)


def embed_body(document: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """`/api/embed` as `/v1/embeddings`."""
    given = document.get("input")
    texts: JsonValue = [given] if isinstance(given, str) else given or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError("invalid input type", "Give a text or a list of texts.")
    return fields.allowed({"input": texts, "encoding_format": "float"}, fields.EMBEDDINGS)


def _messages(messages: Sequence[JsonValue], model: OfferedModel) -> list[JsonValue]:
    converted: list[JsonValue] = []
    open_calls = OpenCalls()
    for message in messages:
        if not isinstance(message, dict):
            raise InvalidRequestError("A message is not an object.", "Correct the request.")
        if message.get("images"):
            refuse_unseen(model)
        converted.append(_message(message, open_calls, len(converted)))
    return converted


def _message(message: Mapping[str, JsonValue], open_calls: OpenCalls, number: int) -> dict[str, JsonValue]:
    role = _text(message.get("role"), "role").lower()
    content = _text(message.get("content"), "content")
    turned: dict[str, JsonValue] = {"role": role, "content": content}
    if images := message.get("images"):
        turned["content"] = _parts(content, _list(images, "images"))
    if role == "assistant":
        if thinking := _text(message.get("thinking"), "thinking"):
            turned["reasoning_content"] = thinking
        if calls := message.get("tool_calls"):
            turned["tool_calls"] = _calls(_list(calls, "tool_calls"), open_calls, number)
    elif role == "tool":
        turned["tool_call_id"] = _answered_call(message, open_calls)
    return turned


def _parts(text: str, images: Sequence[JsonValue]) -> list[JsonValue]:
    parts: list[JsonValue] = [{"type": "text", "text": text}] if text else []
    for image in images:
        if not isinstance(image, str):
            raise InvalidRequestError("invalid image input", "Give pictures base64 encoded.")
        parts.append({"type": "image_url", "image_url": {"url": data_url(image)}})
    return parts


def _calls(calls: Sequence[JsonValue], open_calls: OpenCalls, number: int) -> list[JsonValue]:
    turned: list[JsonValue] = []
    for place, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict):
            raise InvalidRequestError("A tool call has no function.", "Correct the request.")
        name = _text(function.get("name"), "function name")
        given_id = call.get("id")
        call_id = given_id if isinstance(given_id, str) and given_id else f"call_{number}_{place}"
        open_calls.add(call_id, name)
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
        turned.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": text}})
    return turned


def _answered_call(message: Mapping[str, JsonValue], open_calls: OpenCalls) -> str:
    given = message.get("tool_call_id")
    if given is not None:
        open_calls.take(as_text(given), None)
        return given if isinstance(given, str) else "call_0"
    name = as_text(message.get("tool_name") or message.get("name"))
    # A name that nobody called is a slip: the oldest call is meant.
    found = open_calls.take(None, name or None) or open_calls.take(None, None)
    return "call_0" if found is None else found[0]


def _format(wanted: JsonValue) -> JsonValue:
    if wanted in (None, ""):
        return None
    if wanted == "json":
        return {"type": "json_object"}
    if isinstance(wanted, dict):
        return {"type": "json_schema", "json_schema": {"name": "schema", "schema": bounded(wanted)}}
    raise InvalidRequestError(f"invalid format: {wanted!s:.40}", 'Give "json" or a JSON schema.')


def _thinking(think: JsonValue, model: OfferedModel) -> dict[str, JsonValue]:
    if think is None or think is False:
        off: dict[str, JsonValue] = {"chat_template_kwargs": {"enable_thinking": False}}
        return off if think is False else {}
    if not isinstance(think, bool) and (not isinstance(think, str) or think not in _LEVELS):
        raise InvalidRequestError(
            f'invalid think value: "{think!s:.40}" (must be "high", "medium", "low", "max", true, or false)'
        )
    if "thinking" not in model.capabilities:
        raise InvalidRequestError(f'"{model.id}" does not support thinking', "Leave think out.")
    body: dict[str, JsonValue] = {"chat_template_kwargs": {"enable_thinking": True}}
    if isinstance(think, str):
        body["reasoning_effort"] = _LEVELS[think]
    return body


def _text(value: JsonValue, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequestError(f"{name} must be a text.", "Correct the request.")
    return value


def _list(value: JsonValue, name: str) -> list[JsonValue]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequestError(f"{name} must be a list.", "Correct the request.")
    return value
