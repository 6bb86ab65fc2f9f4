"""The metronome's manners as engines on people's own machines have them.

Shapes as their documentation and sources have them (see the backends' docstrings).
"""

from typing import Any, ClassVar
from urllib.parse import unquote

from tests.fakes.metronome_dialects import Dialect, LlamaServer, LmStudio, LocalAI
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
    tokens_of,
)


class LmStudioManners(Manners):
    """LM Studio, whose answer to any unknown path has status 200."""

    headers: ClassVar[dict[str, str]] = {"X-Powered-By": "Express"}
    owner = "organization_owner"

    def dialect(self, ask: Ask) -> Dialect:
        return LmStudio(ask.text("model"))

    def refusal(self, ask: Ask) -> Reply | None:
        wanted = ask.body.get("response_format")
        if isinstance(wanted, dict) and wanted.get("type") == "json_object":
            return self.error(400, "'response_format.type' must be 'json_schema' or 'text'")
        return super().refusal(ask)

    def routes(self) -> dict[str, Handler]:
        return {
            **super().routes(),
            "GET /lmstudio-greeting": lambda ask: Reply({"lmstudio": True}),
            "GET /api/v0/models": lambda ask: Reply(
                {"object": "list", "data": [self.v0_entry(name) for name in self.models]}
            ),
            "GET /api/v1/models": lambda ask: Reply({"models": [self.v1_entry(m) for m in self.models]}),
            "POST /api/v1/models/load": self.load,
            "POST /api/v1/models/unload": self.unload,
        }

    def unknown_path(self, ask: Ask) -> Reply:
        return Reply({"error": f"Unexpected endpoint or method. ({ask.method} {ask.path})"})

    def entry(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "owned_by": self.owner}

    def v0_entry(self, name: str) -> dict[str, Any]:
        """One model of REST v0."""
        loaded = name in self.loaded
        return {
            "id": name,
            "object": "model",
            "type": "vlm",
            "publisher": "metronome",
            "arch": "metronome",
            "compatibility_type": "gguf",
            "quantization": QUANTIZATION,
            "state": "loaded" if loaded else "not-loaded",
            "max_context_length": TRAINED_CONTEXT,
            **({"loaded_context_length": CONTEXT} if loaded else {}),
            "capabilities": ["tool_use"],
        }

    def v1_entry(self, name: str) -> dict[str, Any]:
        """One model of REST v1."""
        instance = {"id": f"{name}:2", "config": {"context_length": CONTEXT, "flash_attention": True}}
        return {
            "type": "llm",
            "publisher": "metronome",
            "key": name,
            "display_name": name.title(),
            "architecture": "metronome",
            "quantization": {"name": QUANTIZATION, "bits_per_weight": 4.5},
            "size_bytes": SIZE_BYTES,
            "params_string": "7B",
            "loaded_instances": [instance] if name in self.loaded else [],
            "max_context_length": TRAINED_CONTEXT,
            "format": "gguf",
            "capabilities": {
                "vision": True,
                "trained_for_tool_use": True,
                "reasoning": {"allowed_options": ["off", "on"], "default": "on"},
            },
        }

    def load(self, ask: Ask) -> Reply:
        """Into memory as an instance."""
        if not self.knows(ask.text("model")):
            return self.unknown_model(ask.text("model"))
        self.set_loaded(ask.text("model"), True)
        instance = f"{ask.text('model')}:2"
        return Reply({"type": "llm", "instance_id": instance, "load_time_seconds": 1.5, "status": "loaded"})

    def unload(self, ask: Ask) -> Reply:
        """An instance, not a model."""
        instance = ask.text("instance_id")
        if instance.removesuffix(":2") not in self.loaded or not instance.endswith(":2"):
            return self.error(404, f"no instance {instance!r}", "model_not_found")
        self.set_loaded(instance.removesuffix(":2"), False)
        return Reply({"instance_id": instance})


class LocalAIManners(Manners):
    """LocalAI."""

    headers: ClassVar[dict[str, str]] = {"X-Correlation-ID": "metronome"}
    public_paths = ("/healthz", "/readyz", "/.well-known/localai.json")

    def dialect(self, ask: Ask) -> Dialect:
        return LocalAI(ask.text("model"))

    def routes(self) -> dict[str, Handler]:
        return {
            **super().routes(),
            "GET /readyz": lambda ask: Reply(""),
            "GET /.well-known/localai.json": lambda ask: Reply({"version": "4.9.0"}),
            "GET /v1/models/capabilities": self.capabilities,
            "GET /system": lambda ask: Reply(
                {"backends": ["llama-cpp"], "loaded_models": [{"id": name} for name in sorted(self.loaded)]}
            ),
            "POST /v1/tokenize": lambda ask: Reply({"tokens": tokens_of(ask.text("content"))}),
            "POST /backend/load": self.load,
            "POST /backend/shutdown": self.shutdown,
        }

    def entry(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model"}

    def capabilities(self, ask: Ask) -> Reply:
        """The list, with what each can do; a loose file has nulls."""
        said = {
            "capabilities": ["chat", "completion", "tools", "thinking", "vision"],
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "context_size": CONTEXT,
        }
        data = [{**self.entry(name), **said} for name in self.models]
        loose = {"capabilities": None, "input_modalities": None, "output_modalities": None}
        return Reply({"object": "list", "data": [*data, {**self.entry("loose-file.gguf"), **loose}]})

    def load(self, ask: Ask) -> Reply:
        """Blocks until it is there."""
        if not self.knows(ask.text("model")):
            return Reply({"loaded": None, "message": f"failed to load model: {ask.text('model')}"}, 500)
        self.set_loaded(ask.text("model"), True)
        return Reply({"loaded": [ask.text("model")], "message": "model loaded"})

    def shutdown(self, ask: Ask) -> Reply:
        """The process that serves it."""
        if ask.text("model") not in self.loaded:
            return self.error(404, f"model {ask.text('model')!r} is not loaded on this instance")
        self.set_loaded(ask.text("model"), False)
        return Reply({"message": "model stopped"})


class KoboldCppManners(Manners):
    """koboldcpp: one model, and an API of its own; only what works the model wants the password."""

    headers: ClassVar[dict[str, str]] = {"Server": "KoboldCppServer 1"}
    owner = "koboldcpp"

    def refusal(self, ask: Ask) -> Reply | None:
        return None if ask.method == "GET" else super().refusal(ask)

    def routes(self) -> dict[str, Handler]:
        return {
            **super().routes(),
            "GET /api/v1/model": lambda ask: Reply({"result": self.models[0]}),
            "GET /api/extra/version": lambda ask: Reply({"result": "KoboldCpp", "version": "1.118"}),
            "GET /api/extra/true_max_context_length": lambda ask: Reply({"value": CONTEXT}),
            "GET /props": self.props,
            "POST /api/extra/tokencount": self.count,
        }

    def entry(self, name: str) -> dict[str, Any]:
        return {**super().entry(name), "permission": [], "root": "koboldcpp"}

    def unknown_path(self, ask: Ask) -> Reply:
        return Reply("Error: KoboldCpp HTTP Server is running, but this endpoint does not exist.", 404)

    def props(self, ask: Ask) -> Reply:
        """As llama-server's, less what it does not have."""
        return Reply(
            {
                "chat_template": "{% if enable_thinking %}<think>{% endif %}{{ tools }}",
                "total_slots": 1,
                "modalities": {"vision": True, "audio": False},
                "model_path": self.models[0],
                "n_ctx": CONTEXT,
                "default_generation_settings": {"n_ctx": CONTEXT},
            }
        )

    def count(self, ask: Ask) -> Reply:
        """Of a text, or of a conversation through its template; a begin token unless refused."""
        if ask.body.get("messages") and not ask.text("prompt"):
            found = prompt_tokens_of(ask.body)
        else:
            found = [*([1] if ask.body.get("special", True) else []), *tokens_of(ask.text("prompt"))]
        return Reply({"value": len(found), "ids": found, "prompt": ask.text("prompt")})


class LlamaSwapManners(Manners):
    """llama-swap in front of llama-servers, which it starts as they are asked for."""

    public_paths = ("/health",)
    owner = "llama-swap"

    def dialect(self, ask: Ask) -> Dialect:
        body = ask.body
        self.set_loaded(ask.text("model"), True)
        per_token, progress = body.get("timings_per_token") is True, body.get("return_progress") is True
        return LlamaServer(ask.text("model"), timings_per_token=per_token, progress=progress)

    def routes(self) -> dict[str, Handler]:
        return {
            **super().routes(),
            "GET /running": self.running,
            "GET /health": lambda ask: Reply("OK"),
            "POST /api/models/unload/*": self.unload,
            "GET /upstream/*": self.upstream,
            "POST /upstream/*": self.upstream,
        }

    def error(self, status: int, message: str, kind: str = "invalid_request_error") -> Reply:
        return Reply({"src": "llama-swap", "error": {"message": message, "type": kind}}, status)

    def entry(self, name: str) -> dict[str, Any]:
        state = "loaded" if name in self.loaded else "unloaded"
        return {
            **super().entry(name),
            "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
            "capabilities": {"vision": True, "tools": True},
            "context_length": TRAINED_CONTEXT,
            "status": {"value": state},
        }

    def running(self, ask: Ask) -> Reply:
        """The processes that are not stopped."""
        found = [{"model": m, "state": "ready", "cmd": "llama-server", "ttl": 0} for m in sorted(self.loaded)]
        return Reply({"running": found})

    def unload(self, ask: Ask) -> Reply:
        """Stop one process; not running is fine."""
        name = unquote(ask.path.removeprefix("/api/models/unload/"))
        if not self.knows(name):
            return self.error(404, "model not found")
        self.set_loaded(name, False)
        return Reply("OK")

    def upstream(self, ask: Ask) -> Reply:
        """A request to the server of one model, which is started for it."""
        name, _, path = ask.path.removeprefix("/upstream/").partition("/")
        if not self.knows(unquote(name)):
            return self.error(404, "model not found")
        self.set_loaded(unquote(name), True)
        match f"{ask.method} /{path}":
            case "GET /health":
                return Reply({"status": "ok"})
            case "GET /v1/models":
                meta = {"n_ctx": CONTEXT, "n_ctx_train": TRAINED_CONTEXT, "size": SIZE_BYTES}
                return Reply({"data": [{"id": name, "owned_by": "llamacpp", "meta": meta}]})
            case "POST /tokenize":
                return Reply({"tokens": tokens_of(ask.text("content"))})
            case "POST /v1/chat/completions/input_tokens":
                return Reply({"input_tokens": len(prompt_tokens_of(ask.body))})
        return self.unknown_path(ask)
