"""The contract every backend keeps: values that go in, events that come out, and who may be asked what.

A backend owns one server's dialect. It must never retry, follow a redirect, or send a key to another origin.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from llama_runner.backends.events import StreamEvent
from llama_runner.backends.models import Embeddings, ModelInfo, TokenCount
from llama_runner.backends.request import ChatRequest
from llama_runner.core.errors import ServerError


class Engine(StrEnum):
    """The program that serves, as shown and as written in JSON."""

    LLAMA_SERVER = "llama-server"
    OLLAMA = "ollama"
    OPENAI = "openai-compatible"
    LM_STUDIO = "lm-studio"
    VLLM = "vllm"
    SGLANG = "sglang"
    TGI = "tgi"
    LOCALAI = "localai"
    KOBOLDCPP = "koboldcpp"
    LITELLM = "litellm"
    LLAMA_SWAP = "llama-swap"
    ANTHROPIC = "anthropic"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is and how it is spoken to.

    Attributes:
        base_url: Scheme, host and port, no path, no trailing slash, no user information.
        engine: Decides which backend speaks to it.
        api_key: Bound to this base URL; kept out of every repr.
        tls_pin: SHA-256 of the one certificate to accept; None for the usual rules.
    """

    base_url: str
    engine: Engine
    api_key: str | None = field(default=None, repr=False)
    tls_pin: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One model on one server: what a chat, an arena entry or a stress run talks to.

    Attributes:
        label: How people call it, unique enough to tell two targets apart.
    """

    endpoint: Endpoint
    model_id: str
    label: str


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request ready to send: picklable, so that a load worker can send it elsewhere.

    Attributes:
        headers: Includes the credential; never logged.
        not_sent: Names of fields of the request that this dialect cannot express.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes
    not_sent: tuple[str, ...] = ()


class StreamDecoder(Protocol):
    """Bytes to events, without I/O. One instance decodes one response body.

    Correct for every split of the bytes; capped in line, event and stream size (safety R4).
    """

    @property
    def failure(self) -> ServerError | None:
        """The error that the stream carried or broke off with; what `feed` returned before still counts."""
        ...

    def feed(self, t_ns: int, data: bytes) -> list[StreamEvent]:
        """Events completed by `data`, which was read at `t_ns`. Never raises: look at `failure` after."""
        ...

    def plain_text(self, data: bytes) -> str:
        """The text of a read that is one event of answer text and nothing else; it is taken as fed then.

        Empty for any other read, which is to be fed: of a dialect that says more with each text, for all.
        """
        ...

    def close(self, t_ns: int) -> list[StreamEvent]:
        """The body ended: the last events. `failure` is a TruncatedError when the end marker never came."""
        ...


class Backend(Protocol):
    """One server, in its own dialect."""

    endpoint: Endpoint

    def encode(self, request: ChatRequest) -> WireRequest:
        """The request in this dialect, streaming, with usage asked for."""
        ...

    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one answer to `encode`."""
        ...

    def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send and decode. First event RequestSent, last event Finished; anything else raises a ServerError.

        Closing the iterator (`contextlib.aclosing`) closes the connection, which makes the server stop.
        """
        ...

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """What the server offers. Raises ServerError."""
        ...

    async def ping(self) -> float:
        """Seconds for one cheap read-only request. Raises ServerError."""
        ...

    async def describe(self, model_id: str) -> ModelInfo:
        """All that the server says about one model; asks more than `list_models`.

        Raises NotFoundError with what comes close when it is not there, or another ServerError.
        """
        ...

    @property
    def can_load(self) -> bool:
        """Whether `load` and `unload` are worth offering for every model; see also `ModelInfo.loadable`."""
        ...

    async def load(self, model_id: str) -> None:
        """Have the model in memory; returns when it is. Raises UnsupportedError, or another ServerError."""
        ...

    async def unload(self, model_id: str) -> None:
        """Have it out of memory. Raises UnsupportedError, or another ServerError."""
        ...

    async def embed(self, model_id: str, texts: Sequence[str]) -> Embeddings:
        """One vector per text. Raises UnsupportedError, or another ServerError."""
        ...

    async def count_tokens(self, model_id: str, text: str) -> TokenCount | None:
        """Tokens of a plain text by the server's own tokenizer; None when it has none. Raises ServerError."""
        ...

    async def count_prompt(self, request: ChatRequest) -> TokenCount | None:
        """Prompt tokens of a whole request, template included; None when the server can't say."""
        ...
