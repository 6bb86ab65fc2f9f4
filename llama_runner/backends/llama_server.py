"""llama.cpp's llama-server: the OpenAI dialect plus its own clock, prefill progress and sampling fields.

A llama-server without a model of its own is a router: it starts one process per model, and can stop it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import ClassVar, Final
from urllib.parse import quote

from llama_runner.backends import encoding
from llama_runner.backends.encoding import THINKING_OPTIONS, Part
from llama_runner.backends.http_backend import LONG_TIMEOUT_S
from llama_runner.backends.models import (
    AUDIO,
    COMPLETION,
    THINKING,
    TOOLS,
    VISION,
    ContextSource,
    Embeddings,
    ModelInfo,
    TokenCount,
    weights_text,
)
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.backends.request import ChatRequest, JsonOutput, SamplingOptions
from llama_runner.backends.suggestions import not_found
from llama_runner.backends.templates import thinks
from llama_runner.backends.values import as_count, as_object, as_text
from llama_runner.core.errors import (
    NotFoundError,
    RefusedError,
    ServerError,
    UnreachableError,
    UnsupportedError,
)
from llama_runner.core.jsonio import JsonValue

# A router says when a model is ready only to those who ask.
_POLL_S: Final = 0.2
# The words of its `status`. A sleeping model wakes by itself when it is asked.
_LOADED: Final = ("loaded", "sleeping")
_UNLOADED: Final = ("unloaded",)
_LOADING: Final = ("loading", "downloading")


class LlamaServerBackend(OpenAIBackend):
    """One llama-server, alone or as a router.

    Attributes:
        can_load: Whether it is a router: known once its models were listed.
    """

    option_names: ClassVar[Mapping[str, str]] = {
        option.name: option.name
        for option in fields(SamplingOptions)
        if option.name not in (*THINKING_OPTIONS, "keep_alive_s")
    }
    # Its decoder of images knows no webp.
    image_types: ClassVar[frozenset[str] | None] = frozenset(
        {"image/png", "image/jpeg", "image/gif", "image/bmp"}
    )
    reasoning_keys: ClassVar[tuple[str, ...]] = ("reasoning_content",)
    # Public without a key, and 503 while a model loads.
    ping_path: ClassVar[str] = "/health"

    def _output_part(self, output: JsonOutput | None) -> Part:
        part = super()._output_part(output)
        return replace(part, fields=encoding.json_held(part.fields))

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /v1/models, with what /props knows about a single model."""
        models = await super().list_models()
        if len(models) != 1 or not models[0].loaded:
            return models
        return (await self._with_props(models[0]),)

    async def describe(self, model_id: str) -> ModelInfo:
        """The list, and /props of that model where it is loaded: asking for another would load it."""
        models = await super().list_models()
        found = next((model for model in models if model.id == model_id), None)
        if found is None:
            raise not_found(self.endpoint.base_url, model_id, tuple(model.id for model in models))
        return await self._with_props(found) if found.loaded else found

    async def load(self, model_id: str) -> None:
        """POST /models/load of a router, then wait until its process is ready."""
        await self._ask_router("/models/load", model_id, _LOADED)
        await self._settled(model_id, _LOADED)

    async def unload(self, model_id: str) -> None:
        """POST /models/unload of a router, then wait until its process has ended."""
        await self._ask_router("/models/unload", model_id, _UNLOADED)
        await self._settled(model_id, _UNLOADED)

    async def embed(self, model_id: str, texts: Sequence[str]) -> Embeddings:
        """POST /v1/embeddings, which a server has only when started for it."""
        try:
            return await super().embed(model_id, texts)
        except NotFoundError as error:
            raise UnsupportedError(
                f"{self.endpoint.base_url} makes no embeddings.",
                "Start that llama-server with --embeddings --pooling mean, or ask another server.",
            ) from error

    async def count_tokens(self, model_id: str, text: str) -> TokenCount | None:
        """POST /tokenize."""
        return await self._counted("/tokenize", {"model": model_id, "content": text}, "tokens")

    async def count_prompt(self, request: ChatRequest) -> TokenCount | None:
        """POST /v1/chat/completions/input_tokens; builds from before mid 2026 have no such path."""
        fields_ = self._chat_part(request).fields
        return await self._counted("/v1/chat/completions/input_tokens", fields_, "input_tokens")

    # --- the request ---

    def _stream_fields(self, request: ChatRequest) -> dict[str, JsonValue]:
        return {
            **super()._stream_fields(request),
            "timings_per_token": request.ask_usage,
            "return_progress": True,
        }

    def _thinking_part(self, options: SamplingOptions) -> Part:
        return encoding.template_part(options)

    def _tools_part(self, request: ChatRequest) -> Part:
        # A choice that is an object counts as "auto" (b10434).
        return encoding.tools_part_in_words(request)

    # --- models ---

    def _model_info(self, item: Mapping[str, JsonValue]) -> ModelInfo | None:
        info = super()._model_info(item)
        if info is None:
            return None
        meta = as_object(item.get("meta"))
        state = _value(as_object(item.get("status")))
        # Only a router gives a status, and only it lists models that are not in memory.
        self.can_load = self.can_load or bool(state)
        slot, trained = as_count(meta.get("n_ctx")) or None, as_count(meta.get("n_ctx_train")) or None
        weights = as_count(meta.get("n_params"))
        return replace(
            info,
            context_length=slot or trained or info.context_length,
            context_source=_source(slot, trained) or info.context_source,
            trained_context=trained or info.trained_context,
            size_bytes=as_count(meta.get("size")) or None,
            quantization=as_text(meta.get("ftype")) or None,
            parameters=weights_text(weights) if weights else None,
            loaded=state in ("", "loaded"),
            loadable=bool(state),
        )

    async def _with_props(self, info: ModelInfo) -> ModelInfo:
        """With what /props says; as it is where that is switched off or refused."""
        path = f"/props?model={quote(info.id, safe='')}" if self.can_load else "/props"
        try:
            props = await self._get_object(path)
        except (NotFoundError, RefusedError):
            return info
        slot = as_count(as_object(props.get("default_generation_settings")).get("n_ctx")) or None
        return replace(
            info,
            capabilities=_capabilities(props),
            context_length=slot or info.context_length,
            context_source=ContextSource.SLOT if slot else info.context_source,
        )

    # --- the router ---

    async def _ask_router(self, path: str, model_id: str, wanted: tuple[str, ...]) -> None:
        states = await self._states()
        if not self.can_load:
            raise UnsupportedError(
                f"{self.endpoint.base_url} serves the one model that it was started with.",
                "Start llama-server without a model to have it load and unload several.",
            )
        if model_id not in states:
            raise not_found(self.endpoint.base_url, model_id, tuple(states))
        if _value(states[model_id]) not in wanted:
            await self._object(await self._post_long(path, {"model": model_id}))

    async def _settled(self, model_id: str, wanted: tuple[str, ...]) -> None:
        """Wait until the model's process is in a state that is wanted, or failed to get there."""
        try:
            async with asyncio.timeout(LONG_TIMEOUT_S):
                while (value := _value(status := (await self._states()).get(model_id, {}))) not in wanted:
                    if status.get("failed") is True or (wanted == _LOADED and value not in _LOADING):
                        raise self._failed(model_id, status)
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise UnreachableError(
                f"{self.endpoint.base_url} did not get {model_id} {wanted[0]} within {LONG_TIMEOUT_S:g} s.",
                "See the server's log.",
            ) from error

    def _failed(self, model_id: str, status: Mapping[str, JsonValue]) -> ServerError:
        code = as_count(status.get("exit_code"))
        ended = "" if code is None else f": its process ended with code {code}"
        return ServerError(
            f"{self.endpoint.base_url} could not load {model_id}{ended}.", "See the server's log."
        )

    async def _states(self) -> dict[str, Mapping[str, JsonValue]]:
        """The status of each model."""
        items = await self._items()
        states = {as_text(item.get("id")): as_object(item.get("status")) for item in items}
        self.can_load = any(_value(status) for status in states.values())
        return states


def _value(status: Mapping[str, JsonValue]) -> str:
    return as_text(status.get("value"))


def _source(slot: int | None, trained: int | None) -> ContextSource | None:
    if slot:
        return ContextSource.SLOT
    return ContextSource.TRAINED if trained else None


def _capabilities(props: Mapping[str, JsonValue]) -> tuple[str, ...]:
    caps = as_object(props.get("chat_template_caps"))
    modalities = as_object(props.get("modalities"))
    found = [COMPLETION]
    if caps.get("supports_tools") is True or caps.get("supports_tool_calls") is True:
        found.append(TOOLS)
    found.extend(name for name in (VISION, AUDIO) if modalities.get(name) is True)
    if caps.get("supports_reasoning_effort") is True or thinks(as_text(props.get("chat_template"))):
        found.append(THINKING)
    return tuple(found)
