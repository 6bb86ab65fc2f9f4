"""A backend that plays a script: events now, and waits that the test ends."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import httpx

from llama_runner.backends.base import Backend, Endpoint, Engine, StreamDecoder, Target, WireRequest
from llama_runner.backends.events import Finished, RequestSent, Started, StreamEvent, TextDelta
from llama_runner.backends.http_backend import HttpBackend
from llama_runner.backends.models import ModelInfo
from llama_runner.backends.request import ChatRequest
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import LlamaRunnerError

ENDPOINT = Endpoint("http://127.0.0.1:9", Engine.OPENAI)
CLOCK = SystemClock()

# An event to yield, an error to raise, or a gate to wait at.
Step = StreamEvent | Exception | asyncio.Event


def target(model: str = "m") -> Target:
    return Target(ENDPOINT, model, model)


def text(*pieces: str) -> list[Step]:
    """An answer's events up to its last piece of text."""
    t_ns = CLOCK.now_ns()
    return [RequestSent(t_ns), Started(t_ns), *(TextDelta(CLOCK.now_ns(), piece) for piece in pieces)]


def answer(*pieces: str) -> list[Step]:
    """A whole answer."""
    return [*text(*pieces), Finished(CLOCK.now_ns(), "stop")]


class Scripted(HttpBackend):
    """Plays one script per request, by model; keeps the requests and counts open streams."""

    def __init__(
        self, scripts: Callable[[ChatRequest], list[Step]], refuse: LlamaRunnerError | None = None
    ) -> None:
        super().__init__(ENDPOINT, http=httpx.AsyncClient(), clock=CLOCK)
        self.scripts = scripts
        self.requests: list[ChatRequest] = []
        self.open_streams = 0
        self.refuse = refuse

    def connect(self, endpoint: Endpoint) -> Backend:
        if self.refuse is not None:
            raise self.refuse
        return self

    async def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        self.requests.append(request)
        self.open_streams += 1
        try:
            for step in self.scripts(request):
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.open_streams -= 1

    def encode(self, request: ChatRequest) -> WireRequest:
        raise NotImplementedError

    def decoder(self) -> StreamDecoder:
        raise NotImplementedError

    async def list_models(self) -> tuple[ModelInfo, ...]:
        return ()
