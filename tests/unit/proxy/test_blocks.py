"""A chat's stream told in blocks, however its bytes are cut."""

import json
from typing import Any

import pytest

from llama_runner.backends.fold import MAX_NAME_CHARS, MAX_TOOL_CALLS
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ProtocolError, TruncatedError
from llama_runner.proxy.messages_answers import MessagesWriter
from llama_runner.proxy.openai_errors import error_document
from llama_runner.proxy.responses_answers import ResponsesThrough, ResponsesWriter


def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def call(index: int, arguments: str, name: str | None = None) -> bytes:
    function: dict[str, Any] = {"arguments": arguments} | ({"name": name} if name else {})
    more: dict[str, Any] = {"id": f"c{index}", "type": "function"} if name else {}
    return chunk({"tool_calls": [{"index": index, **more, "function": function}]})


USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 5},
}
END = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\ndata: [DONE]\n\n"
STREAM = (
    chunk({"role": "assistant", "content": None})
    + chunk({"reasoning_content": "Hm."})
    + chunk({"content": "Look: "})
    + chunk({"content": "é"})
    + call(0, "", "f")
    + call(0, '{"a"')
    + call(0, ": 1}")
    + call(1, "{}", "g")
    + chunk({}, "tool_calls")
    + END
)


def written(writer: MessagesWriter | ResponsesWriter, stream: bytes, size: int) -> bytes:
    pieces = (stream[at : at + size] for at in range(0, len(stream), size))
    return b"".join(map(writer.feed, pieces)) + writer.end()


def messages(*, streamed: bool) -> MessagesWriter:
    return MessagesWriter("m", streamed=streamed, clock=SystemClock())


def responses(*, streamed: bool) -> ResponsesWriter:
    return ResponsesWriter("m", {"temperature": 0.5}, streamed=streamed, clock=SystemClock())


def documents(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in stream.decode().splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_message_is_the_same_however_its_stream_is_cut(size: int) -> None:
    message = json.loads(written(messages(streamed=False), STREAM, size))
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "Look: é"},
        {"type": "tool_use", "id": "c0", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "c1", "name": "g", "input": {}},
    ]
    # What was read from the cache is counted apart.
    assert message["usage"] == {"input_tokens": 4, "cache_read_input_tokens": 5, "output_tokens": 4}
    events = documents(written(messages(streamed=True), STREAM, size))
    assert [one["index"] for one in events if one["type"] == "content_block_stop"] == [0, 1, 2, 3]
    assert events[-2]["usage"] == message["usage"]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_response_is_the_same_however_its_stream_is_cut(size: int) -> None:
    response = json.loads(written(responses(streamed=False), STREAM, size))
    kinds = [item["type"] for item in response["output"]]
    assert kinds == ["reasoning", "message", "function_call", "function_call"]
    assert [item["call_id"] for item in response["output"][2:]] == ["c0", "c1"]
    assert (response["output"][2]["arguments"], response["temperature"]) == ('{"a": 1}', 0.5)
    assert response["usage"]["input_tokens_details"]["cached_tokens"] == 5
    events = documents(written(responses(streamed=True), STREAM, size))
    assert [one["item"]["type"] for one in events if one["type"] == "response.output_item.done"] == kinds
    last = events[-1]["response"]
    assert [one["type"] for one in last["output"]] == kinds and last["status"] == "completed"


def test_an_answer_without_a_word_is_an_answer() -> None:
    empty = chunk({}, "stop") + END
    assert json.loads(written(messages(streamed=False), empty, 50))["content"] == []
    kinds = [one["type"] for one in documents(written(messages(streamed=True), empty, 50))]
    assert kinds == ["message_start", "message_delta", "message_stop"]
    assert json.loads(written(responses(streamed=False), empty, 50))["output"] == []


def test_arguments_that_are_no_object_are_kept_as_text() -> None:
    stream = call(0, "[1", "f") + chunk({}, "tool_calls") + END
    (block,) = json.loads(written(messages(streamed=False), stream, 50))["content"]
    assert block["input"] == {"arguments": "[1"}


def test_text_that_turns_out_to_be_thought_is_told_as_thought() -> None:
    """A template that opens the tag itself: only the closing one is seen."""
    stream = chunk({"content": "Hm."}) + chunk({"content": "</think>Yes."}) + chunk({}, "stop") + END
    content = json.loads(written(messages(streamed=False), stream, 10_000))["content"]
    assert [(block["type"], block.get("text") or block.get("thinking")) for block in content] == [
        ("thinking", "Hm."),
        ("text", "Yes."),
    ]


def test_calls_whose_pieces_are_mixed_are_refused() -> None:
    """A block that has ended cannot grow; half of a call would be run."""
    writer = messages(streamed=True)
    with pytest.raises(ProtocolError):
        writer.feed(call(0, "{", "f") + call(1, "{", "g") + call(0, "}"))


def test_calls_whose_pieces_are_mixed_are_put_together_in_a_whole_answer() -> None:
    mixed = call(0, "{", "f") + call(1, '{"b": ', "g") + call(0, "}") + call(1, "2}")
    content = json.loads(written(messages(streamed=False), mixed + END, 50))["content"]
    assert [(block["name"], block["input"]) for block in content] == [("f", {}), ("g", {"b": 2})]


@pytest.mark.parametrize("streamed", [True, False])
def test_there_is_an_end_to_calls_and_their_names(streamed: bool) -> None:
    """T4, T1: more than any answer has are not kept, nor looked through for each other one."""
    writer = messages(streamed=streamed)
    stream = b"".join(call(number, "{}", "f" * 5_000) for number in range(MAX_TOOL_CALLS + 50))
    writer.feed(stream + call(MAX_TOOL_CALLS + 7, "}") + END)
    assert len(writer.blocks) == MAX_TOOL_CALLS
    assert {(len(block.name), block.text) for block in writer.blocks} == {(MAX_NAME_CHARS, "{}")}


@pytest.mark.parametrize("make", [messages, responses])
def test_a_stream_without_its_end_is_no_answer(make: Any) -> None:
    writer = make(streamed=True)
    writer.feed(chunk({"content": "x"}))
    with pytest.raises(TruncatedError) as broken:
        writer.end()
    assert documents(writer.broken(broken.value))[-1]["error"]["message"]
    assert make(streamed=False).broken(broken.value) == b""
    assert make(streamed=True).ping() == b":\n\n"


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_a_servers_own_response_ends_in_three_ways(kind: str) -> None:
    through = ResponsesThrough("m", error_document, b"response.completed")
    data = f'event: response.{kind}\ndata: {{"type":"response.{kind}"}}\n\n'.encode()
    assert through.feed(data) + through.end() == data


def test_a_servers_own_response_that_only_talks_of_its_end_has_none() -> None:
    through = ResponsesThrough("m", error_document, b"response.completed")
    through.feed(b'data: {"delta":"it said \\"response.failed\\""}\n\n')
    with pytest.raises(TruncatedError):
        through.end()
