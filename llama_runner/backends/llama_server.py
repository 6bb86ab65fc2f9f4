"""llama.cpp's llama-server: the OpenAI dialect plus its own clock, prefill progress and sampling fields."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from llama_runner.backends.models import ModelInfo
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.core.errors import NotFoundError, RefusedError
from llama_runner.core.jsonio import JsonValue


class LlamaServerBackend(OpenAIBackend):
    """One llama-server, alone or as a router."""

    unsupported: ClassVar[tuple[str, ...]] = ()
    # Public without a key, and 503 while a model loads.
    ping_path: ClassVar[str] = "/health"

    def _stream_fields(self) -> dict[str, JsonValue]:
        return {
            "stream_options": {"include_usage": True},
            "timings_per_token": True,
            "return_progress": True,
        }

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /v1/models, with what /props knows about a single model."""
        models = await super().list_models()
        if len(models) != 1:
            return models
        capabilities = await self._capabilities()
        return (replace(models[0], capabilities=capabilities or models[0].capabilities),)

    def _model_info(self, item: Mapping[str, JsonValue]) -> ModelInfo | None:
        info = super()._model_info(item)
        if info is None:
            return None
        meta = as_object(item.get("meta"))
        state = as_text(as_object(item.get("status")).get("value"))
        return replace(
            info,
            context_length=as_count(meta.get("n_ctx"))
            or as_count(meta.get("n_ctx_train"))
            or info.context_length,
            size_bytes=as_count(meta.get("size")) or None,
            quantization=as_text(meta.get("ftype")) or None,
            # Only a router lists models that are not in memory, and only it gives a status.
            loaded=state in ("", "loaded"),
            capabilities=_modalities(as_object(item.get("architecture"))),
        )

    async def _capabilities(self) -> tuple[str, ...]:
        """From /props; empty where that is switched off or refused."""
        try:
            props = await self._get_object("/props")
        except (NotFoundError, RefusedError):
            return ()
        caps = as_object(props.get("chat_template_caps"))
        modalities = as_object(props.get("modalities"))
        found = ["completion"]
        if caps.get("supports_tools") is True or caps.get("supports_tool_calls") is True:
            found.append("tools")
        found.extend(name for name in ("vision", "audio") if modalities.get(name) is True)
        return tuple(found)


def _modalities(architecture: Mapping[str, JsonValue]) -> tuple[str, ...]:
    inputs = [as_text(name) for name in as_list(architecture.get("input_modalities"))]
    names = {"image": "vision", "audio": "audio"}
    return ("completion", *(names[name] for name in inputs if name in names)) if inputs else ()
