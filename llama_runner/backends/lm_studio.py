"""LM Studio: the OpenAI dialect, with its own REST API for what is there, what is in memory, and loading.

Source: lmstudio.ai/docs/developer/rest (v1 since 0.4.0, v0 since 0.3.6) and .../openai-compat.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

from llama_runner.backends.encoding import Part, joined
from llama_runner.backends.http_backend import MAX_MODELS
from llama_runner.backends.models import (
    COMPLETION,
    EMBEDDING,
    THINKING,
    TOOLS,
    VISION,
    ContextSource,
    ModelInfo,
)
from llama_runner.backends.openai import OPENAI_OPTIONS, OpenAIBackend
from llama_runner.backends.request import ChatRequest, Effort, JsonOutput, SamplingOptions
from llama_runner.backends.suggestions import not_found
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.core.errors import NotFoundError
from llama_runner.core.jsonio import JsonValue

# With status 200, for any path that it does not have.
_UNKNOWN_PATH: Final = "Unexpected endpoint"
_V1: Final = "/api/v1/models"
_V0: Final = "/api/v0/models"


class LmStudioBackend(OpenAIBackend):
    """One LM Studio server."""

    can_load = True
    option_names: ClassVar[Mapping[str, str]] = {
        **OPENAI_OPTIONS,
        "top_k": "top_k",
        "repeat_penalty": "repeat_penalty",
    }

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /api/v1/models; older ones have /api/v0/models, or only OpenAI's list."""
        if (items := await self._own_list(_V1, "models")) is not None:
            return tuple(_v1_model(item) for item in items if as_text(item.get("key")))
        if (items := await self._own_list(_V0, "data")) is not None:
            return tuple(_v0_model(item) for item in items if as_text(item.get("id")))
        return await super().list_models()

    async def load(self, model_id: str) -> None:
        """POST /api/v1/models/load, unless it is loaded: that would load it twice."""
        if not await self._instances(model_id):
            await self._object(await self._post_long(f"{_V1}/load", {"model": model_id}))

    async def unload(self, model_id: str) -> None:
        """POST /api/v1/models/unload, for each instance of the model."""
        for instance_id in await self._instances(model_id):
            await self._object(await self._post_long(f"{_V1}/unload", {"instance_id": instance_id}))

    async def _instances(self, model_id: str) -> list[str]:
        """The ids of a model's instances in memory. Raises NotFoundError, UnsupportedError."""
        items = await self._own_list(_V1, "models")
        if items is None:
            raise self._unsupported("load or unload a model before version 0.4.0")
        by_key = {as_text(item.get("key")): item for item in items}
        if model_id not in by_key:
            raise not_found(self.endpoint.base_url, model_id, tuple(by_key))
        return _instance_ids(by_key[model_id])

    async def _own_list(self, path: str, key: str) -> list[Mapping[str, JsonValue]] | None:
        """A list of its own API; None where it does not have that."""
        try:
            reply = await self._get(path)
        except NotFoundError:
            return None
        document = as_object(await reply.document())
        if as_text(document.get("error")).startswith(_UNKNOWN_PATH):
            return None
        said = (await self._object(reply)).get(key)
        return [as_object(item) for item in said[:MAX_MODELS]] if isinstance(said, list) else None

    # --- the request ---

    def _chat_part(self, request: ChatRequest) -> Part:
        kept_s = request.options.keep_alive_s
        rest = replace(request, options=replace(request.options, keep_alive_s=None))
        return joined(super()._chat_part(rest), _time_to_live(kept_s))

    def _thinking_part(self, options: SamplingOptions) -> Part:
        # Its OpenAI endpoint knows levels and "none", and no plain "on".
        if options.thinking is False:
            return Part({"reasoning_effort": "none"}, ("effort",) if options.effort else ())
        if options.thinking is None and options.effort is None:
            return Part()
        return Part({"reasoning_effort": str(options.effort or Effort.MEDIUM)})

    def _output_part(self, output: JsonOutput | None) -> Part:
        # It refuses `json_object`.
        unsaid = output is not None and output.schema is None
        return Part({}, ("output",)) if unsaid else super()._output_part(output)


def _time_to_live(seconds: float | None) -> Part:
    """How long a model stays that this request loads; neither "for ever" nor "not at all" can be said."""
    if seconds is None:
        return Part()
    return Part({"ttl": math.ceil(seconds)}) if seconds > 0 else Part({}, ("keep_alive_s",))


def _instance_ids(item: Mapping[str, JsonValue]) -> list[str]:
    instances = (as_object(instance) for instance in as_list(item.get("loaded_instances")))
    return [instance_id for instance in instances if (instance_id := as_text(instance.get("id")))]


def _v1_model(item: Mapping[str, JsonValue]) -> ModelInfo:
    instances = [as_object(instance) for instance in as_list(item.get("loaded_instances"))]
    config = as_object(instances[0].get("config")) if instances else {}
    running = as_count(config.get("context_length")) or None
    trained = as_count(item.get("max_context_length")) or None
    return ModelInfo(
        id=as_text(item.get("key")),
        context_length=running or trained,
        context_source=_source(running, trained),
        trained_context=trained,
        size_bytes=as_count(item.get("size_bytes")) or None,
        quantization=as_text(as_object(item.get("quantization")).get("name")) or None,
        loaded=bool(instances),
        capabilities=_v1_capabilities(item),
        family=as_text(item.get("architecture")) or None,
        parameters=as_text(item.get("params_string")) or None,
        instance_id=next(iter(_instance_ids(item)), None),
    )


def _v1_capabilities(item: Mapping[str, JsonValue]) -> tuple[str, ...]:
    if as_text(item.get("type")).startswith("embedding"):
        return (EMBEDDING,)
    said = as_object(item.get("capabilities"))
    switches = as_list(as_object(said.get("reasoning")).get("allowed_options"))
    found = {
        TOOLS: said.get("trained_for_tool_use") is True,
        VISION: said.get("vision") is True,
        THINKING: any(switch != "off" for switch in switches),
    }
    return (COMPLETION, *(name for name, there in found.items() if there))


def _v0_model(item: Mapping[str, JsonValue]) -> ModelInfo:
    kind, said = as_text(item.get("type")), as_list(item.get("capabilities"))
    running = as_count(item.get("loaded_context_length")) or None
    trained = as_count(item.get("max_context_length")) or None
    tools, vision = "tool_use" in said, kind == "vlm" or "vision" in said
    able = (COMPLETION, *([TOOLS] if tools else []), *([VISION] if vision else []))
    return ModelInfo(
        id=as_text(item.get("id")),
        context_length=running or trained,
        context_source=_source(running, trained),
        trained_context=trained,
        quantization=as_text(item.get("quantization")) or None,
        loaded=item.get("state") == "loaded",
        capabilities=(EMBEDDING,) if kind.startswith("embedding") else able,
        family=as_text(item.get("arch")) or None,
    )


def _source(running: int | None, trained: int | None) -> ContextSource | None:
    if running:
        return ContextSource.RUNNING
    return ContextSource.TRAINED if trained else None
