"""An answer that had to begin before its engine said a word."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing

import pytest
from starlette.types import Message

from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from llama_runner.proxy import relay
from llama_runner.proxy.admission import Admission
from llama_runner.proxy.calls import Relays
from llama_runner.proxy.host import OfferedModel, Upstream
from llama_runner.proxy.openai_face import CHAT, OpenAIFace
from llama_runner.proxy.records import RequestLog
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan


class _SlowHost:
    """One model that is ready only once its client has been told to wait."""

    def __init__(self, url: str, model: str) -> None:
        self._upstream = Upstream(url, "", model)
        self.told = asyncio.Event()

    async def offered(self) -> Sequence[OfferedModel]:
        return [OfferedModel(self._upstream.model_id, "0" * 64, 1, 0.0)]

    @asynccontextmanager
    async def use(self, model_id: str) -> AsyncIterator[Upstream]:
        await self.told.wait()
        yield self._upstream

    def keep(self, model_id: str, idle_s: float | None) -> None:
        """It stays."""

    async def changed(self, limit_s: float) -> None:
        """It does not."""

    async def unload(self, model_id: str) -> None:
        """It stays."""


async def test_an_engines_refusal_after_a_long_load_is_an_event_of_the_stream(
    metronome: Metronome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is out with status 200: all that is left is the dialect's way to say it."""
    monkeypatch.setattr(relay, "COMMIT_AFTER_S", 0.01)
    clock, sent = SystemClock(), list[Message]()
    host = _SlowHost(metronome.url, Plan(status=400, error_body="no such thing").model_id())

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body"):
            host.told.set()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async with open_http() as http:
        shared = Relays(host, http, clock, Admission(clock=clock), RequestLog())
        call = await OpenAIFace(shared).call(CHAT, {"messages": [], "stream": True})
        with closing(shared.kept):
            await relay.Relay(shared, call, "/v1/chat/completions")({}, receive, send)
    start, *bodies = sent
    assert start["status"] == 200
    whole = b"".join(message["body"] for message in bodies)
    ping, event = whole.split(b"\n\n")[:2]
    assert ping == b":"
    assert "no such thing" in json.loads(event.removeprefix(b"data: "))["error"]["message"]
    assert whole.endswith(b"\n\n") and bodies[-1]["more_body"] is False
