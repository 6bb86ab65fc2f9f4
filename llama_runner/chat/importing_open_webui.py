"""Open WebUI's export of one chat or of all: a tree of messages under `history`."""

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

NAME: Final = "Open WebUI"


def _chat(found: Object) -> Object:
    """The talk itself: wrapped with its owner in an export of all, bare in other versions."""
    return object_of(found.get("chat")) or found


def fits(found: Object) -> bool:
    """Whether it looks like one of these."""
    return isinstance(object_of(_chat(found).get("history")).get("messages"), dict)


def _parent_id(node: Object) -> JsonValue:
    return node.get("parentId")


def read(found: Object, remarks: Remarks) -> KeptConversation:
    """The conversation. Raises Unusable."""
    chat = _chat(found)
    history = object_of(chat.get("history"))
    nodes = object_of(history.get("messages"))
    path = upwards(nodes, leaf_of(nodes, history.get("currentId"), _parent_id), _parent_id, remarks)
    return kept_from(
        NAME,
        text_of(found.get("id")) or text_of(chat.get("id")),
        text_of(found.get("title")) or text_of(chat.get("title")),
        _turns(path, remarks),
        remarks,
        created=moment_of(found.get("created_at")) or moment_of(chat.get("timestamp")),
        updated=moment_of(found.get("updated_at")),
        system_prompt=text_of(chat.get("system")) or text_of(object_of(chat.get("params")).get("system")),
    )


def _turns(messages: Iterable[Object], remarks: Remarks) -> Iterator[KeptTurn]:
    for message in messages:
        role = role_of(message.get("role"))
        if role is None:
            remarks.add(TOOLS)
            continue
        model = text_of(message.get("model")) if role is Role.ASSISTANT else ""
        label = text_of(message.get("modelName")) or model
        images = sum(object_of(file).get("type") == "image" for file in list_of(message.get("files")))
        yield KeptTurn(
            role,
            text_of(message.get("content")),
            moment_of(message.get("timestamp")),
            label=label if model else "",
            model_id=model,
            images=images,
        )
