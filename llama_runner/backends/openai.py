"""Any server that speaks OpenAI's chat completions. Asks only for what strict servers accept."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from llama_runner.backends import encoding
from llama_runner.backends.base import StreamDecoder, WireRequest
from llama_runner.backends.encoding import Part
from llama_runner.backends.http_backend import MAX_MODELS, HttpBackend
from llama_runner.backends.models import (
    AUDIO,
    COMPLETION,
    INSERT,
    THINKING,
    TOOLS,
    VISION,
    ContextSource,
    Embeddings,
    ModelInfo,
)
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.backends.request import ChatRequest, JsonOutput, SamplingOptions
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.backends.vectors import embed_in_batches, vectors_of
from llama_runner.core.errors import ProtocolError
from llama_runner.core.jsonio import JsonValue, dump_json

# Where servers put the context length, the one that really applies first.
_CONTEXT_KEYS: Final = (
    ("loaded_context_length", ContextSource.RUNNING),
    ("max_model_len", ContextSource.RUNNING),
    ("context_length", ContextSource.RUNNING),
    ("max_context_length", ContextSource.TRAINED),
)
# Their words for what a model takes and does, translated to ours.
_WORDS: Final = {
    "image": VISION,
    "vision": VISION,
    "audio": AUDIO,
    "tools": TOOLS,
    "tool_use": TOOLS,
    "function_calling": TOOLS,
    "reasoning": THINKING,
    "thinking": THINKING,
    "completion_chat": COMPLETION,
    "completion_fim": INSERT,
}

# The sampling options of OpenAI's own reference.
OPENAI_OPTIONS: Final[Mapping[str, str]] = {
    name: name
    for name in (
        "temperature",
        "top_p",
        "max_tokens",
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
    )
}


class OpenAIBackend(HttpBackend):
    """One OpenAI-compatible server.

    What subclasses say differently is data (`option_names`, `image_types`, `reasoning_keys`) or one of the
    `_..._part` methods.

    Attributes:
        option_names: Name of each of `SamplingOptions` in the dialect; what is missing cannot be said.
        image_types: Media types of images that it decodes; None for all.
        reasoning_keys: Fields of a message that it reads earlier reasoning from.
    """

    option_names: ClassVar[Mapping[str, str]] = OPENAI_OPTIONS
    image_types: ClassVar[frozenset[str] | None] = None
    reasoning_keys: ClassVar[tuple[str, ...]] = ()

    def encode(self, request: ChatRequest) -> WireRequest:
        """POST /v1/chat/completions, streamed, with usage."""
        part = self._chat_part(request)
        return WireRequest(
            method="POST",
            url=f"{self.endpoint.base_url}/v1/chat/completions",
            headers={"Content-Type": "application/json", "Accept": "text/event-stream", **self._credential()},
            body=dump_json({**part.fields, "stream": True, **self._stream_fields(request)}),
            not_sent=part.not_sent,
        )

    def decoder(self) -> StreamDecoder:
        """For one answer to `encode`."""
        return OpenAIDecoder(self.endpoint.base_url)

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /v1/models."""
        infos = [self._model_info(item) for item in await self._items()]
        return tuple(info for info in infos if info is not None)

    async def _items(self) -> list[Mapping[str, JsonValue]]:
        document = await self._get_object("/v1/models")
        # Ollama's /v1 has null where it has no model; a missing key is no model list at all.
        if "data" not in document:
            raise ProtocolError(f"{self.endpoint.base_url}/v1/models", "it has no list of models")
        return [as_object(item) for item in as_list(document["data"])[:MAX_MODELS]]

    async def embed(self, model_id: str, texts: Sequence[str]) -> Embeddings:
        """POST /v1/embeddings."""
        return await embed_in_batches(texts, lambda batch: self._embed(model_id, batch))

    async def _embed(self, model_id: str, texts: list[str]) -> Embeddings:
        reply = await self._post_long("/v1/embeddings", {"model": model_id, "input": [*texts]})
        document = await self._object(reply)
        items = [as_object(item) for item in as_list(document.get("data"))]
        # Servers that answer in their own order say which is which.
        items.sort(key=lambda item: as_count(item.get("index")) or 0)
        tokens = as_count(as_object(document.get("usage")).get("prompt_tokens"))
        vectors = vectors_of([item.get("embedding") for item in items], len(texts), reply.url)
        return Embeddings(vectors, tokens)

    # --- the request, in pieces ---

    def _chat_part(self, request: ChatRequest) -> Part:
        """The whole body but for what makes it a stream."""
        return encoding.joined(
            Part({"model": request.model_id}),
            encoding.messages_part(
                request.messages, image_types=self.image_types, reasoning_keys=self.reasoning_keys
            ),
            encoding.sampling_part(request.options, self.option_names),
            self._thinking_part(request.options),
            self._tools_part(request),
            self._output_part(request.output),
        )

    def _stream_fields(self, request: ChatRequest) -> dict[str, JsonValue]:
        return {"stream_options": {"include_usage": True}} if request.ask_usage else {}

    def _thinking_part(self, options: SamplingOptions) -> Part:
        return encoding.effort_part(options)

    def _tools_part(self, request: ChatRequest) -> Part:
        return encoding.tools_part(request)

    def _output_part(self, output: JsonOutput | None) -> Part:
        return encoding.output_part(output)

    # --- the list ---

    def _model_info(self, item: Mapping[str, JsonValue]) -> ModelInfo | None:
        model_id = as_text(item.get("id"))
        if not model_id:
            return None
        lengths = ((as_count(item.get(key)), source) for key, source in _CONTEXT_KEYS)
        length, source = next(((n, source) for n, source in lengths if n), (None, None))
        return ModelInfo(
            id=model_id,
            context_length=length,
            context_source=source,
            trained_context=as_count(item.get("max_context_length")) or None,
            capabilities=_capabilities(item),
        )


def _capabilities(item: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """From what hosted services say of a model; empty where they say nothing.

    OpenRouter has `architecture.input_modalities` (so has llama-server) and `supported_parameters`, Mistral
    an object `capabilities`.
    """
    inputs = as_list(as_object(item.get("architecture")).get("input_modalities"))
    parameters = as_list(item.get("supported_parameters"))
    flags = [name for name, on in as_object(item.get("capabilities")).items() if on is True]
    said = [as_text(word) for word in (*inputs, *parameters, *flags)]
    found = [_WORDS[word] for word in said if word in _WORDS]
    return tuple(dict.fromkeys([COMPLETION, *found] if inputs or parameters else found))
