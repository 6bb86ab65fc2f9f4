"""ChatGPT's `conversations.json`: a tree of messages, and the leaf where the talk ended."""

from collections.abc import Iterable, Iterator
from typing import Final

from llama_runner.backends.request import Role
from llama_runner.chat.history_values import KeptConversation, KeptTurn
from llama_runner.chat.importing_parts import (
    TOOLS,
    Object,
    Remarks,
    kept_from,
    leaf_of,
    list_of,
    moment_of,
    object_of,
    role_of,
    text_of,
    upwards,
)
from llama_runner.core.jsonio import JsonValue

NAME: Final = "ChatGPT"


def fits(found: Object) -> bool:
    """Whether it looks like one of these."""
    return isinstance(found.get("mapping"), dict)


def _parent(node: Object) -> JsonValue:
    return node.get("parent")


def read(found: Object, remarks: Remarks) -> KeptConversation:
    """The conversation. Raises Unusable."""
    nodes = object_of(found.get("mapping"))
    path = upwards(nodes, leaf_of(nodes, found.get("current_node"), _parent), _parent, remarks)
    messages = [message for node in path if (message := object_of(node.get("message")))]
    return kept_from(
        NAME,
        text_of(found.get("conversation_id")) or text_of(found.get("id")),
        text_of(found.get("title")),
        _turns(messages, remarks),
        remarks,
        created=moment_of(found.get("create_time")),
        updated=moment_of(found.get("update_time")),
    )


def _turns(messages: Iterable[Object], remarks: Remarks) -> Iterator[KeptTurn]:
    for message in messages:
        metadata = object_of(message.get("metadata"))
        role = role_of(object_of(message.get("author")).get("role"))
        text, thought, images = _content(object_of(message.get("content")))
        if not text and not thought and not images:
            continue
        hidden = metadata.get("is_visually_hidden_from_conversation") is True
        if role is None or hidden or message.get("recipient") not in (None, "all"):
            remarks.add(TOOLS)
            continue
        model = text_of(metadata.get("model_slug")) if role is Role.ASSISTANT else ""
        at = moment_of(message.get("create_time"))
        yield KeptTurn(role, text, at, thought, label=model, model_id=model, images=images)


def _content(content: Object) -> tuple[str, str, int]:
    """Text, reasoning and the number of images of one message."""
    if content.get("content_type") == "thoughts":
        thoughts = [text_of(object_of(one).get("content")) for one in list_of(content.get("thoughts"))]
        return "", "\n\n".join(filter(None, thoughts)), 0
    parts = list_of(content.get("parts"))
    texts = [part if isinstance(part, str) else text_of(object_of(part).get("text")) for part in parts]
    images = sum("asset_pointer" in object_of(part) for part in parts)
    return "\n\n".join(filter(None, (*texts, text_of(content.get("text"))))), "", images
