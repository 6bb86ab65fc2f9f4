"""The engine's stream of a text between two others, in Ollama's and OpenAI's words."""

import json
from typing import Any

import pytest

from llama_runner.backends.events import Finished, TextDelta
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import InvalidRequestError, ServerError, TruncatedError
from llama_runner.proxy.infill import InfillAsCompletion, InfillDecoder, infill_body

PIECES = b"".join(
    b"data: " + json.dumps(piece).encode() + b"\n\n"
    for piece in (
        {"index": 0, "content": "<think>é", "stop": False},
        {"index": 0, "content": "b", "stop": False},
        {
            "content": "",
            "stop": True,
            "stop_type": "limit",
            "tokens_predicted": 2,
            "tokens_evaluated": 7,
            "timings": {"prompt_ms": 1.0, "predicted_ms": 2.0, "predicted_n": 2},
        },
    )
)


def writer(*, streamed: bool = True, with_usage: bool = True) -> InfillAsCompletion:
    return InfillAsCompletion("m", streamed=streamed, with_usage=with_usage, clock=SystemClock())


def told(data: bytes) -> list[dict[str, Any]]:
    events = [event.removeprefix(b"data: ") for event in data.split(b"\n\n") if event]
    assert events.pop() == b"[DONE]"
    return [json.loads(event) for event in events]


def test_source_text_is_not_taken_for_thinking() -> None:
    decoder = InfillDecoder("m")
    events = decoder.feed(1, PIECES)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["<think>é", "b"]
    assert isinstance(events[-1], Finished) and events[-1].reason == "length"


def test_a_stream_becomes_openais_with_the_counts_last() -> None:
    made = writer()
    chunks = told(made.feed(PIECES) + made.end())
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == "<think>éb"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, "length"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert len({(chunk["id"], chunk["created"], chunk["object"], chunk["model"]) for chunk in chunks}) == 1


def test_counts_come_only_when_asked_for() -> None:
    made = writer(with_usage=False)
    assert all(chunk["choices"] for chunk in told(made.feed(PIECES)))


def test_a_whole_answer_is_one_object() -> None:
    made = writer(streamed=False)
    answer = json.loads(made.feed(PIECES) + made.end())
    assert answer["choices"] == [
        {"index": 0, "text": "<think>éb", "logprobs": None, "finish_reason": "length"}
    ]
    assert answer["usage"]["total_tokens"] == 9
    assert made.content_type == "application/json" and made.ping() == b""


def test_a_cut_stream_is_told() -> None:
    made = writer()
    made.feed(PIECES[:60])
    with pytest.raises(TruncatedError):
        made.end()
    assert b'"error"' in made.broken(ServerError("gone"))
    assert b"[DONE]" not in made.broken(ServerError("gone"))


def test_an_error_in_the_stream_is_raised() -> None:
    made = writer()
    with pytest.raises(ServerError, match="out of paper"):
        made.feed(b'data: {"error": {"message": "out of paper", "code": 500}}\n\n')


def test_only_what_is_allowed_goes_on() -> None:
    """H18."""
    sampling = {"n_discard": -32, "prompt": "x", "temperature": 0, "id_slot": 3}
    assert infill_body("a", "b", sampling) == {  # type: ignore[arg-type]  # dict is invariant
        "temperature": 0,
        "input_prefix": "a",
        "input_suffix": "b",
        "stream": True,
    }
    with pytest.raises(InvalidRequestError):
        infill_body([1, 2], "b", {})
