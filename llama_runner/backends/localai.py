"""LocalAI: several engines behind the OpenAI dialect; loads and stops their processes, tokenizes with them.

Source: mudler/LocalAI, core/schema and core/http/endpoints/localai (4.9); localai.io, "Backend Monitor" and
"Authentication". What loads and stops is an administrator's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

from llama_runner.backends.encoding import Part
from llama_runner.backends.models import (
    AUDIO,
    COMPLETION,
    EMBEDDING,
    RERANK,
    THINKING,
    TOOLS,
    VISION,
    ContextSource,
    ModelInfo,
    TokenCount,
)
from llama_runner.backends.openai import OPENAI_OPTIONS, OpenAIBackend
from llama_runner.backends.request import SamplingOptions
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.core.errors import NotFoundError, RefusedError
from llama_runner.core.jsonio import JsonValue

_CAPABILITIES: Final[Mapping[str, str]] = {
    "chat": COMPLETION,
    "completion": COMPLETION,
    "tools": TOOLS,
    "vision": VISION,
    "audio": AUDIO,
    "thinking": THINKING,
    "embeddings": EMBEDDING,
    "rerank": RERANK,
}


class LocalAIBackend(OpenAIBackend):
    """One LocalAI server."""

    can_load = True
    option_names: ClassVar[Mapping[str, str]] = {
        **OPENAI_OPTIONS,
        **{name: name for name in ("top_k", "min_p", "repeat_penalty", "ignore_eos")},
    }
    # Public without a key.
    ping_path: ClassVar[str] = "/readyz"

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /v1/models/capabilities, or the plain list of older ones; /system for what is in memory."""
        models, running = await super().list_models(), await self._running()
        if running is None:
            return models
        return tuple(replace(model, loaded=model.id in running) for model in models)

    async def load(self, model_id: str) -> None:
        """POST /backend/load, which answers when it is done; older ones load only with a request."""
        await self.describe(model_id)
        try:
            await self._object(await self._post_long("/backend/load", {"model": model_id}))
        except NotFoundError as error:
            raise self._unsupported("load a model on request before version 4") from error

    async def unload(self, model_id: str) -> None:
        """POST /backend/shutdown."""
        if (await self.describe(model_id)).loaded is False:
            return
        await self._post_long("/backend/shutdown", {"model": model_id})

    async def count_tokens(self, model_id: str, text: str) -> TokenCount | None:
        """POST /v1/tokenize."""
        return await self._counted("/v1/tokenize", {"model": model_id, "content": text}, "tokens")

    async def _items(self) -> list[Mapping[str, JsonValue]]:
        try:
            document = await self._get_object("/v1/models/capabilities")
        except (NotFoundError, RefusedError):
            return await super()._items()
        return [as_object(item) for item in as_list(document.get("data"))]

    async def _running(self) -> frozenset[str] | None:
        """What is in memory; None where only an administrator may know."""
        try:
            document = await self._get_object("/system")
        except (NotFoundError, RefusedError):
            return None
        return frozenset(
            as_text(as_object(item).get("id")) for item in as_list(document.get("loaded_models"))
        )

    def _model_info(self, item: Mapping[str, JsonValue]) -> ModelInfo | None:
        if (info := super()._model_info(item)) is None:
            return None
        context = as_count(item.get("context_size")) or None
        said = (_CAPABILITIES.get(as_text(name)) for name in as_list(item.get("capabilities")))
        return replace(
            info,
            context_length=context,
            context_source=ContextSource.RUNNING if context else None,
            capabilities=tuple(dict.fromkeys(name for name in said if name)),
        )

    def _thinking_part(self, options: SamplingOptions) -> Part:
        fields: dict[str, JsonValue] = {}
        if options.thinking is not None or options.effort is not None:
            on = options.thinking is not False
            fields["metadata"] = {"enable_thinking": "true" if on else "false"}
            level = str(options.effort) if options.effort else None
            if (effort := level if on else "none") is not None:
                fields["reasoning_effort"] = effort
        dropped = options.effort is not None and options.thinking is False
        return Part(fields, ("effort",) if dropped else ())
