"""Ollama's own API. Its /v1 imitation is not used: it hides durations and what is in memory."""

from collections.abc import AsyncGenerator, Mapping
from typing import Final

import httpx

from llama_runner.backends.base import (
    ChatRequest,
    Endpoint,
    ModelInfo,
    SamplingOptions,
    StreamDecoder,
    WireRequest,
)
from llama_runner.backends.events import StreamEvent
from llama_runner.backends.ollama_decoder import OllamaDecoder
from llama_runner.backends.openai import LIST_TIMEOUT_S, MAX_MODELS
from llama_runner.backends.streaming import stream_events
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.core.clock import Clock
from llama_runner.core.errors import NotFoundError, ProtocolError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.net.errors import is_error, stream_error
from llama_runner.net.fetch import Reply, fetch

Running = Mapping[str, Mapping[str, JsonValue]]

UNSUPPORTED: Final = ("ignore_eos", "cache_prompt")


class OllamaBackend:
    """One Ollama server."""

    def __init__(self, endpoint: Endpoint, *, http: httpx.AsyncClient, clock: Clock) -> None:
        self.endpoint = endpoint
        self._http = http
        self._clock = clock

    def encode(self, request: ChatRequest) -> WireRequest:
        """POST /api/chat, streamed."""
        body: dict[str, JsonValue] = {
            "model": request.model_id,
            "messages": [{"role": str(m.role), "content": m.content} for m in request.messages],
            "stream": True,
        }
        if options := _options(request.options):
            body["options"] = options
        return WireRequest(
            method="POST",
            url=f"{self.endpoint.base_url}/api/chat",
            headers={"Content-Type": "application/json", **self._credential()},
            body=dump_json(body),
            not_sent=tuple(name for name in UNSUPPORTED if getattr(request.options, name) is not None),
        )

    def decoder(self) -> StreamDecoder:
        """For one answer to `encode`."""
        return OllamaDecoder(self.endpoint.base_url)

    def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send and decode; see `Backend.stream`."""
        return stream_events(self._http, self.encode(request), self.decoder(), self._clock)

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /api/tags, with /api/ps for what is in memory."""
        tags = await self._get_list("/api/tags")
        running = await self._running()
        return tuple(info for item in tags if (info := _model_info(item, running)) is not None)

    async def ping(self) -> float:
        """Seconds for GET /api/version."""
        return (await self._get("/api/version")).elapsed_s

    async def _running(self) -> Running | None:
        """What is in memory, by name; None where the server does not say (some imitate only the list)."""
        try:
            return {as_text(item.get("name")): item for item in await self._get_list("/api/ps")}
        except NotFoundError:
            return None

    def _credential(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.endpoint.api_key}"} if self.endpoint.api_key else {}

    async def _get(self, path: str) -> Reply:
        url = f"{self.endpoint.base_url}{path}"
        reply = await fetch(
            self._http, url, headers=self._credential(), timeout_s=LIST_TIMEOUT_S, clock=self._clock
        )
        return reply.raise_for_status()

    async def _get_list(self, path: str) -> list[Mapping[str, JsonValue]]:
        reply = await self._get(path)
        document = await reply.document()
        if isinstance(document, dict) and is_error(document):
            raise stream_error(document, reply.url)
        if not isinstance(document, dict) or "models" not in document:
            raise ProtocolError(reply.url, "it has no list of models")
        return [as_object(item) for item in as_list(document["models"])[:MAX_MODELS]]


def _options(options: SamplingOptions) -> dict[str, JsonValue]:
    fields: dict[str, JsonValue] = {
        "temperature": options.temperature,
        "top_p": options.top_p,
        "num_predict": options.max_tokens,
        "seed": options.seed,
        "stop": list(options.stop) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _model_info(item: Mapping[str, JsonValue], running: Running | None) -> ModelInfo | None:
    name = as_text(item.get("name")) or as_text(item.get("model"))
    if not name:
        return None
    details = as_object(item.get("details"))
    now = running.get(name) if running is not None else None
    context = as_count(now.get("context_length")) if now is not None else None
    return ModelInfo(
        id=name,
        context_length=context or as_count(details.get("context_length")) or None,
        size_bytes=as_count(item.get("size")) or None,
        quantization=as_text(details.get("quantization_level")) or None,
        loaded=None if running is None else now is not None,
        capabilities=tuple(text for cap in as_list(item.get("capabilities")) if (text := as_text(cap))),
    )
