"""The OpenAI dialect: what llama-server speaks itself goes through untouched, field by field allowed.

Anthropic's messages are beside it, because the engine speaks them too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from llama_runner.core.errors import NotFoundError
from llama_runner.core.jsonio import JsonValue, dump_compact
from llama_runner.proxy import anthropic_errors, fields, infill, openai_errors
from llama_runner.proxy.answers import DONE_LINE, AnswerWriter, BodyChanged, BodyThrough, SseThrough
from llama_runner.proxy.bodies import read_object, wants_stream
from llama_runner.proxy.calls import Call, ErrorAnswer, ErrorBody, Relays
from llama_runner.proxy.durations import keep_alive_s
from llama_runner.proxy.handlers import Handler, routed
from llama_runner.proxy.host import OfferedModel
from llama_runner.proxy.media import check_media
from llama_runner.proxy.reasoning_names import BothNames, with_both_names
from llama_runner.proxy.records import RequestRecord
from llama_runner.proxy.relay import Relay
from llama_runner.proxy.responses_answers import ResponsesThrough
from llama_runner.proxy.routing import find_model
from llama_runner.proxy.vectors import cut_answer

# Whose models they are, as real servers on these ports say; some clients tell servers apart by it.
LM_STUDIOS: Final = "organization_owner"
OLLAMAS: Final = "library"


@dataclass(frozen=True, slots=True)
class Spelling:
    """How errors are told: ours, the engine's, and within a stream."""

    answer: ErrorAnswer
    engine: ErrorBody
    stream: Callable[[str, bytes], SseThrough]


OPENAI: Final = Spelling(
    openai_errors.error_answer,
    openai_errors.engine_error,
    lambda model_id, marker: SseThrough(model_id, openai_errors.error_document, marker),
)
RESPONSES: Final = replace(
    OPENAI,
    stream=lambda model_id, marker: ResponsesThrough(model_id, openai_errors.error_document, marker),
)
ANTHROPIC: Final = Spelling(
    anthropic_errors.error_answer,
    anthropic_errors.engine_error,
    lambda model_id, marker: anthropic_errors.MessagesThrough(
        model_id, anthropic_errors.error_document, marker
    ),
)


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
    errors: Spelling = OPENAI


CHAT: Final = Operation("/v1/chat/completions", fields.CHAT)
COMPLETION: Final = Operation("/v1/completions", fields.COMPLETION)
EMBEDDINGS: Final = Operation("/v1/embeddings", fields.EMBEDDINGS)
OPERATIONS: Final[Mapping[str, Operation]] = {
    "/chat/completions": CHAT,
    "/completions": COMPLETION,
    "/embeddings": EMBEDDINGS,
    "/responses": Operation("/v1/responses", fields.RESPONSES, b"response.completed", RESPONSES),
    "/chat/completions/input_tokens": Operation(
        "/v1/chat/completions/input_tokens", fields.whole(fields.CHAT)
    ),
    "/responses/input_tokens": Operation("/v1/responses/input_tokens", fields.whole(fields.RESPONSES)),
    "/rerank": Operation("/v1/rerank", fields.RERANK),
    "/reranking": Operation("/v1/rerank", fields.RERANK),
}
MESSAGES: Final[Mapping[str, Operation]] = {
    "/messages": Operation("/v1/messages", fields.MESSAGES, b"message_stop", ANTHROPIC),
    "/messages/count_tokens": Operation(
        "/v1/messages/count_tokens", fields.whole(fields.MESSAGES), errors=ANTHROPIC
    ),
}
# llama-server's own paths, for clients that know them.
NATIVE: Final[Mapping[str, Operation]] = {
    "/completion": Operation("/completion", fields.COMPLETION, infill.END_MARKER),
    infill.PATH: Operation(infill.PATH, fields.INFILL, infill.END_MARKER),
    "/tokenize": Operation("/tokenize", fields.TOKENIZE),
    "/detokenize": Operation("/detokenize", fields.DETOKENIZE),
    "/apply-template": Operation("/apply-template", fields.APPLY_TEMPLATE),
}


class OpenAIFace:
    """Routes below `/v1`, and the same without it, as llama-server has them.

    Args:
        owner: Whose models the list says they are.
        listed: The name that the list gives a model's id.
    """

    def __init__(
        self, shared: Relays, *, owner: str = LM_STUDIOS, listed: Callable[[str], str] = str
    ) -> None:
        self._shared = shared
        self._owner = owner
        self._listed = listed

    def routes(self) -> list[Route]:
        """All of them."""
        table: list[tuple[str, str, Handler]] = []
        messages: list[tuple[str, str, Handler]] = []
        for prefix in ("/v1", ""):
            table += [
                # First what is asked most: they are looked at one after the other.
                *(("POST", prefix + path, self.operation(one)) for path, one in OPERATIONS.items()),
                ("GET", f"{prefix}/health", self.health),
                ("GET", f"{prefix}/models", self.models),
                ("GET", f"{prefix}/models/{{id:path}}", self.model),
            ]
            messages += [("POST", prefix + path, self.operation(one)) for path, one in MESSAGES.items()]
        table += [("POST", path, self.operation(one)) for path, one in NATIVE.items()]
        return routed(self._shared, table, OPENAI.answer) + routed(self._shared, messages, ANTHROPIC.answer)

    async def health(self, request: Request) -> ASGIApp:
        """GET /health: models are loaded when they are asked for, so it is always well."""
        return JSONResponse({"status": "ok"})

    async def models(self, request: Request) -> ASGIApp:
        """GET /v1/models: every model that can be asked for, loaded or not."""
        offered = await self._shared.host.offered()
        return JSONResponse({"object": "list", "data": [self._entry(model) for model in offered]})

    async def model(self, request: Request) -> ASGIApp:
        """GET /v1/models/{id}."""
        wanted: str = request.path_params["id"]
        if not wanted:
            # Without a name a chat may have the only model there is; who asks about one must name it.
            raise NotFoundError("model '' not found", "See /v1/models for what there is.")
        return JSONResponse(self._entry(await find_model(self._shared.host, wanted)))

    def operation(self, operation: Operation) -> Handler:
        """The handler of one operation."""

        async def handle(request: Request) -> ASGIApp:
            document = await read_object(request)
            call = await self.call(operation, document)
            return Relay(self._shared, call, request.scope["path"], keep_s=idle_ttl_s(document))

        return handle

    async def call(self, operation: Operation, document: Mapping[str, JsonValue]) -> Call:
        """The call that a request asks for. Raises LlamaRunnerError."""
        model = await find_model(self._shared.host, document.get("model"))
        streamed = "stream" in operation.fields and wants_stream(document, default=False)
        body = {"model": model.id, **fields.allowed(document, operation.fields)}
        check_media(document, model)
        path, writer = operation.upstream, partial(_writer, operation, model, body, streamed)
        if operation is COMPLETION and document.get("suffix"):
            path, writer = infill.PATH, partial(self._infill_writer, model, document, streamed)
            body = {"model": model.id, **infill.infill_body(body.get("prompt"), body["suffix"], body)}
        elif operation is CHAT:
            body = _with_effort(body, document)
        elif operation is EMBEDDINGS and "dimensions" in body:
            body = {**body, "encoding_format": "float"}
        return Call(
            model=model,
            path=path,
            body=dump_compact(body),
            streamed=streamed,
            writer=writer,
            error_answer=operation.errors.answer,
            error_body=operation.errors.engine,
        )

    def _entry(self, model: OfferedModel) -> dict[str, JsonValue]:
        """One entry of the list; the context under the names that clients look for."""
        context = model.running_context or model.trained_context
        return {
            "id": self._listed(model.id),
            "object": "model",
            "created": int(model.modified_s),
            "owned_by": self._owner,
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

    def _infill_writer(
        self, model: OfferedModel, document: Mapping[str, JsonValue], streamed: bool, record: RequestRecord
    ) -> AnswerWriter:
        options = document.get("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage") is True
        return infill.InfillAsCompletion(
            model.id, streamed=streamed, with_usage=with_usage, clock=self._shared.clock
        )


def _writer(
    operation: Operation,
    model: OfferedModel,
    body: Mapping[str, JsonValue],
    streamed: bool,
    record: RequestRecord,
) -> AnswerWriter:
    if streamed:
        through = operation.errors.stream(model.id, operation.end_marker)
        return BothNames(through) if operation is CHAT else through
    if operation is CHAT:
        return BodyChanged(with_both_names)
    size = body.get("dimensions")
    if operation is EMBEDDINGS and isinstance(size, int):
        wanted = body.get("encoding_format") == "base64"
        return BodyChanged(lambda data: cut_answer(data, size, as_base64=wanted))
    return BodyThrough(openai_errors.error_document)


def _with_effort(body: dict[str, JsonValue], document: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The effort also where OpenRouter and Ollama's `/v1` take it: `reasoning: {"effort": ...}`."""
    reasoning = document.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return {"reasoning_effort": effort, **body} if isinstance(effort, str) else body


def idle_ttl_s(document: Mapping[str, JsonValue]) -> float | None:
    """LM Studio's `ttl`: seconds that the model stays without work. Raises InvalidRequestError."""
    return keep_alive_s(document.get("ttl"))
