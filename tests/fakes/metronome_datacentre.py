"""The metronome's manners as engines of data centres and hosted services have them.

Shapes as their documentation and sources have them (see the backends' docstrings).
"""

from typing import Any, ClassVar

from tests.fakes.metronome_anthropic import Anthropic
from tests.fakes.metronome_dialects import Dialect, Sglang, Tgi, Vllm
from tests.fakes.metronome_manners import CONTEXT, Ask, Handler, Manners, Reply, prompt_tokens_of, tokens_of


class VllmManners(Manners):
    """vLLM."""

    headers: ClassVar[dict[str, str]] = {"Server": "uvicorn"}
    public_paths: ClassVar[tuple[str, ...]] = ("/health", "/version")
    owner = "vllm"

    def dialect(self, ask: Ask) -> Dialect:
        return Vllm(ask.text("model"), continuous=_continuous(ask))

    def routes(self) -> dict[str, Handler]:
        return {
            **super().routes(),
            "GET /version": lambda ask: Reply({"version": "0.26.0"}),
            "GET /health": lambda ask: Reply(""),
            "POST /tokenize": self.tokenize,
        }

    def entry(self, name: str) -> dict[str, Any]:
        return {
            **super().entry(name),
            "root": name,
            "parent": None,
            "max_model_len": CONTEXT,
            "permission": [],
        }

    def tokenize(self, ask: Ask) -> Reply:
        """Of a text or of a conversation."""
        found = prompt_tokens_of(ask.body) if "messages" in ask.body else tokens_of(ask.text("prompt"))
        return Reply({"count": len(found), "max_model_len": CONTEXT, "tokens": found, "token_strs": None})


class SglangManners(VllmManners):
    """SGLang."""

    public_paths: ClassVar[tuple[str, ...]] = ("/health",)
    owner = "sglang"

    def dialect(self, ask: Ask) -> Dialect:
        return Sglang(ask.text("model"), continuous=_continuous(ask))

    def routes(self) -> dict[str, Handler]:
        return {**super().routes(), "GET /model_info": self.model_info, "GET /server_info": self.server_info}

    def entry(self, name: str) -> dict[str, Any]:
        return {name: value for name, value in super().entry(name).items() if name != "permission"}

    def model_info(self, ask: Ask) -> Reply:
        """What it serves."""
        return Reply(
            {
                "model_path": self.models[0],
                "tokenizer_path": self.models[0],
                "is_generation": True,
                "has_image_understanding": True,
                "has_audio_understanding": False,
                "model_type": "metronome",
            }
        )

    def server_info(self, ask: Ask) -> Reply:
        """How it was started, and its parts' states."""
        return Reply({"version": "0.5.23", "context_length": CONTEXT, "quantization": "fp8"})


class TgiManners(Manners):
    """Text Generation Inference: serves one model, whatever the request names."""

    public_paths: ClassVar[tuple[str, ...]] = ("/health", "/info", "/chat_tokenize")

    def dialect(self, ask: Ask) -> Dialect:
        return Tgi(ask.text("model"))

    def routes(self) -> dict[str, Handler]:
        return {
            "GET /v1/models": self.v1_models,
            "GET /info": self.info,
            "GET /health": lambda ask: Reply(""),
            "POST /tokenize": lambda ask: Reply(_tgi_tokens(tokens_of(ask.text("inputs")))),
            "POST /chat_tokenize": self.chat_tokenize,
        }

    def error(self, status: int, message: str, kind: str = "validation") -> Reply:
        return Reply({"error": message, "error_type": kind}, status)

    def info(self, ask: Ask) -> Reply:
        """What it serves and its limits."""
        return Reply(
            {
                "model_id": self.models[0],
                "model_sha": None,
                "model_dtype": "torch.float16",
                "model_device_type": "cuda",
                "model_pipeline_tag": "text-generation",
                "max_concurrent_requests": 128,
                "max_input_tokens": CONTEXT - 1,
                "max_total_tokens": CONTEXT,
                "max_batch_total_tokens": 16_384,
                "version": "3.3.6",
                "docker_label": None,
            }
        )

    def chat_tokenize(self, ask: Ask) -> Reply:
        """A conversation through its template."""
        found = _tgi_tokens(prompt_tokens_of(ask.body))
        return Reply({"tokenize_response": found, "templated_text": "<s>"})


class LiteLLMManners(Manners):
    """LiteLLM's proxy."""

    headers: ClassVar[dict[str, str]] = {"x-litellm-version": "1.109.1"}
    public_paths: ClassVar[tuple[str, ...]] = ("/health/liveliness",)
    owner = "openai"

    def routes(self) -> dict[str, Handler]:
        return {
            **super().routes(),
            "GET /health/liveliness": lambda ask: Reply('"I\'m alive!"'),
            "GET /v1/model/info": self.model_info,
            "POST /utils/token_counter": self.count,
        }

    def unknown_path(self, ask: Ask) -> Reply:
        return Reply({"detail": "Not Found"}, 404)

    def model_info(self, ask: Ask) -> Reply:
        """One entry per deployment; a model may have several."""
        info = {
            "id": "112f",
            "mode": "chat",
            "max_tokens": 1024,
            "max_input_tokens": CONTEXT,
            "max_output_tokens": 1024,
            "supports_vision": True,
            "supports_function_calling": True,
            "supports_reasoning": None,
        }
        data = [{"model_name": name, "litellm_params": {}, "model_info": info} for name in self.models]
        return Reply({"data": data * 2})

    def count(self, ask: Ask) -> Reply:
        """Of a text or a conversation."""
        found = prompt_tokens_of(ask.body) if ask.body.get("messages") else tokens_of(ask.text("prompt"))
        model = ask.text("model")
        return Reply(
            {
                "total_tokens": len(found),
                "request_model": model,
                "model_used": model,
                "tokenizer_type": "huggingface_tokenizer",
            }
        )


class AnthropicManners(Manners):
    """Anthropic's own service."""

    chat_paths = ("/v1/messages",)

    def dialect(self, ask: Ask) -> Dialect:
        return Anthropic(ask.text("model"))

    def refusal(self, ask: Ask) -> Reply | None:
        if (refused := super().refusal(ask)) is not None:
            return refused
        if "anthropic-version" not in ask.headers:
            return self.error(400, "anthropic-version: header is required")
        if self.streams(ask) and "max_tokens" not in ask.body:
            return self.error(400, "max_tokens: Field required")
        return None

    def routes(self) -> dict[str, Handler]:
        return {"GET /v1/models": self.list, "POST /v1/messages/count_tokens": self.count}

    def error(self, status: int, message: str, kind: str = "invalid_request_error") -> Reply:
        error = {"type": kind, "message": message}
        return Reply({"type": "error", "error": error, "request_id": "req_metronome"}, status)

    def list(self, ask: Ask) -> Reply:
        """One page."""
        data = [
            {
                "type": "model",
                "id": name,
                "display_name": name.title(),
                "created_at": "2026-01-01T00:00:00Z",
                "max_input_tokens": CONTEXT,
                "max_tokens": 1024,
                "capabilities": {
                    "image_input": {"supported": True},
                    "thinking": {"supported": True, "types": {}},
                },
            }
            for name in self.models
        ]
        return Reply(
            {"data": data, "has_more": False, "first_id": self.models[0], "last_id": self.models[-1]}
        )

    def count(self, ask: Ask) -> Reply:
        """A conversation without its answer."""
        return Reply({"input_tokens": len(prompt_tokens_of(ask.body))})


def _continuous(ask: Ask) -> bool:
    wanted = ask.body.get("stream_options")
    return isinstance(wanted, dict) and wanted.get("continuous_usage_stats") is True


def _tgi_tokens(ids: list[int]) -> list[dict[str, Any]]:
    return [{"id": token, "text": "w", "start": at, "stop": at + 1} for at, token in enumerate(ids)]
