"""koboldcpp: the OpenAI dialect with its own sampler's names; counts tokens, says its running context.

Source: LostRuins/koboldcpp, koboldcpp.py (1.11x); lite.koboldai.net/koboldcpp_api. Loading another model
needs its administrator's password and replaces the process, so it is not offered.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from llama_runner.backends.encoding import Part
from llama_runner.backends.http_backend import COUNT_TIMEOUT_S, MAX_LONG_REPLY_BYTES
from llama_runner.backends.models import (
    AUDIO,
    COMPLETION,
    THINKING,
    TOOLS,
    VISION,
    ContextSource,
    ModelInfo,
    TokenCount,
)
from llama_runner.backends.openai import OPENAI_OPTIONS, OpenAIBackend
from llama_runner.backends.request import ChatRequest, Effort, SamplingOptions
from llama_runner.backends.templates import thinks
from llama_runner.backends.values import as_count, as_object, as_text
from llama_runner.core.errors import NotFoundError
from llama_runner.core.jsonio import JsonValue
from llama_runner.core.trace import TokensSource


class KoboldCppBackend(OpenAIBackend):
    """One koboldcpp server. The first model of its list is the one in memory."""

    # It takes a frequency penalty for a presence penalty, so that one is not said.
    option_names: ClassVar[Mapping[str, str]] = {
        **{name: name for name in OPENAI_OPTIONS if name != "frequency_penalty"},
        "top_k": "top_k",
        "min_p": "min_p",
        "repeat_penalty": "rep_pen",
        "ignore_eos": "ban_eos_token",
    }
    ping_path: ClassVar[str] = "/api/extra/version"

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /v1/models, and the context length that it runs with."""
        models = await super().list_models()
        if not models:
            return ()
        context = await self._context()
        first = replace(
            models[0],
            loaded=True,
            context_length=context,
            context_source=ContextSource.RUNNING if context else None,
        )
        return (first, *(replace(model, loaded=False) for model in models[1:]))

    async def describe(self, model_id: str) -> ModelInfo:
        """The list, and /props of the model in memory."""
        info = await super().describe(model_id)
        if not info.loaded:
            return info
        try:
            props = await self._get_object("/props")
        except NotFoundError:
            return info
        return replace(info, capabilities=_capabilities(props))

    async def count_tokens(self, model_id: str, text: str) -> TokenCount | None:
        """POST /api/extra/tokencount, without the token that begins a prompt."""
        body: dict[str, JsonValue] = {"prompt": text, "special": False}
        return await self._counted("/api/extra/tokencount", body, "value")

    async def count_prompt(self, request: ChatRequest) -> TokenCount | None:
        """POST /api/extra/tokencount with the conversation; None of one that only counts texts."""
        body = self._chat_part(request).fields
        try:
            reply = await self._post(
                "/api/extra/tokencount", body, timeout_s=COUNT_TIMEOUT_S, max_bytes=MAX_LONG_REPLY_BYTES
            )
        except NotFoundError:
            return None
        document = await self._object(reply)
        tokens = as_count(document.get("value"))
        # Only one that rendered the conversation says what it counted; older ones counted an empty text.
        if tokens is None or "prompt" not in document:
            return None
        return TokenCount(tokens, TokensSource.SERVER_TOKENIZER)

    async def _context(self) -> int | None:
        try:
            said = await self._get_object("/api/extra/true_max_context_length")
        except NotFoundError:
            return None
        return as_count(said.get("value")) or None

    def _thinking_part(self, options: SamplingOptions) -> Part:
        # "high" is its word for no limit.
        if options.thinking is False:
            return Part({"reasoning_effort": "none"}, ("effort",) if options.effort else ())
        if options.thinking is None and options.effort is None:
            return Part()
        return Part({"reasoning_effort": str(options.effort or Effort.HIGH)})


def _capabilities(props: Mapping[str, JsonValue]) -> tuple[str, ...]:
    modalities, template = as_object(props.get("modalities")), as_text(props.get("chat_template"))
    found = {
        TOOLS: "tools" in template,
        VISION: modalities.get("vision") is True,
        AUDIO: modalities.get("audio") is True,
        THINKING: thinks(template),
    }
    return (COMPLETION, *(name for name, there in found.items() if there))
