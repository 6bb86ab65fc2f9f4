"""A real HTTP server with one fixed answer per path, which remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from llama_runner.backends.base import Backend, Endpoint, Engine
from llama_runner.backends.registry import connect
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from tests.fakes.raw_server import response

# What to answer: a whole HTTP answer, JSON for status 200, or how to find one of them.
Answer = Any
NOT_FOUND = response(b'{"error":{"message":"File Not Found","code":404}}', status="404 Not Found")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    body: Any

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class FixedServer:
    """What it heard so far."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def bodies(self, line: str) -> list[Any]:
        """Of the requests with that method and path, in order."""
        return [asked.body for asked in self.asked if asked.line == line]


@asynccontextmanager
async def fixed_server(answers: Mapping[str, Answer]) -> AsyncIterator[FixedServer]:
    """Serve `answers`, by "METHOD /path"; anything else is 404. A callable is asked each time; None hangs."""
    seen = FixedServer()
    leaving = asyncio.Event()
    talks: set[asyncio.Task[Any] | None] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        try:
            asked = await _request(reader)
            seen.asked.append(asked)
            answer = answers.get(asked.line, NOT_FOUND)
            answer = answer(asked) if isinstance(answer, Callable) else answer  # type: ignore[arg-type]
            if answer is None:
                await leaving.wait()
            else:
                data = answer if isinstance(answer, bytes) else response(json.dumps(answer).encode())
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    seen.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield seen
    finally:
        leaving.set()
        await asyncio.gather(*(task for task in talks if task is not None))
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def serving(
    engine: Engine, answers: Mapping[str, Answer]
) -> AsyncIterator[tuple[Backend, FixedServer]]:
    """The backend of an engine on such a server."""
    async with fixed_server(answers) as server, open_http() as http:
        yield connect(Endpoint(server.url, engine), http=http, clock=SystemClock()), server


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    data = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, json.loads(data) if data else None)
