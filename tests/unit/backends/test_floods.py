"""A server that sends faster than anybody reads."""

import asyncio

import pytest

from llama_runner.backends import decoding
from llama_runner.backends.base import Endpoint, Engine
from llama_runner.backends.events import TextDelta, ToolCallDelta
from llama_runner.backends.fold import MAX_NAME_CHARS, MAX_TOOL_CALLS, AnswerFold
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.backends.request import ChatRequest, Message, Role
from llama_runner.backends.streaming import SLICE_BYTES
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ProtocolError
from llama_runner.net.client import open_http
from llama_runner.net.lines import StreamCaps
from tests.fakes.raw_server import raw_server

COUNT = 30_000
EVENTS = b"".join(b'data:{"choices":[{"delta":{"content":"%d "}}]}\n\n' % number for number in range(COUNT))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + EVENTS + b"data: [DONE]\n\n"
SMALLEST_EVENT = len(b'data:{"choices":[{"delta":{"content":"0 "}}]}\n\n')


async def test_s10_a_flood_leaves_the_event_loop_its_turns() -> None:
    """Counted in events between two turns of the loop: how long they take is the machine's business."""
    since_turn = most = 0
    text: list[str] = []

    async def count_turns() -> None:
        nonlocal since_turn
        while True:
            since_turn = 0
            await asyncio.sleep(0)

    request = ChatRequest(model_id="m", messages=(Message(Role.USER, "x"),))
    async with raw_server(lambda *_: ANSWER) as server, open_http() as http, asyncio.TaskGroup() as group:
        turns = group.create_task(count_turns())
        backend = OpenAIBackend(Endpoint(server.url, Engine.OPENAI), http=http, clock=SystemClock())
        async for event in backend.stream(request):
            if isinstance(event, TextDelta):
                text.append(event.text)
                since_turn += 1
                most = max(most, since_turn)
        turns.cancel()
    assert "".join(text) == "".join(f"{number} " for number in range(COUNT))
    assert most <= SLICE_BYTES // SMALLEST_EVENT + 1


def test_s9_blanks_without_end_are_not_kept() -> None:
    decoder = OpenAIDecoder("http://here", StreamCaps(stream=1024 * 1024))
    blanks = b" \r\n" * 10_000
    for _ in range(100):
        assert decoder.feed(0, blanks) == []
    assert isinstance(decoder.failure, ProtocolError)
    assert "stream_too_long" in decoder.failure.message


def test_s9_more_events_than_any_answer_has_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_EVENTS", 1000)
    decoder = OpenAIDecoder("http://here")
    n_events = sum(len(decoder.feed(0, EVENTS[at : at + 4096])) for at in range(0, len(EVENTS), 4096))
    assert 1000 < n_events < 1200
    assert isinstance(decoder.failure, ProtocolError)


def test_t4_more_tool_calls_than_any_answer_has_are_not_kept() -> None:
    fold = AnswerFold()
    for index in range(10_000):
        fold.add(ToolCallDelta(0, index, None, "name", "{}", None))
    fold.add(ToolCallDelta(0, 5, None, "x" * 1_000_000, "more", None))
    calls = fold.snapshot().tool_calls
    assert len(calls) == MAX_TOOL_CALLS
    assert calls[5].arguments == "{}more"
    assert len(calls[5].name) == MAX_NAME_CHARS
