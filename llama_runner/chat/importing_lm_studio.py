"""LM Studio's `….conversation.json`: a list of messages, each with its versions."""

from collections.abc import Iterable, Iterator
from typing import Final

from llama_runner.chat.history_values import KeptConversation, KeptTurn
from llama_runner.chat.importing_parts import (
    TOOLS,
    Object,
    Remarks,
    kept_from,
    list_of,
    moment_of,
    object_of,
    role_of,
    text_of,
)
from llama_runner.core.jsonio import JsonValue

NAME: Final = "LM Studio"
_SYSTEM_PROMPT_KEY: Final = "llm.prediction.systemPrompt"


def fits(found: Object) -> bool:
    """Whether it looks like one of these."""
    messages = found.get("messages")
    return isinstance(messages, list) and any("versions" in object_of(one) for one in messages)


def read(found: Object, remarks: Remarks) -> KeptConversation:
    """The conversation. Raises Unusable."""
    created = moment_of(found.get("createdAt"))
    return kept_from(
        NAME,
        "",
        text_of(found.get("name")),
        _turns(list_of(found.get("messages")), remarks),
        remarks,
        created=created,
        updated=moment_of(found.get("assistantLastMessagedAt")) or moment_of(found.get("userLastMessagedAt")),
        system_prompt=text_of(found.get("systemPrompt")) or _configured_prompt(found),
    )


def _configured_prompt(found: Object) -> str:
    fields = list_of(object_of(found.get("perChatPredictionConfig")).get("fields"))
    values = (object_of(one) for one in fields)
    return next((text_of(one.get("value")) for one in values if one.get("key") == _SYSTEM_PROMPT_KEY), "")


def _turns(messages: Iterable[JsonValue], remarks: Remarks) -> Iterator[KeptTurn]:
    for message in map(object_of, messages):
        versions = list_of(message.get("versions"))
        selected = message.get("currentlySelected")
        number = selected if isinstance(selected, int) and 0 <= selected < len(versions) else -1
        version = object_of(versions[number]) if versions else {}
        role = role_of(version.get("role"))
        if role is None:
            remarks.add(TOOLS)
            continue
        text, thought, images = _content(version)
        model = text_of(object_of(version.get("senderInfo")).get("senderName"))
        yield KeptTurn(role, text, None, thought, label=model, model_id=model, images=images)


def _content(version: Object) -> tuple[str, str, int]:
    """Text, reasoning and the number of images of one version of a message."""
    texts: list[str] = []
    thoughts: list[str] = []
    images = 0
    blocks = [object_of(step) for step in list_of(version.get("steps"))] or [version]
    for block in blocks:
        thinks = text_of(object_of(block.get("style")).get("type")) == "thinking"
        for part in map(object_of, list_of(block.get("content"))):
            (thoughts if thinks else texts).append(text_of(part.get("text")))
            images += part.get("type") == "file" and part.get("fileType") == "image"
    return "\n\n".join(filter(None, texts)), "\n\n".join(filter(None, thoughts)), images
