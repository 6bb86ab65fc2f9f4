"""The OpenAI dialect: what llama-server speaks itself goes through untouched, field by field allowed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.proxy import fields
from llama_runner.proxy.answers import DONE_LINE, AnswerWriter, BodyThrough, SseThrough
from llama_runner.proxy.bodies import read_object, refuse_fetched_media, wants_stream
from llama_runner.proxy.calls import Call, Relays
from llama_runner.proxy.handlers import Handler, routed
from llama_runner.proxy.host import OfferedModel
from llama_runner.proxy.openai_errors import engine_error, error_answer, error_document
from llama_runner.proxy.records import RequestRecord
from llama_runner.proxy.relay import Relay
from llama_runner.proxy.routing import find_model


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked of a model.

    Attributes:
        upstream: The engine's path for it.
        fields: What of a request goes on.
        end_marker: What a complete stream holds.
    """

    upstream: str
    fields: Mapping[str, fields.Check]
    end_marker: bytes = DONE_LINE


CHAT: Final = Operation("/v1/chat/completions", fields.CHAT)
COMPLETION: Final = Operation("/v1/completions", fields.COMPLETION)
EMBEDDINGS: Final = Operation("/v1/embeddings", fields.EMBEDDINGS)
OPERATIONS: Final[Mapping[str, Operation]] = {
    "/chat/completions": CHAT,
    "/completions": COMPLETION,
    "/embeddings": EMBEDDINGS,
    "/responses": Operation("/v1/responses", fields.RESPONSES, b"response.completed"),
    "/messages": Operation("/v1/messages", fields.MESSAGES, b"message_stop"),
    "/messages/count_tokens": Operation("/v1/messages/count_tokens", fields.MESSAGES),
    "/chat/completions/input_tokens": Operation("/v1/chat/completions/input_tokens", fields.CHAT),
    "/rerank": Operation("/v1/rerank", fields.RERANK),
    "/reranking": Operation("/v1/rerank", fields.RERANK),
}
# llama-server's own paths, for clients that know them.
NATIVE: Final[Mapping[str, Operation]] = {
    "/completion": Operation("/completion", fields.COMPLETION, b'"stop":true'),
    "/infill": Operation("/infill", fields.INFILL, b'"stop":true'),
    "/tokenize": Operation("/tokenize", fields.TOKENIZE),
    "/detokenize": Operation("/detokenize", fields.DETOKENIZE),
}


class OpenAIFace:
    """Routes below `/v1`, and the same without it, as llama-server has them."""

    def __init__(self, shared: Relays) -> None:
        self._shared = shared

    def routes(self) -> list[Route]:
        """All of them."""
        table: list[tuple[str, str, Handler]] = []
        for prefix in ("/v1", ""):
            table += [
                ("GET", f"{prefix}/models", self.models),
                ("GET", f"{prefix}/models/{{id:path}}", self.model),
                *(("POST", prefix + path, self.operation(one)) for path, one in OPERATIONS.items()),
            ]
        table += [("POST", path, self.operation(one)) for path, one in NATIVE.items()]
        return routed(table, error_answer)

    async def models(self, request: Request) -> ASGIApp:
        """GET /v1/models: every model that can be asked for, loaded or not."""
        offered = await self._shared.host.offered()
        return JSONResponse({"object": "list", "data": [model_entry(model) for model in offered]})

    async def model(self, request: Request) -> ASGIApp:
        """GET /v1/models/{id}."""
        model = await find_model(self._shared.host, request.path_params["id"])
        return JSONResponse(model_entry(model))

    def operation(self, operation: Operation) -> Handler:
        """The handler of one operation."""

        async def handle(request: Request) -> ASGIApp:
            document = await read_object(request)
            call = await self.call(operation, document)
            return Relay(self._shared, call, request.url.path)

        return handle

    async def call(self, operation: Operation, document: Mapping[str, JsonValue]) -> Call:
        """The call that a request asks for. Raises LlamaRunnerError."""
        model = await find_model(self._shared.host, document.get("model"))
        streamed = wants_stream(document, default=False)
        refuse_fetched_media(document.get("messages") or document.get("input"))
        body = {"model": model.id, **fields.allowed(document, operation.fields)}

        def writer(record: RequestRecord) -> AnswerWriter:
            if streamed:
                return SseThrough(model.id, error_document, operation.end_marker)
            return BodyThrough(error_document)

        return Call(
            model=model,
            path=operation.upstream,
            body=dump_json(body),
            streamed=streamed,
            writer=writer,
            error_answer=error_answer,
            error_body=engine_error,
        )


def model_entry(model: OfferedModel) -> dict[str, JsonValue]:
    """One entry of the list; the context under the names that clients look for."""
    context = model.running_context or model.trained_context
    return {
        "id": model.id,
        "object": "model",
        "created": int(model.modified_s),
        # What LM Studio's own clients expect on its port.
        "owned_by": "organization_owner",
        "context_length": context,
        "max_model_len": context,
        "meta": {
            "n_ctx": model.running_context,
            "n_ctx_train": model.trained_context,
            "n_embd": model.embedding_length,
            "n_params": model.parameter_count,
            "size": model.size_bytes,
        },
        "status": {"value": str(model.state)},
    }
