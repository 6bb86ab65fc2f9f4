"""SGLang: vLLM's fields and tokenizer under the same names, and what it says of the one model that it serves.

Source: sglang/srt/entrypoints/openai/protocol.py and http_server.py (0.5.23); docs.sglang.io, "Native APIs".
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from llama_runner.backends.models import AUDIO, COMPLETION, EMBEDDING, VISION, ModelInfo, TokenCount
from llama_runner.backends.request import ChatRequest
from llama_runner.backends.values import as_text
from llama_runner.backends.vllm import VllmBackend
from llama_runner.core.errors import InvalidRequestError, NotFoundError
from llama_runner.core.jsonio import JsonValue


class SglangBackend(VllmBackend):
    """One SGLang server."""

    reasoning_keys: ClassVar[tuple[str, ...]] = ("reasoning_content",)
    # Not /health, which has the model write a token unless it was told otherwise.
    ping_path: ClassVar[str] = "/v1/models"

    async def describe(self, model_id: str) -> ModelInfo:
        """The list, and /model_info: of its own model, or of the one that an adapter is for."""
        info = await super().describe(model_id)
        said = await self._said()
        family = as_text(said.get("model_type")) or None
        return replace(info, capabilities=_capabilities(said) or info.capabilities, family=family)

    async def count_prompt(self, request: ChatRequest) -> TokenCount | None:
        """POST /tokenize with the conversation; older ones take only texts."""
        try:
            return await super().count_prompt(request)
        except InvalidRequestError:
            return None

    async def _said(self) -> Mapping[str, JsonValue]:
        """Empty where it does not say."""
        for path in ("/model_info", "/get_model_info"):
            try:
                return await self._get_object(path)
            except NotFoundError:
                continue
        return {}

    def _model_info(self, item: Mapping[str, JsonValue]) -> ModelInfo | None:
        info = super()._model_info(item)
        return info and replace(info, loaded=True)


def _capabilities(said: Mapping[str, JsonValue]) -> tuple[str, ...]:
    if said.get("is_generation") is not True:
        return (EMBEDDING,) if said.get("is_generation") is False else ()
    found = [COMPLETION]
    found += [VISION] if said.get("has_image_understanding") is True else []
    found += [AUDIO] if said.get("has_audio_understanding") is True else []
    return tuple(found)
