"""LM Studio's own chat: what the engine is asked, and the events its stream becomes."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import InvalidRequestError, NotFoundError, ServerError, TruncatedError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy.host import OfferedModel
from llama_runner.proxy.lm_studio_chat import MAX_KEPT, MAX_KEPT_BYTES, Conversations, chat_request
from llama_runner.proxy.lm_studio_events import ChatWriter
from llama_runner.proxy.records import RequestLog

CLOCK = SystemClock()
ABLE = OfferedModel("m", "d" * 64, 1, 0.0, capabilities=("completion", "thinking", "vision"))
PLAIN = OfferedModel("m", "d" * 64, 1, 0.0)
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()


def body(document: dict[str, JsonValue], model: OfferedModel = ABLE) -> dict[str, Any]:
    return dict(chat_request(document, model, Conversations()).body)


# --- requests ---------------------------------------------------------------------------------------------


def test_input_and_sampling_go_under_the_engines_names() -> None:
    asked = body(
        {
            "input": [{"type": "message", "content": "look"}, {"type": "image", "data_url": f"data:,{PNG}"}],
            "system_prompt": "be brief",
            "temperature": 0.5,
            "repeat_penalty": 1.1,
            "max_output_tokens": 9,
            "reasoning": "low",
            "context_length": 4096,
            "n_discard": -32,
        }
    )
    assert asked == {
        "messages": [
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                ],
            },
        ],
        "temperature": 0.5,
        "repeat_penalty": 1.1,
        "max_tokens": 9,
        "chat_template_kwargs": {"enable_thinking": True},
        "reasoning_effort": "low",
    }


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"input": 5},
        {"input": []},
        {"input": [{"type": "image", "data_url": "https://x/y.png"}]},
        {"input": [{"type": "audio"}]},
        {"input": "x", "temperature": "hot"},
        {"input": "x", "max_output_tokens": -5},
        {"input": "x", "reasoning": "very"},
        {"input": "x", "previous_response_id": 5},
        {"input": "x", "integrations": ["mcp/web"]},
    ],
)
def test_what_makes_no_sense_is_refused(document: dict[str, JsonValue]) -> None:
    """H18, T9."""
    with pytest.raises(InvalidRequestError):
        body(document)


def test_what_the_model_cannot_do_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="reasoning"):
        body({"input": "x", "reasoning": "on"}, PLAIN)
    with pytest.raises(InvalidRequestError, match="images"):
        body({"input": [{"type": "image", "data_url": f"data:,{PNG}"}]}, PLAIN)
    assert body({"input": "x", "reasoning": "off"}, PLAIN)["chat_template_kwargs"] == {
        "enable_thinking": False
    }


def test_an_answer_can_be_followed() -> None:
    known = Conversations()
    first = chat_request({"input": "a", "system_prompt": "s"}, ABLE, known).remember("b")
    assert first is not None
    asked = chat_request({"input": "c", "previous_response_id": first}, ABLE, known)
    said: Any = asked.body["messages"]
    assert [(message["role"], message["content"]) for message in said] == [
        ("system", "s"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    assert asked.remember("d") != first


def test_what_is_not_to_be_kept_is_not() -> None:
    known = Conversations()
    assert chat_request({"input": "a", "store": False}, ABLE, known).remember("b") is None
    with pytest.raises(NotFoundError):
        chat_request({"input": "c", "previous_response_id": "resp_1"}, ABLE, known)


def test_conversations_take_bounded_memory() -> None:
    known = Conversations()
    ids = [known.keep([{"role": "user", "content": "x"}]) for _ in range(MAX_KEPT + 1)]
    assert known.before(ids[-1]) and known.before(ids[1])
    with pytest.raises(NotFoundError):
        known.before(ids[0])
    large = known.keep([{"role": "user", "content": "x" * (MAX_KEPT_BYTES + 1)}])
    assert known.before(large)
    with pytest.raises(NotFoundError):
        known.before(ids[-1])
    next_one = known.keep([{"role": "user", "content": "x"}])
    assert known.before(next_one)
    with pytest.raises(NotFoundError):
        known.before(large)


def test_a_conversation_that_is_followed_does_not_grow_for_ever() -> None:
    """The newest is always kept, with all that was said before."""
    known, half = Conversations(), "x" * (MAX_KEPT_BYTES // 2)
    answer_id: JsonValue = chat_request({"input": half}, ABLE, known).remember("a")
    answer_id = chat_request({"input": "y", "previous_response_id": answer_id}, ABLE, known).remember("b")
    with pytest.raises(InvalidRequestError, match="too long"):
        chat_request({"input": half, "previous_response_id": answer_id}, ABLE, known)


# --- answers ----------------------------------------------------------------------------------------------


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


PROGRESS: dict[str, Any] = {"prompt_progress": {"total": 4, "cache": 0, "processed": 2, "time_ms": 1}}
LAST = {
    "choices": [],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4},
    "timings": {"predicted_n": 4, "predicted_ms": 20.0},
}
STREAM = (
    chunk({"role": "assistant", "content": None}, **PROGRESS)
    + chunk({"reasoning_content": "hm"})
    + chunk({"content": "Hé"})
    + chunk({"content": "llo"})
    + chunk({}, "stop")
    + b"data: "
    + json.dumps(LAST).encode()
    + b"\n\ndata: [DONE]\n\n"
)


def writer(
    *, streamed: bool = True, load_s: float = 0.5, remember: Callable[[str], str | None] = lambda said: said
) -> ChatWriter:
    record = RequestLog().begin("/api/v1/chat", "m", CLOCK.utc(), streamed=streamed)
    record.load_s = load_s
    return ChatWriter(
        "m", streamed=streamed, record=record, since=lambda: 2.0, remember=remember, clock=CLOCK
    )


def told(data: bytes) -> list[dict[str, Any]]:
    """Every event, whose name is its type."""
    found = []
    for event in data.decode().split("\n\n")[:-1]:
        name, document = event.split("\n")
        found.append(json.loads(document.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_a_stream_becomes_lm_studios_events_in_their_order() -> None:
    made = writer()
    events = told(made.feed(STREAM) + made.end())
    assert [event["type"] for event in events] == [
        "chat.start",
        "model_load.start",
        "model_load.end",
        "prompt_processing.start",
        "prompt_processing.progress",
        "prompt_processing.end",
        "reasoning.start",
        "reasoning.delta",
        "reasoning.end",
        "message.start",
        "message.delta",
        "message.delta",
        "message.end",
        "chat.end",
    ]
    assert events[4]["progress"] == 0.5
    assert events[-1]["result"] == {
        "model_instance_id": "m",
        "output": [{"type": "reasoning", "content": "hm"}, {"type": "message", "content": "Héllo"}],
        "stats": {
            "input_tokens": 9,
            "total_output_tokens": 4,
            "reasoning_output_tokens": 1,
            "tokens_per_second": 200.0,
            "time_to_first_token_seconds": 2.0,
            "model_load_time_seconds": 0.5,
        },
        "response_id": "Héllo",
    }


def test_a_whole_answer_is_the_same_result() -> None:
    made, streamed = writer(streamed=False), writer()
    result = json.loads(made.feed(STREAM) + made.end())
    assert result == told(streamed.feed(STREAM))[-1]["result"]


def test_every_cut_gives_the_same_events() -> None:
    expected = told(writer().feed(STREAM))
    for cut in range(0, len(STREAM), 7):
        made = writer()
        assert told(made.feed(STREAM[:cut]) + made.feed(STREAM[cut:]) + made.end()) == expected


def test_a_model_in_memory_is_not_loaded_and_what_is_not_kept_has_no_id() -> None:
    made = writer(load_s=0.0, remember=lambda said: None)
    events = told(made.feed(STREAM))
    assert not [event for event in events if event["type"].startswith("model_load")]
    assert "model_load_time_seconds" not in events[-1]["result"]["stats"]
    assert "response_id" not in events[-1]["result"]


def test_an_answer_without_a_word_has_no_block() -> None:
    made = writer()
    events = told(made.feed(chunk({}, "stop") + b"data: [DONE]\n\n"))
    assert [event["type"] for event in events][-2:] == ["prompt_processing.end", "chat.end"]
    assert events[-1]["result"]["output"] == []


def test_a_cut_stream_ends_with_an_error_and_is_not_remembered() -> None:
    kept: list[str] = []
    made = writer(remember=kept.append)
    made.feed(STREAM[: len(STREAM) // 2])
    with pytest.raises(TruncatedError):
        made.end()
    (error,) = told(made.broken(ServerError("gone")))
    assert (error["type"], error["error"]["type"]) == ("error", "internal_error")
    assert not kept
