"""What all backends share: small questions to the server, and honest answers to what a server cannot do."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import ClassVar, Final

import httpx

from llama_runner.backends.base import Endpoint, StreamDecoder, WireRequest
from llama_runner.backends.events import StreamEvent
from llama_runner.backends.models import Embeddings, ModelInfo, TokenCount
from llama_runner.backends.request import ChatRequest
from llama_runner.backends.streaming import stream_events
from llama_runner.backends.suggestions import not_found
from llama_runner.backends.values import as_count
from llama_runner.core.clock import Clock
from llama_runner.core.errors import NotFoundError, ProtocolError, UnsupportedError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.trace import TokensSource
from llama_runner.net.errors import is_error, stream_error
from llama_runner.net.fetch import MAX_REPLY_BYTES, Reply, fetch

# Lists and health checks answer from memory; a server that needs longer is stuck.
LIST_TIMEOUT_S: Final = 10.0
# Counting is quick, but a server may have to load the model first.
COUNT_TIMEOUT_S: Final = 60.0
# Loading a large model from a slow disk takes this long, and embeddings may wait for that.
LONG_TIMEOUT_S: Final = 1800.0
# 32 embeddings of the longest kind, as text.
MAX_LONG_REPLY_BYTES: Final = 16 * 1024 * 1024
# D5: nobody picks from a longer list.
MAX_MODELS: Final = 2000


class HttpBackend(ABC):
    """One server. Subclasses know its dialect; what they do not override, the server cannot do."""

    ping_path: ClassVar[str] = "/v1/models"
    can_load: bool = False

    def __init__(self, endpoint: Endpoint, *, http: httpx.AsyncClient, clock: Clock) -> None:
        self.endpoint = endpoint
        self._http = http
        self._clock = clock

    @abstractmethod
    def encode(self, request: ChatRequest) -> WireRequest:
        """The request in this dialect, streaming."""

    @abstractmethod
    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one answer to `encode`."""

    @abstractmethod
    async def list_models(self) -> tuple[ModelInfo, ...]:
        """What the server offers. Raises ServerError."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send and decode; see `Backend.stream`."""
        return stream_events(self._http, self.encode(request), self.decoder(), self._clock)

    async def ping(self) -> float:
        """Seconds for one cheap read-only request."""
        return (await self._get(self.ping_path)).elapsed_s

    async def describe(self, model_id: str) -> ModelInfo:
        """What the list says about it."""
        models = await self.list_models()
        found = next((model for model in models if model.id == model_id), None)
        if found is None:
            raise not_found(self.endpoint.base_url, model_id, tuple(model.id for model in models))
        return found

    async def load(self, model_id: str) -> None:
        """Refused: this kind of server does not load on request."""
        raise self._unsupported("load a model on request")

    async def unload(self, model_id: str) -> None:
        """Refused: this kind of server does not unload on request."""
        raise self._unsupported("unload a model on request")

    async def embed(self, model_id: str, texts: Sequence[str]) -> Embeddings:
        """Refused: this kind of server has no embeddings."""
        raise self._unsupported("make embeddings")

    async def count_tokens(self, model_id: str, text: str) -> TokenCount | None:
        """None: this kind of server does not let others use its tokenizer."""
        return None

    async def count_prompt(self, request: ChatRequest) -> TokenCount | None:
        """None: this kind of server does not count a request without answering it."""
        return None

    def _unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self.endpoint.base_url} cannot {what}: {self.endpoint.engine} servers have no such call.",
            "Do it in the server's own program.",
        )

    def _credential(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.endpoint.api_key}"} if self.endpoint.api_key else {}

    async def _get(self, path: str, *, timeout_s: float = LIST_TIMEOUT_S) -> Reply:
        url = f"{self.endpoint.base_url}{path}"
        reply = await fetch(
            self._http, url, headers=self._credential(), timeout_s=timeout_s, clock=self._clock
        )
        return reply.raise_for_status()

    async def _get_object(self, path: str, *, timeout_s: float = LIST_TIMEOUT_S) -> Mapping[str, JsonValue]:
        return await self._object(await self._get(path, timeout_s=timeout_s))

    async def _post(
        self,
        path: str,
        body: Mapping[str, JsonValue],
        *,
        timeout_s: float = LIST_TIMEOUT_S,
        max_bytes: int = MAX_REPLY_BYTES,
    ) -> Reply:
        reply = await fetch(
            self._http,
            f"{self.endpoint.base_url}{path}",
            method="POST",
            headers={"Content-Type": "application/json", **self._credential()},
            body=dump_json(dict(body)),
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            clock=self._clock,
        )
        return reply.raise_for_status()

    async def _post_long(self, path: str, body: Mapping[str, JsonValue]) -> Reply:
        """For what may take minutes, or has a long answer."""
        return await self._post(path, body, timeout_s=LONG_TIMEOUT_S, max_bytes=MAX_LONG_REPLY_BYTES)

    async def _counted(self, path: str, body: Mapping[str, JsonValue], key: str) -> TokenCount | None:
        """What the server's tokenizer counts: a number or a list in `key`; None without such a path."""
        try:
            reply = await self._post(path, body, timeout_s=COUNT_TIMEOUT_S, max_bytes=MAX_LONG_REPLY_BYTES)
        except NotFoundError:
            return None
        said = (await self._object(reply)).get(key)
        tokens = len(said) if isinstance(said, list) else as_count(said)
        if tokens is None:
            raise ProtocolError(reply.url, "it has no count of tokens")
        return TokenCount(tokens, TokensSource.SERVER_TOKENIZER)

    async def _object(self, reply: Reply) -> Mapping[str, JsonValue]:
        document = await reply.document()
        if not isinstance(document, dict):
            raise ProtocolError(reply.url, "it is not a JSON object")
        # LM Studio answers paths that it does not know with status 200.
        if is_error(document):
            raise stream_error(document, reply.url)
        return document
