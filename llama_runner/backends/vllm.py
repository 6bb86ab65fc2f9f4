"""vLLM: counts tokens in every event, samples its own way, and lets others use its tokenizer.

Names as in vllm/entrypoints/openai/chat_completion/protocol.py and vllm/entrypoints/serve/tokenize.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from llama_runner.backends import encoding
from llama_runner.backends.encoding import Part
from llama_runner.backends.models import TokenCount
from llama_runner.backends.openai import OPENAI_OPTIONS, OpenAIBackend
from llama_runner.backends.request import ChatRequest, SamplingOptions
from llama_runner.core.jsonio import JsonValue

_TEMPLATED: Final = ("model", "messages", "tools", "chat_template_kwargs")


class VllmBackend(OpenAIBackend):
    """One vLLM server."""

    option_names: ClassVar[Mapping[str, str]] = {
        **OPENAI_OPTIONS,
        "top_k": "top_k",
        "min_p": "min_p",
        "repeat_penalty": "repetition_penalty",
        "ignore_eos": "ignore_eos",
    }
    # The first since 0.11, the second before; templates read either.
    reasoning_keys: ClassVar[tuple[str, ...]] = ("reasoning", "reasoning_content")

    async def count_tokens(self, model_id: str, text: str) -> TokenCount | None:
        """POST /tokenize; without the tokens that begin a prompt."""
        body: dict[str, JsonValue] = {"model": model_id, "prompt": text, "add_special_tokens": False}
        return await self._counted("/tokenize", body, "count")

    async def count_prompt(self, request: ChatRequest) -> TokenCount | None:
        """POST /tokenize with the conversation."""
        fields = self._chat_part(request).fields
        return await self._counted(
            "/tokenize", {name: fields[name] for name in _TEMPLATED if name in fields}, "count"
        )

    def _stream_fields(self, request: ChatRequest) -> dict[str, JsonValue]:
        if not request.ask_usage:
            return {}
        return {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}

    def _thinking_part(self, options: SamplingOptions) -> Part:
        return encoding.template_part(options)
