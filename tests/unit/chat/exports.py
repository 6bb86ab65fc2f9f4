"""Exports as other programs write them, made small or large."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

BASE_S: Final = 1_700_000_000.5


def chatgpt_node(name: str, parent: str | None, role: str, text: str, **more: Any) -> dict[str, Any]:
    """One node of a tree."""
    message = {
        "id": name,
        "author": {"role": role, "name": None},
        "create_time": BASE_S,
        "content": {"content_type": "text", "parts": [text]},
        "metadata": {"model_slug": "gpt-4o"} if role == "assistant" else {},
        "recipient": "all",
        "weight": 1.0,
    }
    return {"id": name, "message": message | more, "parent": parent, "children": []}


def chatgpt(number: int, messages: int, text: str = "Some words and a comma, here.") -> dict[str, Any]:
    """A conversation of so many messages in a row."""
    nodes: dict[str, Any] = {"root": {"id": "root", "message": None, "parent": None, "children": []}}
    parent = "root"
    for index in range(messages):
        name = f"n{index}"
        nodes[name] = chatgpt_node(name, parent, ("user", "assistant")[index % 2], f"{text} {number}.{index}")
        parent = name
    return {
        "title": f"Talk {number}",
        "create_time": BASE_S + number,
        "update_time": BASE_S + number + 60,
        "mapping": nodes,
        "moderation_results": [],
        "current_node": parent,
        "conversation_id": f"conv-{number}",
    }


def write_array(path: Path, conversations: Iterator[dict[str, Any]]) -> Path:
    """An export of all, written piece by piece."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, one in enumerate(conversations):
            file.write(("" if number == 0 else ", ") + json.dumps(one))
        file.write("]")
    return path


def open_webui() -> dict[str, Any]:
    """A chat with a message that was answered twice; the second answer was gone on with."""
    return {
        "id": "7f1d-abc",
        "user_id": "u",
        "title": "Webui talk",
        "chat": {
            "id": "",
            "title": "Webui talk",
            "models": ["llama3:8b"],
            "params": {"system": "Be brief."},
            "history": {
                "messages": {
                    "a": {"id": "a", "parentId": None, "childrenIds": ["b", "c"], "role": "user",
                          "content": "Hi", "timestamp": 1_700_000_000,
                          "files": [{"type": "image", "url": "data:"}]},
                    "b": {"id": "b", "parentId": "a", "childrenIds": [], "role": "assistant",
                          "content": "Dropped answer", "model": "llama3:8b", "timestamp": 1_700_000_001},
                    "c": {"id": "c", "parentId": "a", "childrenIds": [], "role": "assistant",
                          "content": "Hello!",
                          "model": "llama3:8b", "modelName": "Llama 3", "timestamp": 1_700_000_002},
                },
                "currentId": "c",
            },
            "messages": [],
            "timestamp": 1_700_000_000_000,
        },
        "updated_at": 1_700_000_060,
        "created_at": 1_700_000_000,
    }  # fmt: skip


def lm_studio() -> dict[str, Any]:
    """A conversation with a thinking model, the second version of its answer chosen."""
    return {
        "name": "Studio talk",
        "pinned": False,
        "createdAt": 1_730_000_000_000,
        "systemPrompt": "",
        "perChatPredictionConfig": {
            "fields": [{"key": "llm.prediction.systemPrompt", "value": "Be kind."}]
        },
        "messages": [
            {
                "versions": [
                    {"type": "singleStep", "role": "user",
                     "content": [{"type": "text", "text": "Why?"}, {"type": "file", "fileType": "image"}]}
                ],
                "currentlySelected": 0,
            },
            {
                "versions": [
                    {"type": "multiStep", "role": "assistant", "senderInfo": {"senderName": "qwen3-8b"},
                     "steps": [{"type": "contentBlock", "content": [{"type": "text", "text": "First try"}]}]},
                    {"type": "multiStep", "role": "assistant", "senderInfo": {"senderName": "qwen3-8b"},
                     "steps": [
                         {"type": "contentBlock", "style": {"type": "thinking", "ended": True},
                          "content": [{"type": "text", "text": "Hm."}]},
                         {"type": "contentBlock", "content": [{"type": "text", "text": "Because."}]},
                         {"type": "debugInfoBlock", "debugInfo": "x"},
                     ]},
                ],
                "currentlySelected": 1,
            },
        ],
    }  # fmt: skip
