"""Ollama's own API. Its /v1 imitation is not used: it hides durations and what is in memory."""

from collections.abc import Mapping
from typing import ClassVar, Final

from llama_runner.backends.base import StreamDecoder, WireRequest
from llama_runner.backends.http_backend import MAX_MODELS, HttpBackend
from llama_runner.backends.models import ModelInfo
from llama_runner.backends.ollama_decoder import OllamaDecoder
from llama_runner.backends.request import ChatRequest, SamplingOptions
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.core.errors import NotFoundError, ProtocolError
from llama_runner.core.jsonio import JsonValue, dump_json

Running = Mapping[str, Mapping[str, JsonValue]]

UNSUPPORTED: Final = ("ignore_eos", "cache_prompt")


class OllamaBackend(HttpBackend):
    """One Ollama server."""

    ping_path: ClassVar[str] = "/api/version"

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

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /api/tags, with /api/ps for what is in memory."""
        tags = await self._get_list("/api/tags")
        running = await self._running()
        return tuple(info for item in tags if (info := _model_info(item, running)) is not None)

    async def _running(self) -> Running | None:
        """What is in memory, by name; None where the server does not say (some imitate only the list)."""
        try:
            return {as_text(item.get("name")): item for item in await self._get_list("/api/ps")}
        except NotFoundError:
            return None

    async def _get_list(self, path: str) -> list[Mapping[str, JsonValue]]:
        document = await self._get_object(path)
        if "models" not in document:
            raise ProtocolError(f"{self.endpoint.base_url}{path}", "it has no list of models")
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
