"""Catalogue T (safety 4.3), the part that a client sees: calls are text, whatever they say.

T9 (images by address) is the proxy's and the encoders'; nothing here ever runs a tool.
"""

import json
from typing import Any, Final

import pytest

from llama_runner.backends.base import Endpoint, Engine
from llama_runner.backends.events import ToolCallDelta
from llama_runner.backends.fold import MAX_NAME_CHARS, MAX_TOOL_CALLS, AnswerFold
from llama_runner.backends.registry import connect
from llama_runner.backends.request import (
    MAX_RESULT_CHARS,
    ChatRequest,
    JsonOutput,
    Message,
    Role,
    ToolCall,
    calls_in_words,
)
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from tests.unit.backends.helpers import DONE, delta, ollama, openai, sse, text

END: Final = b'{"message":{"content":""},"done":true}\n'


def call(index: Any = 0, name: Any = None, arguments: Any = None, call_id: Any = None) -> dict[str, Any]:
    return {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}


def folded(*calls: Any) -> tuple[ToolCall, ...]:
    """The calls of an answer in which each came in an event of its own."""
    events, decoder = openai(sse(*(delta(tool_calls=[one]) for one in calls)) + DONE)
    assert decoder.failure is None
    fold = AnswerFold()
    for event in events:
        fold.add(event)
    return fold.snapshot().tool_calls


def of_ollama(function: Any) -> tuple[ToolCall, ...]:
    body = json.dumps({"message": {"content": "", "tool_calls": [{"function": function}]}}).encode() + b"\n"
    fold = AnswerFold()
    for event in ollama(body + END)[0]:
        fold.add(event)
    return fold.snapshot().tool_calls


@pytest.mark.parametrize("name", ["../../x", "rm -rf /", "no_such_tool", "$(id)", "a" * 1_000_000])
def test_t1_a_name_is_text_and_cut(name: str) -> None:
    assert folded(call(name=name, arguments="{}")) == (ToolCall(None, name[:MAX_NAME_CHARS], "{}"),)
    assert of_ollama({"name": name, "arguments": {}}) == (ToolCall(None, name[:MAX_NAME_CHARS], "{}"),)


def test_t1_a_call_without_a_name_is_kept_for_what_it_says() -> None:
    assert folded(call(name="", arguments='{"a": 1}')) == (ToolCall(None, "", '{"a": 1}'),)
    assert folded(call(name="", arguments="")) == ()


@pytest.mark.parametrize(
    "fragments", [["{", "{", "{"], ['{"a"', ": 1", "}"], ['{"a": 1}', '{"b": 2}'], ["no json", ""], ["", "}"]]
)
def test_t2_fragments_are_joined_as_they_came_whether_they_make_json_or_not(fragments: list[str]) -> None:
    (found,) = folded(call(name="f"), *(call(arguments=fragment) for fragment in fragments))
    assert found.arguments == "".join(fragments)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"a": "ž"}, '{"a": "ž"}'),
        (["x", None], '["x", null]'),
        (7, "7"),
        (True, "true"),
        (0.5, "0.5"),
        (float("nan"), "null"),
        (None, ""),
    ],
    ids=repr,
)
def test_t3_arguments_that_are_no_text_become_text(arguments: Any, wanted: str) -> None:
    assert folded(call(name="f", arguments=arguments)) == (ToolCall(None, "f", wanted),)
    assert of_ollama({"name": "f", "arguments": arguments}) == (ToolCall(None, "f", wanted),)


def test_t4_calls_beyond_the_cap_are_dropped_and_the_rest_is_in_order() -> None:
    found = folded(*(call(index=number, name=f"f{number}", arguments="{}") for number in range(2_000)))
    assert [one.name for one in found] == [f"f{number}" for number in range(MAX_TOOL_CALLS)]


def test_t4_ten_thousand_calls_in_one_event_are_not_all_looked_at() -> None:
    events, decoder = openai(sse(delta(tool_calls=[call(number, "f") for number in range(10_000)])) + DONE)
    assert sum(isinstance(event, ToolCallDelta) for event in events) <= MAX_TOOL_CALLS
    assert decoder.failure is None


def test_t4_gaps_repeated_ids_and_ids_that_change_keep_calls_apart_by_index() -> None:
    found = folded(
        call(9, "b", "{}", "same"),
        call(2, "a", "{", "same"),
        call(2, None, "}", "other"),
        call(2**50, "c", "[]"),
    )
    assert found == (
        ToolCall("same", "a", "{}"),
        ToolCall("same", "b", "{}"),
        ToolCall(None, "c", "[]"),
    )


@pytest.mark.parametrize("index", [-1, "1", None, 2**70, [], 1.5], ids=repr)
def test_t4_an_index_that_cannot_be_is_the_calls_place(index: Any) -> None:
    assert folded(call(index, "f", "{}")) == (ToolCall(None, "f", "{}"),)


@pytest.mark.parametrize("word", ["__proto__", "__class__", "self", "{0.__class__}", "%s", "${x}"])
def test_t5_names_of_the_language_are_plain_data(word: str) -> None:
    said = json.dumps({word: word})
    assert folded(call(name=word, arguments=said)) == (ToolCall(None, word, said),)
    assert of_ollama({"name": word, "arguments": {word: word}}) == (ToolCall(None, word, said),)
    _, decoder = openai(sse({"error": {"message": f"about {word}", word: {}}}))
    assert word in str(decoder.failure)


def test_t6_controls_in_arguments_are_replaced_before_anyone_shows_them() -> None:
    """What is left (bidi, HTML) is text: views escape it, as everything from a model."""
    (found,) = folded(call(name="f\x1b[31m", arguments='{"a": "\x1b]0;x\x07\x9b<b>\u202e"}'))
    assert found == ToolCall(None, "f\ufffd[31m", '{"a": "\ufffd]0;x\ufffd\ufffd<b>\u202e"}')


def test_t8_a_call_that_nobody_asked_for_leaves_the_text_alone() -> None:
    events, _ = openai(
        sse(delta(content="a"), delta(tool_calls=[call(0, "f", "{}")]), delta(content="b")) + DONE
    )
    assert text(events) == "ab"
    assert [event.name for event in events if isinstance(event, ToolCallDelta)] == ["f"]


async def test_t10_a_schema_is_passed_on_untouched_and_never_evaluated() -> None:
    loop: dict[str, Any] = {
        "$ref": "#",
        "$defs": {"a": {"$ref": "#/$defs/a"}},
        "pattern": "(a+)+$",
        "enum": list(range(1000)),
    }
    request = ChatRequest("m", (Message(Role.USER, "x"),), output=JsonOutput(schema=loop))
    async with open_http() as http:
        for engine in (Engine.OPENAI, Engine.LLAMA_SERVER, Engine.OLLAMA):
            wire = connect(Endpoint("http://127.0.0.1:1", engine), http=http, clock=SystemClock()).encode(
                request
            )
            assert json.dumps(loop).encode() in wire.body


@pytest.mark.parametrize("engine", [Engine.OPENAI, Engine.OLLAMA, Engine.ANTHROPIC, Engine.LLAMA_SERVER])
async def test_t7_a_result_of_100_mb_is_cut_and_says_so(engine: Engine) -> None:
    call = ToolCall("c1", "read", "{}")
    messages = (
        Message(Role.USER, "x"),
        Message(Role.ASSISTANT, "", tool_calls=(call,)),
        Message(Role.TOOL, "a" * 100_000_000, tool_call_id="c1"),
    )
    async with open_http() as http:
        backend = connect(Endpoint("http://127.0.0.1:9", engine), http=http, clock=SystemClock())
        body = backend.encode(ChatRequest("m", messages)).body
    assert len(body) < MAX_RESULT_CHARS + 10_000
    assert b"99000000 more characters were left out" in body


def test_t8_a_call_that_nobody_offered_is_told_and_nothing_is_run() -> None:
    """T1, T5, T6: its name and arguments are text, with every control visible."""
    calls = tuple(ToolCall(None, name, '{"x":\n "\x1b[31m\u202e"}') for name in ("rm -rf\x07", "__class__"))
    said = calls_in_words(calls)
    assert said.startswith("It called rm -rf") and said.endswith("nothing was run.")
    assert not any(bad in said for bad in "\x07\x1b\u202e\n")
    assert calls_in_words(()) == ""
    assert "and 97 more" in calls_in_words(calls[:1] * 100)
    assert len(calls_in_words((ToolCall(None, "n" * 10**6, "a" * 10**6),) * 3)) < 1000
