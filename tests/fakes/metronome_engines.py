"""The table of the metronome's engines, with the manners of the three that came first."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from tests.fakes import metronome_datacentre as datacentre
from tests.fakes import metronome_desktop as desktop
from tests.fakes.metronome_anthropic import Anthropic
from tests.fakes.metronome_dialects import Dialect, LlamaServer, Ollama, OpenAI
from tests.fakes.metronome_manners import (
    CONTEXT,
    QUANTIZATION,
    SIZE_BYTES,
    TRAINED_CONTEXT,
    Ask,
    Handler,
    Manners,
    Reply,
    prompt_tokens_of,
    texts_of,
    tokens_of,
    vector,
)

NOW: Final = "2026-01-01T00:00:00Z"


class LlamaServerManners(Manners):
    """One llama-server with one model; it speaks Anthropic's dialect too."""

    headers: ClassVar[dict[str, str]] = {"Server": "llama.cpp"}
    chat_paths = (*Manners.chat_paths, "/v1/messages")
    public_paths = ("/health",)
    owner = "llamacpp"

    def dialect(self, ask: Ask) -> Dialect:
        if ask.path == "/v1/messages":
            return Anthropic(ask.text("model"))
        body = ask.body
        per_token, progress = body.get("timings_per_token") is True, body.get("return_progress") is True
        return LlamaServer(ask.text("model"), timings_per_token=per_token, progress=progress)

    def routes(self) -> dict[str, Handler]:
        return {
            **super().routes(),
            "GET /health": lambda ask: Reply({"status": "ok"}),
            "GET /props": self.props,
            "POST /tokenize": lambda ask: Reply({"tokens": tokens_of(ask.text("content"))}),
            "POST /v1/chat/completions/input_tokens": self.input_tokens,
            "POST /v1/messages/count_tokens": self.input_tokens,
        }

    def entry(self, name: str) -> dict[str, Any]:
        meta = {
            "n_ctx": CONTEXT,
            "n_ctx_train": TRAINED_CONTEXT,
            "n_params": 7_000_000_000,
            "size": SIZE_BYTES,
            "ftype": "Q4_K - Medium",
        }
        return {**super().entry(name), "meta": meta}

    def props(self, ask: Ask) -> Reply:
        """Of the running model."""
        return Reply(
            {
                "build_info": "b0-metronome",
                "total_slots": 4,
                "default_generation_settings": {"n_ctx": CONTEXT},
                "modalities": {"vision": False, "audio": False},
                "chat_template": "{{ messages }}",
                "chat_template_caps": {"supports_tools": True},
            }
        )

    def input_tokens(self, ask: Ask) -> Reply:
        """A conversation without its answer."""
        return Reply({"input_tokens": len(prompt_tokens_of(ask.body)), "object": "response.input_tokens"})


class OllamaManners(Manners):
    """Ollama's own API: loads by empty requests, unloads by a keep-alive of zero."""

    chat_paths = ("/api/chat",)

    def dialect(self, ask: Ask) -> Dialect:
        return Ollama(ask.text("model"))

    def streams(self, ask: Ask) -> bool:
        return super().streams(ask) and bool(ask.body.get("messages"))

    def routes(self) -> dict[str, Handler]:
        return {
            "GET /": lambda ask: Reply("Ollama is running"),
            "GET /api/version": lambda ask: Reply({"version": "0.34.0"}),
            "GET /api/tags": lambda ask: Reply({"models": [self.tag(name) for name in self.models]}),
            "GET /api/ps": self.ps,
            "POST /api/show": self.show,
            "POST /api/embed": self.embed,
            "POST /api/generate": lambda ask: self.keep(ask, {"response": ""}),
            "POST /api/chat": lambda ask: self.keep(ask, {"message": {"role": "assistant", "content": ""}}),
        }

    def error(self, status: int, message: str, kind: str = "") -> Reply:
        return Reply({"error": message}, status)

    def tag(self, name: str) -> dict[str, Any]:
        """One model of the list."""
        details = {
            "format": "gguf",
            "family": "metronome",
            "parameter_size": "7B",
            "quantization_level": QUANTIZATION,
            "context_length": TRAINED_CONTEXT,
        }
        return {"name": name, "model": name, "size": SIZE_BYTES, "details": details}

    def ps(self, ask: Ask) -> Reply:
        """What is in memory."""
        found = [{"name": name, "model": name, "context_length": CONTEXT} for name in sorted(self.loaded)]
        return Reply({"models": found})

    def show(self, ask: Ask) -> Reply:
        """All about one model."""
        name = ask.text("model") or ask.text("name")
        if name not in self.models:
            return self.unknown_model(name)
        info = {
            "general.architecture": "metronome",
            "general.parameter_count": 7_000_000_000,
            "metronome.context_length": TRAINED_CONTEXT,
        }
        return Reply(
            {
                "details": self.tag(name)["details"],
                "model_info": info,
                "capabilities": ["completion", "tools", "vision", "thinking", "embedding"],
                "template": "{{ .Prompt }}",
                "parameters": "",
                "modified_at": NOW,
            }
        )

    def embed(self, ask: Ask) -> Reply:
        """Vectors."""
        texts = texts_of(ask.body.get("input"))
        tokens = sum(len(tokens_of(text)) for text in texts)
        vectors = [vector(text) for text in texts]
        return Reply({"model": ask.text("model"), "embeddings": vectors, "prompt_eval_count": tokens})

    def keep(self, ask: Ask, empty: dict[str, Any]) -> Reply:
        """The answer to a request without a prompt: a model that is loaded, or no longer."""
        name = ask.text("model")
        if not self.knows(name):
            return self.unknown_model(name)
        loaded = ask.body.get("keep_alive") != 0
        self.set_loaded(name, loaded)
        reason = "load" if loaded else "unload"
        return Reply({"model": name, "created_at": NOW, **empty, "done": True, "done_reason": reason})


class AnyManners(LlamaServerManners):
    """OpenAI, llama-server and Ollama at once: llama.cpp's extras for who asks for them."""

    headers: ClassVar[dict[str, str]] = {}
    chat_paths = (*LlamaServerManners.chat_paths, "/api/chat")

    def __init__(self, models: tuple[str, ...], api_key: str | None = None) -> None:
        super().__init__(models, api_key)
        self._ollama = OllamaManners(models, api_key)

    def dialect(self, ask: Ask) -> Dialect:
        if ask.path == "/api/chat":
            return self._ollama.dialect(ask)
        if ask.path != "/v1/messages" and "timings_per_token" not in ask.body:
            return OpenAI(ask.text("model"))
        return super().dialect(ask)

    def streams(self, ask: Ask) -> bool:
        return self._ollama.streams(ask) if ask.path == "/api/chat" else super().streams(ask)

    def routes(self) -> dict[str, Handler]:
        return {**self._ollama.routes(), **super().routes()}


ENGINES: Final[Mapping[str, type[Manners]]] = {
    "any": AnyManners,
    "openai": Manners,
    "openai-compatible": Manners,
    "llama-server": LlamaServerManners,
    "ollama": OllamaManners,
    "lm-studio": desktop.LmStudioManners,
    "vllm": datacentre.VllmManners,
    "sglang": datacentre.SglangManners,
    "tgi": datacentre.TgiManners,
    "localai": desktop.LocalAIManners,
    "koboldcpp": desktop.KoboldCppManners,
    "litellm": datacentre.LiteLLMManners,
    "llama-swap": desktop.LlamaSwapManners,
    "anthropic": datacentre.AnthropicManners,
}
