"""A server that sends faster than anybody reads."""

import asyncio

from llama_runner.backends.base import ChatRequest, Endpoint, Engine, Message, Role
from llama_runner.backends.events import TextDelta
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.backends.streaming import SLICE_BYTES
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
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
