import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ServerError, TruncatedError
from llama_runner.proxy.ollama_answers import Kind, OllamaWriter
from llama_runner.proxy.records import RequestLog

CLOCK = SystemClock()


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


LAST = (
    b"data: "
    + json.dumps(
        {
            "choices": [],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3},
            "timings": {"prompt_n": 4, "prompt_ms": 20.0, "predicted_n": 3, "predicted_ms": 30.0},
        }
    ).encode()
    + b"\n\ndata: [DONE]\n\n"
)
CALL = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a"'}}]
REST = [{"index": 0, "function": {"arguments": ":1}"}}]
STREAM = (
    chunk({"role": "assistant", "content": None})
    + b":\n\n"
    + chunk({"reasoning_content": "hm"})
    + chunk({"content": "Hé"})
    + chunk({"content": "llo"})
    + chunk({"tool_calls": CALL})
    + chunk({"tool_calls": REST})
    + chunk({}, "tool_calls")
    + LAST
)


def writer(kind: Kind = Kind.CHAT, *, streamed: bool = True) -> OllamaWriter:
    record = RequestLog().begin("/api/chat", "m", CLOCK.utc(), streamed=streamed)
    record.load_s = 0.5
    return OllamaWriter(
        OpenAIDecoder("m"),
        kind=kind,
        name="asked:latest",
        streamed=streamed,
        record=record,
        since=lambda: 2.0,
        clock=CLOCK,
    )


def lines(data: bytes) -> list[dict[str, Any]]:
    assert data.endswith(b"\n") and b"\n\n" not in data
    return [json.loads(line) for line in data.splitlines()]


def test_a_stream_becomes_lines_with_whole_tool_calls_before_the_last() -> None:
    told = writer()
    found = lines(told.feed(STREAM) + told.end())
    assert [line["message"].get("thinking") for line in found] == ["hm", None, None, None, None]
    assert [line["message"]["content"] for line in found] == ["", "Hé", "llo", "", ""]
    assert found[3]["message"]["tool_calls"] == [
        {"id": "c", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    ]
    assert [line["done"] for line in found] == [False, False, False, False, True]
    assert all(line["model"] == "asked:latest" and line["created_at"] for line in found)


def test_the_last_line_has_ollamas_figures_in_nanoseconds() -> None:
    told = writer()
    last = lines(told.feed(STREAM) + told.end())[-1]
    assert last["done_reason"] == "stop"
    assert (last["prompt_eval_count"], last["eval_count"]) == (9, 3)
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (20_000_000, 30_000_000)
    assert (last["load_duration"], last["total_duration"]) == (500_000_000, 2_000_000_000)


@pytest.mark.parametrize("streamed", [True, False])
def test_every_cut_of_the_engines_stream_gives_the_same(streamed: bool) -> None:
    """F23."""
    whole = writer(streamed=streamed)
    expected = [line | {"created_at": ""} for line in lines(whole.feed(STREAM) + whole.end())]
    for cut in range(1, len(STREAM)):
        told = writer(streamed=streamed)
        data = told.feed(STREAM[:cut]) + told.feed(STREAM[cut:]) + told.end()
        assert [line | {"created_at": ""} for line in lines(data)] == expected


def test_without_streaming_there_is_one_object() -> None:
    told = writer(Kind.GENERATE, streamed=False)
    (found,) = lines(told.feed(STREAM) + told.end())
    assert (found["response"], found["thinking"], found["done"]) == ("Héllo", "hm", True)


def test_length_is_named() -> None:
    told = writer()
    assert (
        lines(told.feed(chunk({"content": "x"}, "length") + LAST) + told.end())[-1]["done_reason"] == "length"
    )


def test_a_cut_stream_ends_with_an_error_line() -> None:
    """F22."""
    told = writer()
    told.feed(chunk({"content": "x"}))
    with pytest.raises(TruncatedError) as caught:
        told.end()
    (line,) = lines(told.broken(caught.value))
    assert isinstance(line["error"], str)


def test_the_engines_error_in_its_stream_is_raised() -> None:
    """S11."""
    with pytest.raises(ServerError, match="boom"):
        writer().feed(b'data: {"error":{"message":"boom"}}\n\n')


def test_arguments_that_are_no_object_are_kept_as_text() -> None:
    """T2."""
    told = writer()
    call = [{"index": 0, "function": {"name": "f", "arguments": "not json"}}]
    found = lines(told.feed(chunk({"tool_calls": call}) + chunk({}, "stop") + LAST) + told.end())
    assert found[0]["message"]["tool_calls"][0]["function"]["arguments"] == {"arguments": "not json"}


def test_the_filler_of_a_long_wait_is_an_empty_piece() -> None:
    (line,) = lines(writer().ping())
    assert line["message"]["content"] == "" and line["done"] is False


class Noon:
    """A clock that stands still."""

    def now_ns(self) -> int:
        return 5_000_000_000

    def utc(self) -> datetime:
        return datetime(2026, 1, 2, 12, 0, 0, 42, UTC)


@pytest.mark.parametrize("name", ["m:latest", 'a "model"', "模型", '\\u0001"\\u0002"'])
@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_a_line_is_the_object_written_at_once(kind: Kind, name: str, field: str) -> None:
    """Spliced from the same parts, byte for byte, the short way and the long."""
    record = RequestLog().begin("/api/chat", "m", CLOCK.utc(), streamed=True)
    told = OllamaWriter(
        OpenAIDecoder("m"),
        kind=kind,
        name=name,
        streamed=True,
        record=record,
        since=lambda: 2.0,
        clock=Noon(),
    )
    for text in ("Hé", "東京", 'a"b\\c\n\t</x>'):
        said: dict[str, Any] = {"content": text}
        if field != "content":
            said = {"content": "", "thinking": text}
        place: dict[str, Any] = {"message": {"role": "assistant", **said}}
        if kind is Kind.GENERATE:
            place = {"response": said.pop("content"), **said}
        line = {"model": name, "created_at": "2026-01-02T12:00:00.000042Z", **place, "done": False}
        assert told.feed(chunk({field: text})) == msgspec.json.encode(line) + b"\n"
