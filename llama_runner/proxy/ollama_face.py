"""Ollama's own API. What changes its store is refused (H19): push, create, copy, delete, blobs, and a pull of
what is not there.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from llama_runner.backends.base import Engine, StreamDecoder
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.backends.values import as_count
from llama_runner.core.clock import seconds
from llama_runner.core.errors import InvalidRequestError, NotFoundError
from llama_runner.core.jsonio import JsonValue, dump_compact, dump_json
from llama_runner.proxy import infill
from llama_runner.proxy import ollama_requests as requests
from llama_runner.proxy.answers import AnswerWriter, BodyChanged
from llama_runner.proxy.bodies import read_object, wants_stream
from llama_runner.proxy.calls import Call, Relays
from llama_runner.proxy.durations import keep_alive_s
from llama_runner.proxy.handlers import routed
from llama_runner.proxy.host import ModelState, OfferedModel
from llama_runner.proxy.infill import InfillDecoder
from llama_runner.proxy.native import Native
from llama_runner.proxy.ollama_answers import (
    Kind,
    OllamaWriter,
    TextDecoder,
    embed_answer,
    embeddings_answer,
    unspoken,
)
from llama_runner.proxy.ollama_errors import engine_error, error_answer, error_document
from llama_runner.proxy.ollama_logprobs import WithLogprobs
from llama_runner.proxy.ollama_models import running_entry, shown, tag
from llama_runner.proxy.openai_face import CHAT, COMPLETION, EMBEDDINGS
from llama_runner.proxy.records import RequestRecord
from llama_runner.proxy.relay import Relay
from llama_runner.proxy.routing import find_model
from llama_runner.proxy.shorten import Conversation
from llama_runner.proxy.vectors import parsed_answer

# Clients refuse to talk to a server older than what they need; this is the version whose API this is.
VERSION: Final = "0.34.2"
_COPILOT: Final = "GitHubCopilotChat/"
_REFUSED: Final = (
    ("POST", "/api/push"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/blobs/{digest:path}"),
)


_DECODERS: Final[Mapping[str, Callable[[str], StreamDecoder]]] = {
    CHAT.upstream: OpenAIDecoder,
    COMPLETION.upstream: TextDecoder,
    infill.PATH: InfillDecoder,
}


_PULLED: Final[dict[str, JsonValue]] = {"status": "success"}
_FILES: Final = "Llama Runner does not change models through this API: put GGUF files into the models folder"


class OllamaFace:
    """`/api/*` and the greeting at `/`."""

    def __init__(self, shared: Relays) -> None:
        self._shared = shared

    def routes(self) -> list[Route]:
        """All of them."""
        return routed(
            self._shared,
            (
                ("GET HEAD", "/", self.greeting),
                ("GET HEAD", "/api/version", self.version),
                ("GET", "/api/status", self.status),
                ("GET HEAD", "/api/tags", self.tags),
                ("GET", "/api/ps", self.running),
                ("POST", "/api/show", self.show),
                ("POST", "/api/chat", self.chat),
                ("POST", "/api/generate", self.generate),
                ("POST", "/api/embed", self.embed),
                ("POST", "/api/embeddings", self.embeddings),
                ("HEAD", "/api/blobs/{digest:path}", self.no_blob),
                ("POST", "/api/pull", self.pull),
                *((method, path, self.refused) for method, path in _REFUSED),
            ),
            error_answer,
        )

    # --- what there is -----------------------------------------------------------------------------------

    async def greeting(self, request: Request) -> Response:
        """What its clients look for first."""
        return PlainTextResponse("Ollama is running")

    async def version(self, request: Request) -> Response:
        """GET /api/version."""
        return JSONResponse({"version": VERSION})

    async def status(self, request: Request) -> Response:
        """GET /api/status: nothing here is in a cloud."""
        return JSONResponse({"cloud": {"disabled": True, "source": "llama-runner"}})

    async def tags(self, request: Request) -> ASGIApp:
        """GET /api/tags: the newest file first."""
        offered = sorted(await self._shared.host.offered(), key=lambda model: -model.modified_s)
        return JSONResponse({"models": [tag(model) for model in offered]})

    async def running(self, request: Request) -> ASGIApp:
        """GET /api/ps: what is in memory, the one that stays longest first."""
        offered = await self._shared.host.offered()
        # Once each, under its own name: a route is not in memory.
        loaded = [m for m in offered if m.state is ModelState.LOADED and not m.steps]
        loaded.sort(key=lambda model: -(math.inf if model.idle_unload_s is None else model.idle_unload_s))
        now_s = self._shared.clock.utc().timestamp()
        return JSONResponse({"models": [running_entry(model, now_s) for model in loaded]})

    async def show(self, request: Request) -> ASGIApp:
        """POST /api/show."""
        document = await read_object(request)
        model = await self._named(document)
        is_copilot = request.headers.get("user-agent", "").startswith(_COPILOT)
        name = _asked_name(document) if is_copilot else model.id
        return JSONResponse(shown(model, name))

    # --- answering ---------------------------------------------------------------------------------------

    async def chat(self, request: Request) -> ASGIApp:
        """POST /api/chat."""
        document = await read_object(request)
        if not document.get("messages"):
            return await self._only_load(document, Kind.CHAT)
        model = await self._named(document)
        if "completion" not in model.capabilities:
            raise InvalidRequestError(f'"{model.id}" does not support chat', "Use another model.")
        body = requests.chat_body(document, model)
        return self._relay(request, document, model, Kind.CHAT, CHAT.upstream, body)

    async def generate(self, request: Request) -> ASGIApp:
        """POST /api/generate."""
        document = await read_object(request)
        if not document.get("prompt") and not document.get("images") and not document.get("suffix"):
            return await self._only_load(document, Kind.GENERATE)
        model = await self._named(document)
        if "completion" not in model.capabilities:
            raise InvalidRequestError(f'"{model.id}" does not support generate', "Use another model.")
        if document.get("suffix"):
            path, body = infill.PATH, requests.suffix_body(document, model)
        elif document.get("raw") is True:
            if document.get("system") or document.get("template") or document.get("context"):
                raise InvalidRequestError(
                    "raw mode does not support template, system, or context", "Leave them out."
                )
            path, body = COMPLETION.upstream, requests.raw_body(document, model)
        else:
            path, body = CHAT.upstream, requests.generate_body(document, model)
        return self._relay(request, document, model, Kind.GENERATE, path, body)

    async def embed(self, request: Request) -> ASGIApp:
        """POST /api/embed."""
        document = await read_object(request)
        model = await self._named(document)
        body = requests.embed_body(document)
        if not body["input"]:
            return JSONResponse({"model": _asked_name(document), "embeddings": []})
        change = partial(embed_answer, _asked_name(document), document.get("dimensions"))
        return await self._embedding_relay(request, document, model, body, change)

    async def embeddings(self, request: Request) -> ASGIApp:
        """POST /api/embeddings, the older call with one text."""
        document = await read_object(request)
        model = await self._named(document)
        if not document.get("prompt"):
            return JSONResponse({"embedding": []})
        body = requests.embed_body({"input": document["prompt"]})
        return await self._embedding_relay(request, document, model, body, embeddings_answer)

    # --- refused -----------------------------------------------------------------------------------------

    async def pull(self, request: Request) -> ASGIApp:
        """POST /api/pull: what is there is up to date, as clients that pull before they ask must hear."""
        document = await read_object(request)
        streamed = wants_stream(document, default=True)
        try:
            await self._named(document)
        except NotFoundError:
            return await self.refused(request)
        if not streamed:
            return JSONResponse(_PULLED)
        lines = dump_json({"status": "pulling manifest"}) + b"\n" + dump_json(_PULLED) + b"\n"
        return Response(lines, media_type="application/x-ndjson")

    async def refused(self, request: Request) -> Response:
        """What would change the models on disk."""
        return JSONResponse({"error": _FILES}, status_code=501)

    async def no_blob(self, request: Request) -> Response:
        """HEAD of a blob: there are none."""
        return Response(status_code=404)

    # --- within ------------------------------------------------------------------------------------------

    async def _named(self, document: Mapping[str, JsonValue]) -> OfferedModel:
        if not _asked_name(document):
            raise InvalidRequestError("model is required", "Name one of those that /api/tags lists.")
        return await find_model(self._shared.host, _asked_name(document))

    async def _only_load(self, document: Mapping[str, JsonValue], kind: Kind) -> ASGIApp:
        """A request without words loads the model, or unloads it with `keep_alive` 0."""
        model = await self._named(document)
        keep_s = keep_alive_s(document.get("keep_alive"))
        name, host = _asked_name(document), self._shared.host
        if keep_s == 0:
            if model.state is not ModelState.NOT_LOADED:
                await host.unload(model.id)
            return JSONResponse(unspoken(name, kind, "unload", self._shared.clock))
        async with host.use(model.id):
            host.keep(model.id, keep_s)
        return JSONResponse(unspoken(name, kind, "load", self._shared.clock))

    def _relay(
        self,
        request: Request,
        document: Mapping[str, JsonValue],
        model: OfferedModel,
        kind: Kind,
        path: str,
        body: Mapping[str, JsonValue],
    ) -> ASGIApp:
        streamed = wants_stream(document, default=True)
        shared, began_ns = self._shared, self._shared.clock.now_ns()

        top = document.get("top_logprobs")
        wants_logprobs = "logprobs" in body

        def writer(record: RequestRecord) -> AnswerWriter:
            lines = OllamaWriter(
                _DECODERS[path](model.id),
                kind=kind,
                name=_asked_name(document),
                streamed=streamed,
                record=record,
                since=lambda: seconds(shared.clock.now_ns(), began_ns),
                clock=shared.clock,
            )
            return WithLogprobs(lines, as_count(top) or 0) if wants_logprobs else lines

        # The engine is always asked for a stream: a client that leaves is seen, and figures are the same.
        usage: JsonValue = {"include_usage": True}
        whole = {"model": model.id, "stream": True, "stream_options": usage, **body}
        native = Native(Engine.OLLAMA, request.scope["path"], document, streamed, error_document)
        call = _call(model, path, whole, streamed=streamed, writer=writer, native=native)
        if kind is Kind.CHAT and document.get("truncate") is not False:
            call = replace(call, conversation=Conversation(whole))
        return Relay(shared, call, request.scope["path"], keep_s=keep_alive_s(document.get("keep_alive")))

    async def _embedding_relay(
        self,
        request: Request,
        document: Mapping[str, JsonValue],
        model: OfferedModel,
        body: Mapping[str, JsonValue],
        change: Callable[[RequestRecord, Mapping[str, JsonValue]], Mapping[str, JsonValue]],
    ) -> ASGIApp:
        def writer(record: RequestRecord) -> AnswerWriter:
            return BodyChanged(lambda data: json.dumps(change(record, parsed_answer(data))).encode())

        whole = {"model": model.id, **body}
        native = Native(Engine.OLLAMA, request.scope["path"], document, False, error_document)
        call = _call(model, EMBEDDINGS.upstream, whole, streamed=False, writer=writer, native=native)
        keep_s = keep_alive_s(document.get("keep_alive"))
        return Relay(self._shared, call, request.scope["path"], keep_s=keep_s)


def _call(
    model: OfferedModel,
    path: str,
    body: Mapping[str, JsonValue],
    *,
    streamed: bool,
    writer: Callable[[RequestRecord], AnswerWriter],
    native: Native,
) -> Call:
    return Call(
        model=model,
        path=path,
        body=dump_compact(dict(body)),
        streamed=streamed,
        writer=writer,
        error_answer=error_answer,
        error_body=engine_error,
        translated=True,
        native=native,
    )


def _asked_name(document: Mapping[str, JsonValue]) -> str:
    name = document.get("model") or document.get("name")
    if name is not None and not isinstance(name, str):
        raise InvalidRequestError("invalid model name", "Name one of those that /api/tags lists.")
    return name or ""
