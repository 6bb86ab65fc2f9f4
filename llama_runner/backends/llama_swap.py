"""llama-swap: starts a llama-server per model when it is asked for, and passes requests on as they are.

Source: mostlygeek/llama-swap, internal/server (Nov 2026). What only the model's own server knows is asked
through /upstream, and only of a model that runs: asking for another would stop the one that does.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final
from urllib.parse import quote

from llama_runner.backends.http_backend import LONG_TIMEOUT_S
from llama_runner.backends.llama_server import LlamaServerBackend
from llama_runner.backends.models import COMPLETION, TOOLS, VISION, ModelInfo, TokenCount
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.backends.request import ChatRequest
from llama_runner.backends.suggestions import not_found
from llama_runner.backends.values import as_list, as_object, as_text
from llama_runner.core.errors import NotFoundError, ProtocolError, RefusedError
from llama_runner.core.jsonio import JsonValue

_FEATURES: Final[Mapping[str, str]] = {"tools": TOOLS, "vision": VISION}


class LlamaSwapBackend(LlamaServerBackend):
    """One llama-swap. Requests are a llama-server's; models, loading and unloading are its own."""

    can_load = True
    # Public without a key.
    ping_path: ClassVar[str] = "/health"

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /v1/models, with /running for what is in memory."""
        models, running = await OpenAIBackend.list_models(self), await self._running()
        if running is None:
            return models
        return tuple(replace(model, loaded=model.id in running) for model in models)

    async def describe(self, model_id: str) -> ModelInfo:
        """The list, and what its own server says while it runs."""
        models = await self.list_models()
        found = next((model for model in models if model.id == model_id), None)
        if found is None:
            raise not_found(self.endpoint.base_url, model_id, tuple(model.id for model in models))
        return await self._with_upstream(found) if found.loaded else found

    async def load(self, model_id: str) -> None:
        """GET /upstream/MODEL/health, which starts its server and waits until it is ready."""
        await self.describe(model_id)
        try:
            await self._get(_upstream(model_id, "/health"), timeout_s=LONG_TIMEOUT_S)
        except NotFoundError:
            # Its server has no such path, but it was there to say so.
            if model_id not in (await self._running() or ()):
                raise

    async def unload(self, model_id: str) -> None:
        """POST /api/models/unload/MODEL; older ones only stop everything, which is done for a lone model."""
        await self.describe(model_id)
        try:
            await self._post(f"/api/models/unload/{quote(model_id)}", {})
        except NotFoundError:
            running = await self._running()
            if running and running != {model_id}:
                raise self._unsupported("unload one of several models in this version") from None
            await self._get("/unload")

    async def count_tokens(self, model_id: str, text: str) -> TokenCount | None:
        """POST /tokenize of the model's server, while it runs."""
        if not await self._runs(model_id):
            return None
        return await self._counted(_upstream(model_id, "/tokenize"), {"content": text}, "tokens")

    async def count_prompt(self, request: ChatRequest) -> TokenCount | None:
        """POST /v1/chat/completions/input_tokens of the model's server, while it runs."""
        if not await self._runs(request.model_id):
            return None
        path = _upstream(request.model_id, "/v1/chat/completions/input_tokens")
        return await self._counted(path, self._chat_part(request).fields, "input_tokens")

    async def _runs(self, model_id: str) -> bool:
        return model_id in (await self._running() or ())

    async def _running(self) -> frozenset[str] | None:
        """What is ready; None where it does not say."""
        try:
            items = as_list((await self._get_object("/running")).get("running"))
        except (NotFoundError, RefusedError):
            return None
        ready = (as_object(item) for item in items)
        return frozenset(as_text(item.get("model")) for item in ready if item.get("state") == "ready")

    async def _with_upstream(self, info: ModelInfo) -> ModelInfo:
        """What the model's server lists of its only model; as it is where that is another kind of server."""
        try:
            document = await self._get_object(_upstream(info.id, "/v1/models"))
        except (NotFoundError, ProtocolError):
            return info
        items = [as_object(item) for item in as_list(document.get("data"))]
        said = super()._model_info(items[0]) if len(items) == 1 else None
        if said is None:
            return info
        return replace(
            said, id=info.id, loaded=info.loaded, capabilities=info.capabilities or said.capabilities
        )

    def _model_info(self, item: Mapping[str, JsonValue]) -> ModelInfo | None:
        info = OpenAIBackend._model_info(self, item)
        said = as_object(item.get("capabilities"))
        if info is None or not said:
            return info
        able = tuple(word for name, word in _FEATURES.items() if said.get(name) is True)
        return replace(info, capabilities=tuple(dict.fromkeys((COMPLETION, *info.capabilities, *able))))


def _upstream(model_id: str, path: str) -> str:
    return f"/upstream/{quote(model_id)}{path}"
