"""The ways to read one streamed answer that the benchmark compares, in both dialects."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

import ollama
import openai

from llama_runner.backends.base import Endpoint, Engine
from llama_runner.backends.decode import decode_into
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.registry import connect, decoder_for
from llama_runner.backends.request import ChatRequest, Message, Role
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from llama_runner.net.load import LoadClient
from llama_runner.stress.worker import quiet_collector

CLOCK: Final = SystemClock()
TIMEOUT_S: Final = 300.0
QUESTION: Final = "go"

# Asks for one model and returns the stamps of its tokens.
Ask = Callable[[str], Awaitable[list[int]]]


@dataclass(frozen=True, slots=True)
class Path:
    """One way to read. `open` takes the server's URL; what it gives asks that server."""

    name: str
    engine: Engine
    open: Callable[[str], AbstractAsyncContextManager[Ask]]


class _BareProtocol(asyncio.Protocol):
    """The least that can be done: count events in each read and stamp them."""

    def __init__(self, mark: bytes, end: bytes) -> None:
        self._mark, self._end = mark, end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance check: uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> asyncio.Future[None]:
        """Done when the answer is there, or the connection lost."""
        self.stamps: list[int] = []
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._done

    def data_received(self, data: bytes) -> None:
        now_ns = time.perf_counter_ns()
        self.stamps.extend([now_ns] * data.count(self._mark))
        if self._end in data:
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


def request_of(model: str) -> ChatRequest:
    """The question that every path asks."""
    return ChatRequest(model, (Message(Role.USER, QUESTION),))


def bare(engine: Engine, *, keep_alive: bool = False) -> Callable[[str], AbstractAsyncContextManager[Ask]]:
    """A protocol of asyncio, no HTTP library, no JSON.

    Args:
        keep_alive: Ask again over the connection that has answered, as most clients do.
    """
    # With or without spaces between names and values: proxies write JSON in their own ways.
    token, end = b'"w', b'"done_reason"' if engine is Engine.OLLAMA else b"[DONE]"

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Ask]:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 0
        async with open_http() as http:
            backend = connect(Endpoint(url, engine), http=http, clock=CLOCK)

        async def ask(model: str) -> list[int]:
            wire = backend.encode(request_of(model))
            path = urlsplit(wire.url).path
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(wire.body)}\r\n\r\n"
            if idle:
                protocol = idle.pop()
            else:
                _, protocol = await asyncio.get_running_loop().create_connection(
                    lambda: _BareProtocol(token, end), host, port
                )
            await protocol.ask(head.encode() + wire.body)
            if keep_alive:
                idle.append(protocol)
            else:
                protocol.transport.close()
            return protocol.stamps

        idle: list[_BareProtocol] = []
        yield ask
        for protocol in idle:
            protocol.transport.close()

    return opened


def live(engine: Engine) -> Callable[[str], AbstractAsyncContextManager[Ask]]:
    """What a chat does: typed events as they come, folded."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Ask]:
        async with open_http() as http:
            backend = connect(Endpoint(url, engine), http=http, clock=CLOCK)

            async def ask(model: str) -> list[int]:
                fold = AnswerFold()
                async with aclosing(backend.stream(request_of(model))) as stream:
                    async for event in stream:
                        fold.add(event)
                return _stamps(fold)

            yield ask

    return opened


def kept(engine: Engine) -> Callable[[str], AbstractAsyncContextManager[Ask]]:
    """What a load worker does: reads first, decoding after the request ended, a step between other reads."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Ask]:
        async with LoadClient(clock=CLOCK) as client, open_http() as http:
            backend = connect(Endpoint(url, engine), http=http, clock=CLOCK)

            async def ask(model: str) -> list[int]:
                raw = await client.send(backend.encode(request_of(model)), timeout_s=TIMEOUT_S)
                if raw.error is not None:
                    raise raw.error
                fold = AnswerFold()
                slice_end_ns = CLOCK.now_ns() + 1_000_000
                for _ in decode_into(fold, decoder_for(engine, url), raw):
                    if CLOCK.now_ns() > slice_end_ns:
                        await asyncio.sleep(0)
                        slice_end_ns = CLOCK.now_ns() + 1_000_000
                return _stamps(fold)

            # As in a worker's process: a full pass would stop every stream.
            with quiet_collector():
                yield ask

    return opened


@asynccontextmanager
async def openai_sdk(url: str) -> AsyncIterator[Ask]:
    """OpenAI's own client, its typed chunks, as its documentation reads them."""
    client = openai.AsyncOpenAI(
        base_url=f"{url}/v1",
        api_key="none",
        max_retries=0,
        timeout=TIMEOUT_S,
        http_client=openai.DefaultAsyncHttpxClient(limits=openai.DEFAULT_CONNECTION_LIMITS, trust_env=False),
    )

    async def ask(model: str) -> list[int]:
        stamps: list[int] = []
        stream = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": QUESTION}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                stamps.append(time.perf_counter_ns())
        return stamps

    async with client:
        yield ask


@asynccontextmanager
async def ollama_sdk(url: str) -> AsyncIterator[Ask]:
    """Ollama's own client, its typed parts."""
    client = ollama.AsyncClient(host=url, timeout=TIMEOUT_S, trust_env=False)

    async def ask(model: str) -> list[int]:
        stamps: list[int] = []
        stream = await client.chat(model=model, messages=[{"role": "user", "content": QUESTION}], stream=True)
        async for part in stream:
            if part.message.content:
                stamps.append(time.perf_counter_ns())
        return stamps

    yield ask


def _stamps(fold: AnswerFold) -> list[int]:
    trace = fold.trace()
    return [] if trace is None else [stamp.t_ns for stamp in trace.stamps]


OPENAI, OLLAMA = Engine.OPENAI, Engine.OLLAMA
PATHS: Final = (
    Path("bare protocol", OPENAI, bare(OPENAI)),
    Path("live", OPENAI, live(OPENAI)),
    Path("kept, then decoded", OPENAI, kept(OPENAI)),
    Path("openai SDK", OPENAI, openai_sdk),
    Path("bare protocol", OLLAMA, bare(OLLAMA)),
    Path("live", OLLAMA, live(OLLAMA)),
    Path("kept, then decoded", OLLAMA, kept(OLLAMA)),
    Path("ollama SDK", OLLAMA, ollama_sdk),
)
