"""Any server that speaks OpenAI's chat completions. Asks only for what strict servers accept."""

from collections.abc import Mapping
from typing import ClassVar, Final

from llama_runner.backends.base import StreamDecoder, WireRequest
from llama_runner.backends.http_backend import MAX_MODELS, HttpBackend
from llama_runner.backends.models import ModelInfo
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.backends.request import ChatRequest, SamplingOptions
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.core.errors import ProtocolError
from llama_runner.core.jsonio import JsonValue, dump_json

# Where servers put the context length that really applies, most specific first.
_CONTEXT_KEYS: Final = ("loaded_context_length", "max_model_len", "context_length", "max_context_length")


class OpenAIBackend(HttpBackend):
    """One OpenAI-compatible server."""

    # Names of `SamplingOptions` that the dialect has under another name, or not at all (None).
    unsupported: ClassVar[tuple[str, ...]] = ("ignore_eos", "cache_prompt")

    def encode(self, request: ChatRequest) -> WireRequest:
        """POST /v1/chat/completions, streamed, with usage."""
        body: dict[str, JsonValue] = {
            "model": request.model_id,
            "messages": [{"role": str(m.role), "content": m.content} for m in request.messages],
            "stream": True,
            **self._stream_fields(),
            **self._option_fields(request.options),
        }
        return WireRequest(
            method="POST",
            url=f"{self.endpoint.base_url}/v1/chat/completions",
            headers={"Content-Type": "application/json", "Accept": "text/event-stream", **self._credential()},
            body=dump_json(body),
            not_sent=tuple(name for name in self.unsupported if getattr(request.options, name) is not None),
        )

    def decoder(self) -> StreamDecoder:
        """For one answer to `encode`."""
        return OpenAIDecoder(self.endpoint.base_url)

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /v1/models."""
        document = await self._get_object("/v1/models")
        # Ollama's /v1 has null where it has no model; a missing key is no model list at all.
        if "data" not in document:
            raise ProtocolError(f"{self.endpoint.base_url}/v1/models", "it has no list of models")
        return tuple(
            info
            for item in as_list(document["data"])[:MAX_MODELS]
            if (info := self._model_info(as_object(item))) is not None
        )

    def _stream_fields(self) -> dict[str, JsonValue]:
        return {"stream_options": {"include_usage": True}}

    def _option_fields(self, options: SamplingOptions) -> dict[str, JsonValue]:
        fields: dict[str, JsonValue] = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_tokens": options.max_tokens,
            "seed": options.seed,
            "stop": list(options.stop) or None,
            "ignore_eos": options.ignore_eos,
            "cache_prompt": options.cache_prompt,
        }
        return {
            name: value
            for name, value in fields.items()
            if value is not None and name not in self.unsupported
        }

    def _model_info(self, item: Mapping[str, JsonValue]) -> ModelInfo | None:
        model_id = as_text(item.get("id"))
        if not model_id:
            return None
        lengths = (as_count(item.get(key)) for key in _CONTEXT_KEYS)
        return ModelInfo(id=model_id, context_length=next((n for n in lengths if n), None))


class VllmBackend(OpenAIBackend):
    """vLLM: counts tokens in every event, and can be told to go on after an end token."""

    unsupported = ("cache_prompt",)

    def _stream_fields(self) -> dict[str, JsonValue]:
        return {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
