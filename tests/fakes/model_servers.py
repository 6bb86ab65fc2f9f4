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
UVICORN: Final = {"Server": "uvicorn", "Content-Type": "text/html"}


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
    reply = seen.routes.get(path) or seen.routes.get(path.partition("?")[0], seen.otherwise)
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


def sglang(*ids: str) -> dict[str, Reply]:
    """SGLang, told to greet as Ollama, whose tags it imitates too."""
    tags = [{"name": name, "digest": "sha256:sglang0", "details": {"format": "sglang"}} for name in ids]
    return {
        "/": Reply(b"Ollama is running", 200, UVICORN),
        "/v1/models": _models("sglang", *ids, max_model_len=16384, root="x"),
        "/api/version": document({"version": "0.12.0"}),
        "/api/tags": document({"models": tags}),
        "/server_info": document({"version": "0.5.3", "model_path": "x"}),
        "/model_info": document({"model_path": "x", "is_generation": True}),
    }


def tgi(model: str, *, lists: bool = True) -> dict[str, Reply]:
    """Text Generation Inference; an old one has no list of models."""
    info = {
        "model_id": model,
        "model_sha": "abc",
        "model_dtype": "torch.float16",
        "max_concurrent_requests": 128,
        "max_total_tokens": 4096,
        "max_batch_total_tokens": 16000,
        "version": "3.3.5",
        "docker_label": "sha-abc",
    }
    listed = {"/v1/models": _models(model, model)} if lists else {}
    return {"/": Reply(b""), "/info": document(info), "/health": Reply(b""), **listed}


def local_ai(*ids: str) -> dict[str, Reply]:
    """LocalAI, which imitates Ollama's routes."""
    tags = [{"name": name, "digest": "", "details": {"family": ""}} for name in ids]
    return {
        "/": Reply(b"<html>LocalAI</html>"),
        "/v1/models": _models(None, *ids),
        "/.well-known/localai.json": document({"version": "v3.7.0", "endpoints": {"models": "/v1/models"}}),
        "/readyz": Reply(b"OK"),
        "/api/version": document({"version": "0.9.0"}),
        "/api/tags": document({"models": tags}),
        "/system": document({"backends": [], "loaded_models": []}),
    }


def lite_llm(*ids: str) -> dict[str, Reply]:
    """LiteLLM without a master key."""
    return {
        "/": Reply(b"<html>LiteLLM API</html>", 200, UVICORN),
        "/v1/models": _models("openai", *ids),
        "/health/liveliness": document("I'm alive!"),
        "/health/readiness": document(
            {"status": "healthy", "db": "Not connected", "litellm_version": "1.80"}
        ),
    }


def llama_swap(*ids: str) -> dict[str, Reply]:
    """llama-swap: the llama-server inside shows through on other paths."""
    built = {"version": "v175", "commit": "abc", "build_date": "2026-09-01"}
    return {
        "/": Reply(b"", 302, {"Location": "/ui"}),
        "/v1/models": _models("llama-swap", *ids),
        "/running": document({"running": []}),
        "/api/version": document(built),
        "/props": llama_server()["/props"],
    }


def lemonade(*ids: str) -> dict[str, Reply]:
    """Lemonade, which imitates Ollama."""
    health = {"status": "ok", "version": "10.0.0", "websocket_port": 9000, "all_models_loaded": []}
    return {
        "/v1/models": _models("lemonade", *ids),
        "/v1/health": document(health),
        "/api/version": document({"version": "0.16.1"}),
        "/api/tags": document({"models": [{"name": name, "details": {}} for name in ids]}),
    }


def tabby_api(*ids: str) -> dict[str, Reply]:
    """TabbyAPI: wants a key for its models, and has llama-server's /props."""
    about = {"version": 0.1, "software": {"name": "TabbyAPI", "repository": "x"}}
    return {
        "/v1/models": document({"detail": "Please provide an API key"}, status=401),
        "/.well-known/serviceinfo": document(about),
        "/props": document({"default_generation_settings": {"n_ctx": 4096}, "total_slots": 1}),
    }


def aphrodite(*ids: str) -> dict[str, Reply]:
    """Aphrodite Engine, a relative of vLLM."""
    about = {"version": 0.2, "software": {"name": "Aphrodite Engine", "version": "0.10"}}
    return {
        "/v1/models": _models("pygmalionai", *ids, max_model_len=8192),
        "/.well-known/serviceinfo": document(about),
        "/version": document({"version": "0.10.0"}),
    }


def text_generation_webui(*ids: str) -> dict[str, Reply]:
    """The API of text-generation-webui."""
    return {
        "/v1/models": _models("user", *ids),
        "/v1/internal/health": document({"status": "ok"}),
        "/v1/internal/model/info": document({"model_name": ids[0], "lora_names": [], "loader": "llama.cpp"}),
    }


def jan(*ids: str) -> dict[str, Reply]:
    """Jan: wants a key and still describes itself."""
    return {
        "/v1/models": document({"error": "Unauthorized"}, status=401),
        "/openapi.json": document({"openapi": "3.1", "info": {"title": "Jan API Server Endpoints"}}),
    }


def gpt4all(*ids: str) -> dict[str, Reply]:
    """GPT4All: its ids are names for people."""
    return {"/v1/models": _models("humanity", *ids)}


def mlx_lm(*ids: str) -> dict[str, Reply]:
    """mlx_lm.server, on Python's own web server."""
    server = {"Server": "BaseHTTP/0.6 Python/3.12.1", "Content-Type": "application/json"}
    return {
        "/": Reply(b"Not Found", 404, server),
        "/v1/models": Reply(_models(None, *ids).body, 200, server),
        "/health": Reply(b'{"status": "ok"}', 200, server),
    }


def docker_model_runner(*ids: str) -> dict[str, Reply]:
    """Docker Model Runner; older ones have their models below /engines only."""
    return {
        "/": Reply(b"Docker Model Runner is running"),
        "/v1/models": _models("docker", *ids),
        "/engines/v1/models": _models("docker", *ids),
    }


def anthropic(*ids: str) -> dict[str, Reply]:
    """A server of the Messages API, as it answers without a key."""
    error = {"type": "authentication_error", "message": "x-api-key header is required"}
    return {"/v1/models": document({"type": "error", "error": error}, status=401)}


def anthropic_without_key(*ids: str) -> dict[str, Reply]:
    """A local server of the Messages API."""
    data = [{"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01"} for name in ids]
    return {"/v1/models": document({"data": data, "has_more": False, "first_id": None, "last_id": None})}


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
