"""Servers that look like known engines, on any loopback address, and note everything they were asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Reply:
    """A canned answer; `hang` sends nothing and keeps the connection, `drip_s` sends a byte at a time."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    drip_s: float = 0.0
    raw: bytes | None = None

    def wire(self) -> bytes:
        """The bytes of the whole answer."""
        if self.raw is not None:
            return self.raw
        head = f"HTTP/1.1 {self.status} Status\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return head.encode() + b"\r\n" + self.body


def document(value: Any, *, status: int = 200, **headers: str) -> Reply:
    """A JSON answer."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(json.dumps(value).encode(), status, {"Content-Type": "application/json", **named})


NOT_FOUND: Final = Reply(b"not found", 404)


@dataclass(slots=True)
class Simulated:
    """One running server.

    Attributes:
        requests: Method, path and headers (names in lower case) of everything asked.
        routes: May be changed while it runs.
    """

    host: str
    port: int
    routes: dict[str, Reply]
    otherwise: Reply
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    open_connections: int = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.host}:{self.port}"

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for _, path, _ in self.requests]


@asynccontextmanager
async def simulated(
    routes: Mapping[str, Reply], *, host: str = "127.0.0.2", port: int = 0, otherwise: Reply = NOT_FOUND
) -> AsyncIterator[Simulated]:
    """Serve `routes` on `host`."""
    seen = Simulated(host, port, dict(routes), otherwise)
    talks: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.open_connections += 1
        talks[asyncio.current_task()] = writer
        try:
            await _answer(seen, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            seen.open_connections -= 1
            writer.close()

    server = await asyncio.start_server(talk, host, port)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        for writer in talks.values():
            writer.transport.abort()
        await asyncio.gather(*(task for task in talks if task is not None), return_exceptions=True)
        server.close()
        await server.wait_closed()


async def _answer(seen: Simulated, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
    seen.requests.append((method, path, headers))
    reply = seen.routes.get(path, seen.otherwise)
    if reply.hang:
        await reader.read()  # Until the other side, or the end of the test, closes the connection.
        return
    if reply.drip_s:
        for byte in reply.wire():
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(reply.drip_s)
        return
    writer.write(reply.wire())
    await writer.drain()


# --- engines -----------------------------------------------------------------------------------------------


def _models(owner: str | None, *ids: str, **more: Any) -> Reply:
    entries = [
        {"id": model, "object": "model", **({"owned_by": owner} if owner else {}), **more} for model in ids
    ]
    return document({"object": "list", "data": entries})


def llama_server(*ids: str) -> dict[str, Reply]:
    """A llama-server with one or more models."""
    listed = _models("llamacpp", *(ids or ("tiny",)), meta={"n_ctx": 4096, "n_ctx_train": 8192, "size": 1000})
    named = {"Server": "llama.cpp", "Content-Type": "application/json"}
    return {
        "/": Reply(b"<html>llama</html>", 200, {"Server": "llama.cpp", "Content-Type": "text/html"}),
        "/v1/models": Reply(listed.body, 200, named),
        "/props": Reply(
            json.dumps({"build_info": "b9000-abc", "default_generation_settings": {}}).encode(), 200, named
        ),
        "/health": Reply(b'{"status":"ok"}', 200, named),
    }


def ollama(*names: str) -> dict[str, Reply]:
    """An Ollama with these models pulled."""
    tags = [{"name": name, "digest": "abc", "details": {"family": "llama"}} for name in names]
    data = [{"id": name, "object": "model", "owned_by": "library"} for name in names] or None
    return {
        "/": Reply(b"Ollama is running", 200, {"Content-Type": "text/plain"}),
        "/v1/models": document({"object": "list", "data": data}),
        "/api/version": document({"version": "0.34.1"}),
        "/api/tags": document({"models": tags}),
        "/api/ps": document({"models": []}),
    }


def lm_studio(*ids: str) -> dict[str, Reply]:
    """LM Studio: answers 200 to everything."""
    return {
        "/v1/models": _models("organization_owner", *ids),
        "/lmstudio-greeting": document({"lmstudio": True}),
    }


LM_STUDIO_OTHERWISE: Final = document({"error": "Unexpected endpoint or method."})


def vllm(*ids: str) -> dict[str, Reply]:
    """vLLM."""
    return {
        "/v1/models": _models("vllm", *ids, max_model_len=32768, root="x", permission=[]),
        "/version": document({"version": "0.11.0"}),
    }


def koboldcpp(*ids: str) -> dict[str, Reply]:
    """KoboldCpp, which imitates Ollama and llama-server."""
    tags = [{"name": name, "details": {"family": "koboldcpp"}} for name in ids]
    return {
        "/v1/models": _models("koboldcpp", *ids),
        "/api/extra/version": document({"result": "KoboldCpp", "version": "1.90"}),
        "/api/version": document({"version": "0.7.0"}),
        "/api/tags": document({"models": tags}),
        "/props": document({"default_generation_settings": {}}),
    }


def generic(*ids: str) -> dict[str, Reply]:
    """Something OpenAI-compatible that gives nothing away."""
    return {"/v1/models": _models(None, *ids)}


@asynccontextmanager
async def simulated_network(
    servers: Mapping[str, Mapping[str, Reply]],
) -> AsyncIterator[dict[str, Simulated]]:
    """Several servers at once, by host."""
    async with AsyncExitStack() as stack:
        yield {
            host: await stack.enter_async_context(simulated(routes, host=host))
            for host, routes in servers.items()
        }
