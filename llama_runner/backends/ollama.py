"""Ollama's own API. Its /v1 imitation is not used: it hides durations and what is in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from llama_runner.backends import ollama_encoding
from llama_runner.backends.base import StreamDecoder, WireRequest
from llama_runner.backends.http_backend import MAX_MODELS, HttpBackend
from llama_runner.backends.models import ContextSource, Embeddings, ModelInfo
from llama_runner.backends.ollama_decoder import OllamaDecoder
from llama_runner.backends.request import ChatRequest
from llama_runner.backends.suggestions import not_found
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.backends.vectors import embed_in_batches, vectors_of
from llama_runner.core.errors import NotFoundError, ProtocolError
from llama_runner.core.jsonio import JsonValue, dump_json

Running = Mapping[str, Mapping[str, JsonValue]]


class OllamaBackend(HttpBackend):
    """One Ollama server."""

    ping_path: ClassVar[str] = "/api/version"
    can_load = True

    def encode(self, request: ChatRequest) -> WireRequest:
        """POST /api/chat, streamed."""
        part = ollama_encoding.chat_part(request)
        return WireRequest(
            method="POST",
            url=f"{self.endpoint.base_url}/api/chat",
            headers={"Content-Type": "application/json", **self._credential()},
            body=dump_json({**part.fields, "stream": True}),
            not_sent=part.not_sent,
        )

    def decoder(self) -> StreamDecoder:
        """For one answer to `encode`."""
        return OllamaDecoder(self.endpoint.base_url)

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /api/tags, with /api/ps for what is in memory."""
        tags = await self._get_list("/api/tags")
        running = await self._running()
        return tuple(info for item in tags if (info := _model_info(item, running)) is not None)

    async def describe(self, model_id: str) -> ModelInfo:
        """The list, and POST /api/show, which alone knows the family's own numbers."""
        models = await self.list_models()
        found = next((model for model in models if model.id in _spellings(model_id)), None)
        if found is None:
            raise not_found(self.endpoint.base_url, model_id, tuple(model.id for model in models))
        try:
            return _shown(found, await self._object(await self._post("/api/show", {"model": found.id})))
        except NotFoundError:
            return found  # some imitate only the list

    async def load(self, model_id: str) -> None:
        """POST /api/generate without a prompt; answers when the model is in memory."""
        await self._generate_nothing({"model": model_id})

    async def unload(self, model_id: str) -> None:
        """The same, to be kept for no time at all."""
        await self._generate_nothing({"model": model_id, "keep_alive": 0})

    async def _generate_nothing(self, body: Mapping[str, JsonValue]) -> None:
        await self._object(await self._post_long("/api/generate", {**body, "stream": False}))

    async def embed(self, model_id: str, texts: Sequence[str]) -> Embeddings:
        """POST /api/embed; a text that is too long is refused, not cut."""
        return await embed_in_batches(texts, lambda batch: self._embed(model_id, batch))

    async def _embed(self, model_id: str, texts: list[str]) -> Embeddings:
        body: dict[str, JsonValue] = {"model": model_id, "input": [*texts], "truncate": False}
        reply = await self._post_long("/api/embed", body)
        document = await self._object(reply)
        vectors = vectors_of(as_list(document.get("embeddings")), len(texts), reply.url)
        return Embeddings(vectors, as_count(document.get("prompt_eval_count")))

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


def _spellings(model_id: str) -> tuple[str, str]:
    """Ollama takes a name without its tag for the latest."""
    return model_id, f"{model_id}:latest"


def _model_info(item: Mapping[str, JsonValue], running: Running | None) -> ModelInfo | None:
    name = as_text(item.get("name")) or as_text(item.get("model"))
    if not name:
        return None
    details = as_object(item.get("details"))
    now = running.get(name) if running is not None else None
    context = as_count(now.get("context_length")) or None if now is not None else None
    trained = as_count(details.get("context_length")) or None
    return ModelInfo(
        id=name,
        context_length=context or trained,
        context_source=_source(context, trained),
        trained_context=trained,
        size_bytes=as_count(item.get("size")) or None,
        quantization=as_text(details.get("quantization_level")) or None,
        family=as_text(details.get("family")) or None,
        parameters=as_text(details.get("parameter_size")) or None,
        loaded=None if running is None else now is not None,
        capabilities=_texts(item.get("capabilities")),
    )


def _shown(info: ModelInfo, shown: Mapping[str, JsonValue]) -> ModelInfo:
    """With what /api/show says. A model that is not running has the context that it was trained for."""
    header = as_object(shown.get("model_info"))
    details = as_object(shown.get("details"))
    family = as_text(header.get("general.architecture"))
    trained = as_count(header.get(f"{family}.context_length")) or info.trained_context
    running = info.context_length if info.context_source is ContextSource.RUNNING else None
    return replace(
        info,
        context_length=running or trained,
        context_source=_source(running, trained),
        trained_context=trained,
        quantization=as_text(details.get("quantization_level")) or info.quantization,
        family=family or as_text(details.get("family")) or info.family,
        parameters=as_text(details.get("parameter_size")) or info.parameters,
        capabilities=_texts(shown.get("capabilities")) or info.capabilities,
    )


def _source(running: int | None, trained: int | None) -> ContextSource | None:
    if running:
        return ContextSource.RUNNING
    return ContextSource.TRAINED if trained else None


def _texts(value: JsonValue) -> tuple[str, ...]:
    return tuple(text for item in as_list(value) if (text := as_text(item)))
