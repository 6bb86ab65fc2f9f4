"""LM Studio's own REST dialects, v0 and v1, beside OpenAI's on its port (facts: its REST documentation).

Its WebSocket interface is not imitated: `lms` and the lmstudio packages need the real one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from llama_runner.core.clock import seconds
from llama_runner.core.errors import InvalidRequestError, UnsupportedError
from llama_runner.core.jsonio import JsonRejected, JsonValue, dump_compact, parse_json
from llama_runner.net.fetch import MAX_REPLY_BYTES
from llama_runner.proxy import lm_studio_errors, openai_errors
from llama_runner.proxy.answers import AnswerWriter, BodyChanged
from llama_runner.proxy.bodies import read_object, wants_stream
from llama_runner.proxy.calls import Call, Relays
from llama_runner.proxy.handlers import Handler, routed
from llama_runner.proxy.host import OfferedModel
from llama_runner.proxy.lm_studio_chat import Conversations, chat_request
from llama_runner.proxy.lm_studio_events import ChatWriter
from llama_runner.proxy.lm_studio_models import embeds, v0_entry, v1_entry
from llama_runner.proxy.openai_face import (
    CHAT,
    COMPLETION,
    EMBEDDINGS,
    OpenAIFace,
    Operation,
    idle_ttl_s,
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
        self._conversations = Conversations()

    def routes(self) -> list[Route]:
        """All of them."""
        v0 = (
            ("GET", "/lmstudio-greeting", self.greeting),
            ("GET", "/api/v0/models", self.models),
            ("GET", "/api/v0/models/{id:path}", self.model),
            ("POST", "/api/v0/chat/completions", self.operation(CHAT)),
            ("POST", "/api/v0/completions", self.operation(COMPLETION)),
            ("POST", "/api/v0/embeddings", self._openai.operation(EMBEDDINGS)),
        )
        v1 = (
            ("GET", "/api/v1/models", self.v1_models),
            ("POST", "/api/v1/chat", self.chat),
            ("POST", "/api/v1/models/load", self.load),
            ("POST", "/api/v1/models/unload", self.unload),
            ("POST", "/api/v1/models/download", self.refused),
            ("GET", "/api/v1/models/download/status/{job_id:path}", self.refused),
        )
        return routed(self._shared, v0, openai_errors.error_answer) + routed(
            self._shared, v1, lm_studio_errors.error_answer
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
            document = await read_object(request)
            call = await self._openai.call(operation, document)
            if not call.streamed:
                call = replace(call, writer=_with_stats(call.model, call.writer))
            return Relay(self._shared, call, request.scope["path"], keep_s=idle_ttl_s(document))

        return handle

    async def v1_models(self, request: Request) -> ASGIApp:
        """GET /api/v1/models."""
        offered = await self._shared.host.offered()
        return JSONResponse({"models": [v1_entry(model) for model in offered]})

    async def chat(self, request: Request) -> ASGIApp:
        """POST /api/v1/chat: one input, answered as events or as one object."""
        document = await read_object(request)
        model = await find_model(self._shared.host, document.get("model"))
        streamed = wants_stream(document, default=False)
        asked = chat_request(document, model, self._conversations)
        shared, began_ns = self._shared, self._shared.clock.now_ns()

        def writer(record: RequestRecord) -> AnswerWriter:
            return ChatWriter(
                model.id,
                streamed=streamed,
                record=record,
                since=lambda: seconds(shared.clock.now_ns(), began_ns),
                remember=asked.remember,
                clock=shared.clock,
            )

        # The engine is always asked for a stream: a client that leaves is seen, and figures are the same.
        usage: JsonValue = {"include_usage": True}
        whole = {**asked.body, "stream": True, "stream_options": usage, "return_progress": streamed}
        call = Call(
            model=model,
            path=CHAT.upstream,
            body=dump_compact({"model": model.id, **whole}),
            streamed=streamed,
            writer=writer,
            error_answer=lm_studio_errors.error_answer,
            error_body=lm_studio_errors.engine_error,
            translated=True,
        )
        return Relay(shared, call, request.scope["path"], keep_s=idle_ttl_s(document))

    async def load(self, request: Request) -> ASGIApp:
        """POST /api/v1/models/load: returns when the model is ready."""
        document = await read_object(request)
        model = await find_model(self._shared.host, document.get("model"))
        async with self._shared.host.use(model.id) as upstream:
            answer: dict[str, JsonValue] = {
                "type": "embedding" if embeds(model) else "llm",
                "instance_id": model.id,
                "load_time_seconds": round(upstream.load_s, 3),
                "status": "loaded",
            }
        # How it is loaded is its owner's to say, in the settings: what was wished here has no effect.
        if document.get("echo_load_config") is True:
            loaded = await find_model(self._shared.host, model.id)
            answer["load_config"] = {"context_length": loaded.running_context or loaded.trained_context}
        return JSONResponse(answer)

    async def unload(self, request: Request) -> ASGIApp:
        """POST /api/v1/models/unload."""
        wanted = (await read_object(request)).get("instance_id")
        if not isinstance(wanted, str):
            raise InvalidRequestError("instance_id must be a text.", "Name a loaded instance.")
        await self._shared.host.unload((await find_model(self._shared.host, wanted)).id)
        return JSONResponse({"instance_id": wanted})

    async def refused(self, request: Request) -> ASGIApp:
        """Downloads are not for every program that reaches this port."""
        raise UnsupportedError(_NO_DOWNLOADS, "Put the file into the models folder.")


def _with_stats(
    model: OfferedModel, plain: Callable[[RequestRecord], AnswerWriter]
) -> Callable[[RequestRecord], AnswerWriter]:
    """The plain answer's writer, with the three objects added to what it gives."""

    def writer(record: RequestRecord) -> AnswerWriter:
        inner = plain(record)
        return BodyChanged(lambda body: add_stats(inner.feed(body) + inner.end(), model, record))

    return writer


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
