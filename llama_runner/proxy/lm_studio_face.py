"""LM Studio's own REST dialects, v0 and v1, beside OpenAI's on its port (facts: its REST documentation).

Its WebSocket interface is not imitated: `lms` and the lmstudio packages need the real one.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from llama_runner.core.errors import InvalidRequestError, NotFoundError
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.net.fetch import MAX_REPLY_BYTES
from llama_runner.proxy.answers import AnswerWriter, BodyChanged
from llama_runner.proxy.bodies import read_object
from llama_runner.proxy.calls import Relays
from llama_runner.proxy.handlers import Handler, routed
from llama_runner.proxy.host import ModelState, OfferedModel
from llama_runner.proxy.openai_errors import error_answer
from llama_runner.proxy.openai_face import (
    CHAT,
    COMPLETION,
    EMBEDDINGS,
    OpenAIFace,
    Operation,
)
from llama_runner.proxy.records import RequestRecord
from llama_runner.proxy.relay import Relay
from llama_runner.proxy.routing import find_model

_STOP_REASONS: Final = {
    "stop": "eosFound",
    "length": "maxPredictedTokensReached",
    "tool_calls": "toolCalls",
}
_NO_DOWNLOADS: Final = "Models are not downloaded through this service."


class LmStudioFace:
    """`/lmstudio-greeting`, `/api/v0` and the model calls of `/api/v1`."""

    def __init__(self, shared: Relays) -> None:
        self._shared = shared
        self._openai = OpenAIFace(shared)

    def routes(self) -> list[Route]:
        """All of them."""
        return routed(
            (
                ("GET", "/lmstudio-greeting", self.greeting),
                ("GET", "/api/v0/models", self.models),
                ("GET", "/api/v0/models/{id:path}", self.model),
                ("POST", "/api/v0/chat/completions", self.operation(CHAT)),
                ("POST", "/api/v0/completions", self.operation(COMPLETION)),
                ("POST", "/api/v0/embeddings", self._openai.operation(EMBEDDINGS)),
                ("GET", "/api/v1/models", self.v1_models),
                ("POST", "/api/v1/models/load", self.load),
                ("POST", "/api/v1/models/unload", self.unload),
                ("POST", "/api/v1/models/download", self.refused),
            ),
            error_answer,
        )

    async def greeting(self, request: Request) -> JSONResponse:
        """What its clients look for first."""
        return JSONResponse({"lmstudio": True})

    async def models(self, request: Request) -> ASGIApp:
        """GET /api/v0/models."""
        offered = await self._shared.host.offered()
        return JSONResponse({"object": "list", "data": [v0_entry(model) for model in offered]})

    async def model(self, request: Request) -> ASGIApp:
        """GET /api/v0/models/{id}."""
        return JSONResponse(v0_entry(await find_model(self._shared.host, request.path_params["id"])))

    def operation(self, operation: Operation) -> Handler:
        """As OpenAI's, with `stats`, `model_info` and `runtime` in a whole answer."""

        async def handle(request: Request) -> ASGIApp:
            call = await self._openai.call(operation, await read_object(request))
            if not call.streamed:
                call = replace(call, writer=lambda record: _with_stats(call.model, record))
            return Relay(self._shared, call, request.url.path)

        return handle

    async def v1_models(self, request: Request) -> ASGIApp:
        """GET /api/v1/models."""
        offered = await self._shared.host.offered()
        return JSONResponse({"models": [v1_entry(model) for model in offered]})

    async def load(self, request: Request) -> ASGIApp:
        """POST /api/v1/models/load: returns when the model is ready."""
        document = await read_object(request)
        model = await find_model(self._shared.host, document.get("model"))
        async with self._shared.host.use(model.id) as upstream:
            return JSONResponse(
                {
                    "type": "embedding" if _embeds(model) else "llm",
                    "instance_id": model.id,
                    "load_time_seconds": round(upstream.load_s, 3),
                    "status": "loaded",
                }
            )

    async def unload(self, request: Request) -> ASGIApp:
        """POST /api/v1/models/unload."""
        wanted = (await read_object(request)).get("instance_id")
        if not isinstance(wanted, str):
            raise InvalidRequestError("instance_id must be a text.", "Name a loaded instance.")
        await self._shared.host.unload((await find_model(self._shared.host, wanted)).id)
        return JSONResponse({"instance_id": wanted})

    async def refused(self, request: Request) -> ASGIApp:
        """Downloads are not for every program that reaches this port."""
        raise NotFoundError(_NO_DOWNLOADS, "Put the file into the models folder.")


def v0_entry(model: OfferedModel) -> dict[str, JsonValue]:
    """One model of `/api/v0/models`; strict clients need every field."""
    entry: dict[str, JsonValue] = {
        "id": model.id,
        "object": "model",
        "type": "embeddings" if _embeds(model) else "vlm" if "vision" in model.capabilities else "llm",
        "publisher": "local",
        "arch": model.architecture or "unknown",
        "compatibility_type": "gguf",
        "quantization": model.quantization or "unknown",
        "state": str(model.state),
        "max_context_length": model.trained_context or model.running_context or 0,
        "capabilities": ["tool_use"] if "tools" in model.capabilities else [],
    }
    if model.state is ModelState.LOADED:
        entry["loaded_context_length"] = model.running_context or model.trained_context or 0
    return entry


def v1_entry(model: OfferedModel) -> dict[str, JsonValue]:
    """One model of `/api/v1/models`."""
    loaded: list[JsonValue] = []
    if model.state is ModelState.LOADED:
        loaded.append({"id": model.id, "config": {"context_length": model.running_context}})
    entry: dict[str, JsonValue] = {
        "type": "embedding" if _embeds(model) else "llm",
        "publisher": "local",
        "key": model.id,
        "display_name": model.id,
        "architecture": model.architecture,
        "quantization": {"name": model.quantization, "bits_per_weight": _bits(model)}
        if model.quantization
        else None,
        "size_bytes": model.size_bytes,
        "params_string": parameters_text(model.parameter_count),
        "loaded_instances": loaded,
        "max_context_length": model.trained_context or model.running_context or 0,
        "format": "gguf",
    }
    if not _embeds(model):
        entry["capabilities"] = {
            "vision": "vision" in model.capabilities,
            "trained_for_tool_use": "tools" in model.capabilities,
        }
    return entry


def parameters_text(count: int | None) -> str | None:
    """8030261248 as "8.0B"."""
    if not count:
        return None
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 100 * size else f"{count / size:.0f}{unit}"
    return f"{count / 1000:.0f}K"


def _bits(model: OfferedModel) -> float | None:
    return round(model.size_bytes * 8 / model.parameter_count, 1) if model.parameter_count else None


def _embeds(model: OfferedModel) -> bool:
    return "embedding" in model.capabilities


def _with_stats(model: OfferedModel, record: RequestRecord) -> AnswerWriter:
    return BodyChanged(lambda body: add_stats(body, model, record))


def add_stats(body: bytes, model: OfferedModel, record: RequestRecord) -> bytes:
    """An engine's whole answer with LM Studio's three objects; what is no JSON object stays as it is."""
    try:
        document = parse_json(body, max_bytes=max(len(body), MAX_REPLY_BYTES), allow_nonfinite=True)
    except JsonRejected:
        return body
    if not isinstance(document, dict):
        return body
    timings = document.pop("timings", None)
    document["stats"] = stats(document, timings if isinstance(timings, dict) else {}, record)
    document["model_info"] = {
        "arch": model.architecture,
        "quant": model.quantization,
        "format": "gguf",
        "context_length": model.running_context or model.trained_context,
    }
    document["runtime"] = {"name": "llama.cpp", "version": "", "supported_formats": ["gguf"]}
    return json.dumps(document, ensure_ascii=False).encode("utf-8", errors="replace")


def stats(
    document: Mapping[str, JsonValue], timings: Mapping[str, JsonValue], record: RequestRecord
) -> dict[str, JsonValue]:
    """Seconds and rates from the engine's own clock; the first token counts the waiting before it."""
    prompt_ms, output_ms = timings.get("prompt_ms"), timings.get("predicted_ms")
    waited_s = (record.queue_s or 0.0) + (record.load_s or 0.0)
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    return {
        "tokens_per_second": timings.get("predicted_per_second"),
        "time_to_first_token": round(waited_s + prompt_ms / 1e3, 6)
        if isinstance(prompt_ms, int | float)
        else None,
        "generation_time": round(output_ms / 1e3, 6) if isinstance(output_ms, int | float) else None,
        "stop_reason": _STOP_REASONS.get(reason, "eosFound") if isinstance(reason, str) else None,
    }
