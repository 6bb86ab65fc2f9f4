"""How a server answers everything but a streamed chat: lists, tokenizers, embeddings, loading. No I/O.

Subclasses are engines. State is what is in memory: the first model at the start.
"""

import base64
import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from tests.fakes.metronome_dialects import CREATED, PROMPT_TOKENS, Dialect, OpenAI
from tests.fakes.metronome_plan import MODEL_PREFIX

CONTEXT: Final = 4096
TRAINED_CONTEXT: Final = 8192
SIZE_BYTES: Final = 1_000_000
QUANTIZATION: Final = "Q4_K_M"
DIMENSIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. `body` is empty where it is no JSON object."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A field that has to be a text."""
        return str(self.body.get(name) or "")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer at once: a text, or a JSON document."""

    document: Any
    status: int = 200


Handler = Callable[[Ask], Reply]


class Manners:
    """What all have in common. Routes are "METHOD /path"; one that ends in `*` takes any rest."""

    headers: ClassVar[dict[str, str]] = {}
    chat_paths: ClassVar[tuple[str, ...]] = ("/v1/chat/completions", "/chat/completions")
    public_paths: ClassVar[tuple[str, ...]] = ()
    owner: ClassVar[str] = "metronome"

    def __init__(self, models: tuple[str, ...], api_key: str | None = None) -> None:
        self.models = models
        self.loaded = set(models[:1])
        self._api_key = api_key

    def dialect(self, ask: Ask) -> Dialect:
        """How the answer to a chat is spelt."""
        return OpenAI(ask.text("model"))

    def streams(self, ask: Ask) -> bool:
        """Whether the request is a chat, to be answered on a schedule."""
        return ask.method == "POST" and ask.path in self.chat_paths

    def refusal(self, ask: Ask) -> Reply | None:
        """Why the request is refused, None when it is not."""
        if self._api_key is None or ask.path in self.public_paths:
            return None
        given = (ask.headers.get("authorization"), ask.headers.get("x-api-key"))
        if given[0] == f"Bearer {self._api_key}" or given[1] == self._api_key:
            return None
        return self.error(401, "Invalid API Key", "authentication_error")

    def answer(self, ask: Ask) -> Reply:
        """The answer to anything that is no chat."""
        wanted = f"{ask.method} {ask.path}"
        routes = self.routes()
        if wanted in routes:
            return routes[wanted](ask)
        for pattern, handler in routes.items():
            if pattern.endswith("*") and wanted.startswith(pattern[:-1]):
                return handler(ask)
        return self.unknown_path(ask)

    def routes(self) -> dict[str, Handler]:
        """What is answered, by method and path."""
        return {"GET /v1/models": self.v1_models, "POST /v1/embeddings": self.v1_embeddings}

    def error(self, status: int, message: str, kind: str = "invalid_request_error") -> Reply:
        """An error in this engine's shape."""
        return Reply({"error": {"message": message, "type": kind, "code": status}}, status)

    def unknown_path(self, ask: Ask) -> Reply:
        """No such route."""
        return self.error(404, "File Not Found", "not_found_error")

    def unknown_model(self, name: str) -> Reply:
        """No such model."""
        return self.error(404, f"model '{name}' not found", "not_found_error")

    def knows(self, name: str) -> bool:
        """Whether there is such a model; one that carries a plan always is."""
        return name in self.models or name.startswith(MODEL_PREFIX)

    # --- shared answers ---

    def v1_models(self, ask: Ask) -> Reply:
        """OpenAI's list."""
        return Reply({"object": "list", "data": [self.entry(name) for name in self.models]})

    def entry(self, name: str) -> dict[str, Any]:
        """One model of OpenAI's list."""
        return {"id": name, "object": "model", "created": CREATED, "owned_by": self.owner}

    def v1_embeddings(self, ask: Ask) -> Reply:
        """OpenAI's embeddings, as numbers or as base64."""
        texts = texts_of(ask.body.get("input"))
        as_text = ask.body.get("encoding_format") == "base64"
        vectors: list[Any] = [vector(text) for text in texts]
        if as_text:
            vectors = [base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *v)).decode() for v in vectors]
        data = [
            {"object": "embedding", "index": index, "embedding": found} for index, found in enumerate(vectors)
        ]
        tokens = sum(len(tokens_of(text)) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return Reply({"object": "list", "data": data, "model": ask.text("model"), "usage": usage})

    def set_loaded(self, name: str, loaded: bool) -> None:
        """Bring a model in or out of memory."""
        (self.loaded.add if loaded else self.loaded.discard)(name)


def tokens_of(text: str) -> list[int]:
    """One token per word."""
    return [int.from_bytes(hashlib.sha256(word.encode()).digest()[:2]) for word in text.split()]


def prompt_tokens_of(messages: Any) -> list[int]:
    """As many as the usage of every answer says."""
    return list(range(PROMPT_TOKENS))


def texts_of(given: Any) -> list[str]:
    """A text, or a list of texts."""
    return [given] if isinstance(given, str) else [str(text) for text in given or ()]


def vector(text: str) -> list[float]:
    """The same numbers for the same text."""
    return [byte / 256 for byte in hashlib.sha256(text.encode()).digest()[:DIMENSIONS]]
