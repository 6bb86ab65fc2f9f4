"""LiteLLM's proxy: many services behind the OpenAI dialect; says what it knows of their models, and counts.

Source: BerriAI/litellm, proxy/proxy_server.py and types/utils.py (1.109); docs.litellm.ai/docs/proxy.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

from llama_runner.backends.models import (
    COMPLETION,
    EMBEDDING,
    THINKING,
    TOOLS,
    VISION,
    ContextSource,
    ModelInfo,
    TokenCount,
)
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.backends.request import ChatRequest
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.core.errors import InvalidRequestError, NotFoundError, ServerError, UnreachableError
from llama_runner.core.jsonio import JsonValue
from llama_runner.core.trace import TokensSource

_COUNTER: Final = "/utils/token_counter"
_FEATURES: Final[Mapping[str, str]] = {
    "supports_function_calling": TOOLS,
    "supports_vision": VISION,
    "supports_reasoning": THINKING,
}
# What it counts with when it knows no tokenizer of the model; right only for OpenAI's own.
_FALLBACK: Final = "openai_tokenizer"
_OPENAI_MODELS: Final = ("gpt-", "o1", "o3", "o4", "chatgpt-")


class LiteLLMBackend(OpenAIBackend):
    """One LiteLLM proxy."""

    # Public without a key; /health itself would ask every model.
    ping_path: ClassVar[str] = "/health/liveliness"

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /v1/models, with what /v1/model/info says of each."""
        models, said = await super().list_models(), await self._said()
        return tuple(_with(model, said.get(model.id, {})) for model in models)

    async def count_tokens(self, model_id: str, text: str) -> TokenCount | None:
        """POST /utils/token_counter; None where it would only estimate."""
        return await self._exact({"model": model_id, "prompt": text})

    async def count_prompt(self, request: ChatRequest) -> TokenCount | None:
        """POST /utils/token_counter with the conversation; None where it would only estimate."""
        fields = self._chat_part(request).fields
        wanted = ("model", "messages", "tools")
        return await self._exact({name: fields[name] for name in wanted if name in fields})

    async def _exact(self, body: Mapping[str, JsonValue]) -> TokenCount | None:
        try:
            document = await self._object(await self._post(_COUNTER, body))
        except (NotFoundError, InvalidRequestError):
            return None
        tokens = as_count(document.get("total_tokens"))
        if tokens is None or not _is_exact(document):
            return None
        return TokenCount(tokens, TokensSource.SERVER_TOKENIZER)

    async def _said(self) -> dict[str, Mapping[str, JsonValue]]:
        """By name; a model may have several deployments, of which the first counts. Empty where refused."""
        try:
            document = await self._get_object("/v1/model/info")
        except UnreachableError:
            raise
        except ServerError:
            # Without a list of models in its configuration, or for keys that may not ask, it has no answer.
            return {}
        items = [as_object(item) for item in as_list(document.get("data"))]
        return {
            as_text(item.get("model_name")): as_object(item.get("model_info")) for item in reversed(items)
        }


def _with(model: ModelInfo, said: Mapping[str, JsonValue]) -> ModelInfo:
    context = as_count(said.get("max_input_tokens")) or as_count(said.get("max_tokens")) or None
    mode = as_text(said.get("mode"))
    features = tuple(name for field, name in _FEATURES.items() if said.get(field) is True)
    able = {"embedding": (EMBEDDING,), "chat": (COMPLETION, *features)}.get(mode, features)
    return replace(
        model,
        context_length=context or model.context_length,
        context_source=ContextSource.RUNNING if context else model.context_source,
        capabilities=able or model.capabilities,
    )


def _is_exact(document: Mapping[str, JsonValue]) -> bool:
    """Whether it counted with the model's own tokenizer, as far as it says."""
    if document.get("count_source") in ("provider", "token_count_model"):
        return True
    model = as_text(document.get("model_used")).rpartition("/")[2]
    return document.get("tokenizer_type") != _FALLBACK or model.startswith(_OPENAI_MODELS)
