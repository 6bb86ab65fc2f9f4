"""LM Studio's own chat, `/api/v1/chat`: requests as the engine takes them, its stream as LM Studio's events.

Sans-I/O, but for the answers that are remembered, in memory only, so that a next request can follow them.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from llama_runner.core.errors import InvalidRequestError, NotFoundError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy import fields
from llama_runner.proxy.host import OfferedModel
from llama_runner.proxy.media import data_url, refuse_unseen

# Conversations that can be followed: a person's last ones, and no more memory than a few pictures take.
MAX_KEPT: Final = 64
MAX_KEPT_BYTES: Final = 32 * 1024 * 1024
_SAME: Final = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty")
_REASONING: Final = ("off", "low", "medium", "high", "on")

Message = Mapping[str, JsonValue]


class Conversations:
    """What was said in answers that are remembered, the newest; forgotten when the service ends."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Message, ...]] = OrderedDict()
        self._n_bytes = 0

    def keep(self, messages: Sequence[Message]) -> str:
        """Remember a conversation; gives the id of its last answer."""
        response_id = f"resp_{secrets.token_hex(24)}"
        self._kept[response_id] = tuple(messages)
        self._n_bytes += _size(messages)
        while len(self._kept) > MAX_KEPT or (self._n_bytes > MAX_KEPT_BYTES and len(self._kept) > 1):
            _, oldest = self._kept.popitem(last=False)
            self._n_bytes -= _size(oldest)
        return response_id

    def before(self, response_id: JsonValue) -> tuple[Message, ...]:
        """What was said up to an answer; nothing for None.

        Raises:
            InvalidRequestError: It is no text.
            NotFoundError: It is not remembered, or not any more.
        """
        if response_id is None:
            return ()
        if not isinstance(response_id, str):
            raise InvalidRequestError("previous_response_id must be a text.", "Correct the request.")
        found = self._kept.get(response_id)
        if found is None:
            raise NotFoundError("There is no such previous response.", "Send the conversation again.")
        return found


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request as the engine takes it.

    Attributes:
        remember: Called with the answer's text; gives the id of the answer, None when it is not to be kept.
    """

    body: Mapping[str, JsonValue] = field(repr=False)
    remember: Callable[[str], str | None]


def chat_request(
    document: Mapping[str, JsonValue], model: OfferedModel, conversations: Conversations
) -> ChatRequest:
    """The conversation and the sampling. Raises InvalidRequestError or NotFoundError."""
    if document.get("integrations"):
        raise InvalidRequestError("Plugins and MCP servers are not run here.", "Leave integrations out.")
    messages = [*conversations.before(document.get("previous_response_id"))]
    system = document.get("system_prompt")
    if isinstance(system, str) and system and not messages:
        messages.append({"role": "system", "content": system})
    messages.append({"role": "user", "content": _content(document.get("input"), model)})
    if len(messages) > 2 and _size(messages) > MAX_KEPT_BYTES:
        # Each answer would be kept with all before it, ever longer.
        raise InvalidRequestError("The conversation has become too long.", "Begin a new one.")
    told: list[JsonValue] = [dict(message) for message in messages]
    body: dict[str, JsonValue] = {"messages": told, **_sampling(document), **_thinking(document, model)}
    stored = document.get("store") is not False

    def remember(answer: str) -> str | None:
        return conversations.keep([*messages, {"role": "assistant", "content": answer}]) if stored else None

    return ChatRequest(body, remember)


def _sampling(document: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    wanted = {name: document.get(name) for name in _SAME}
    return fields.allowed({**wanted, "max_tokens": document.get("max_output_tokens")}, fields.CHAT)


def _thinking(document: Mapping[str, JsonValue], model: OfferedModel) -> dict[str, JsonValue]:
    wanted = document.get("reasoning")
    if wanted is None:
        return {}
    if wanted not in _REASONING:
        raise InvalidRequestError(
            f"reasoning must be one of {', '.join(_REASONING)}.", "Correct the request."
        )
    if wanted != "off" and "thinking" not in model.capabilities:
        raise InvalidRequestError(f"{model.id} does not support reasoning.", "Leave reasoning out.")
    body: dict[str, JsonValue] = {"chat_template_kwargs": {"enable_thinking": wanted != "off"}}
    if wanted not in ("on", "off"):
        body["reasoning_effort"] = wanted
    return body


def _content(given: JsonValue, model: OfferedModel) -> JsonValue:
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise InvalidRequestError("input must be a text or a list of items.", "Correct the request.")
    return [_part(item, model) for item in given]


def _part(item: JsonValue, model: OfferedModel) -> JsonValue:
    kind = item.get("type") if isinstance(item, dict) else None
    if isinstance(item, dict) and kind in ("message", "text"):
        text = item.get("content")
        if isinstance(text, str):
            return {"type": "text", "text": text}
    elif isinstance(item, dict) and kind == "image":
        url = item.get("data_url")
        if isinstance(url, str) and url.startswith("data:"):
            refuse_unseen(model)
            return {"type": "image_url", "image_url": {"url": data_url(url)}}
    raise InvalidRequestError(
        "An item of input is neither a message with content nor an image with a data_url.",
        "Correct the request.",
    )


def _size(messages: Sequence[Message]) -> int:
    """Characters of a conversation, pictures included."""
    return sum(len(str(message.get("content"))) for message in messages)
