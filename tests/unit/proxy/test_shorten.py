"""Conversations that are too long: what is left out, and what never is."""

import json

from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy.shorten import BLIND_SHARE, PROMPT_SHARE, Conversation, share_that_fits


def said(role: str, text: str) -> JsonValue:
    return {"role": role, "content": text}


def texts(conversation: Conversation | None) -> list[str]:
    assert conversation is not None
    messages = conversation.body["messages"]
    assert isinstance(messages, list)
    return [str(message["content"]) for message in messages if isinstance(message, dict)]


def chat(*messages: JsonValue) -> Conversation:
    return Conversation({"model": "m", "messages": list(messages)})


def test_the_oldest_go_the_system_message_and_the_last_one_stay() -> None:
    long = "x" * 1000
    turns = [said(role, f"{role} {n} {long}") for n in range(4) for role in ("user", "assistant")]
    found = chat(said("system", "be brief"), *turns, said("user", "and now?")).shortened(0.52)
    assert [text[:12].strip() for text in texts(found)] == [
        "be brief",
        "user 2 xxxxx",
        "assistant 2",
        "user 3 xxxxx",
        "assistant 3",
        "and now?",
    ]
    assert found is not None
    assert found.body["model"] == "m"
    assert found.left_out == 4
    assert found.told().startswith("the 4 oldest messages were left out")


def test_what_a_tool_said_goes_with_its_call() -> None:
    call: JsonValue = {"role": "assistant", "content": "", "tool_calls": [{"id": "x" * 900}]}
    found = chat(call, said("tool", "1"), said("tool", "2"), said("user", "so?")).shortened(0.9)
    assert texts(found) == ["so?"]


def test_the_last_message_alone_is_not_shortened() -> None:
    assert chat(said("system", "x" * 99), said("user", "x" * 999)).shortened(0.1) is None
    assert Conversation({"prompt": "x"}).shortened(0.1) is None


def test_what_was_left_out_before_counts() -> None:
    once = chat(said("user", "a" * 99), said("user", "b" * 99), said("user", "c")).shortened(0.9)
    assert once is not None
    twice = once.shortened(0.5)
    assert twice is not None
    assert (once.left_out, twice.left_out) == (1, 2)
    assert once.told() == "the oldest message was left out: the conversation does not fit the context"


def test_the_engine_says_how_much_fits() -> None:
    told = {"error": {"n_prompt_tokens": 3000, "n_ctx": 1000, "type": "exceed_context_size_error"}}
    assert share_that_fits(json.dumps(told).encode()) == PROMPT_SHARE / 3
    for odd in (b"", b"[]", b'{"error": "x"}', b'{"error": {"n_ctx": 0, "n_prompt_tokens": 1}}'):
        assert share_that_fits(odd) == BLIND_SHARE
