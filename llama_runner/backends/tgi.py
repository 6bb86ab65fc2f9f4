"""Hugging Face's Text Generation Inference: one model, described at /info, with a tokenizer for all to use.

Source: huggingface/text-generation-inference, docs/openapi.json and router/src (3.3).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from llama_runner.backends.encoding import THINKING_OPTIONS, Part
from llama_runner.backends.http_backend import COUNT_TIMEOUT_S, MAX_LONG_REPLY_BYTES
from llama_runner.backends.models import COMPLETION, ContextSource, Embeddings, ModelInfo, TokenCount
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.backends.request import ChatRequest, JsonOutput, SamplingOptions
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.core.errors import NotFoundError, ProtocolError
from llama_runner.core.jsonio import JsonValue
from llama_runner.core.trace import TokensSource


class TgiBackend(OpenAIBackend):
    """One TGI server."""

    # Not /health, which has an idle model write a token.
    ping_path: ClassVar[str] = "/info"

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /info; its list is newer and says less."""
        said = await self._get_object("/info")
        model_id = as_text(said.get("model_id"))
        if not model_id:
            raise ProtocolError(f"{self.endpoint.base_url}/info", "it names no model")
        context = as_count(said.get("max_total_tokens")) or None
        source = ContextSource.RUNNING if context else None
        return (ModelInfo(model_id, context, loaded=True, capabilities=(COMPLETION,), context_source=source),)

    async def embed(self, model_id: str, texts: Sequence[str]) -> Embeddings:
        """Refused: embeddings are another program's work there."""
        raise self._unsupported("make embeddings")

    async def count_tokens(self, model_id: str, text: str) -> TokenCount | None:
        """POST /tokenize; what it puts before the text itself has no width and is left out."""
        found = await self._tokens("/tokenize", {"inputs": text})
        if found is None:
            return None
        own = [token for token in found if token.get("start") != token.get("stop")]
        return TokenCount(len(own), TokensSource.SERVER_TOKENIZER)

    async def count_prompt(self, request: ChatRequest) -> TokenCount | None:
        """POST /chat_tokenize."""
        found = await self._tokens("/chat_tokenize", self._chat_part(request).fields)
        return None if found is None else TokenCount(len(found), TokensSource.SERVER_TOKENIZER)

    async def _tokens(self, path: str, body: Mapping[str, JsonValue]) -> list[Mapping[str, JsonValue]] | None:
        """The tokens, in a list of their own or in a field; None without a tokenizer."""
        try:
            reply = await self._post(path, body, timeout_s=COUNT_TIMEOUT_S, max_bytes=MAX_LONG_REPLY_BYTES)
        except NotFoundError:
            return None
        document = await reply.document()
        found = as_object(document).get("tokenize_response") if isinstance(document, dict) else document
        if not isinstance(found, list):
            raise ProtocolError(reply.url, "it has no list of tokens")
        return [as_object(token) for token in as_list(found)]

    def _thinking_part(self, options: SamplingOptions) -> Part:
        return Part({}, tuple(name for name in THINKING_OPTIONS if getattr(options, name) is not None))

    def _output_part(self, output: JsonOutput | None) -> Part:
        if output is None:
            return Part()
        # Its grammar has to name the fields.
        if output.schema is None or "properties" not in output.schema:
            return Part({}, ("output",))
        return Part({"response_format": {"type": "json", "value": dict(output.schema)}})
