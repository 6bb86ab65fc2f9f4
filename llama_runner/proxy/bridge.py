"""A chat for a server that speaks another dialect: OpenAI's request to the backend's, its events to OpenAI's.

Every face of the proxy asks in OpenAI's words and reads them back, so this one bridge serves all of them.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

import httpx

from llama_runner.backends.base import Backend, Endpoint, Engine, StreamDecoder, WireRequest
from llama_runner.backends.events import (
    Finished,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    TimingsReport,
    ToolCallDelta,
    UsageReport,
)
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.registry import connect
from llama_runner.backends.request import (
    ChatRequest,
    Effort,
    ForcedTool,
    Image,
    JsonOutput,
    Message,
    Role,
    SamplingOptions,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from llama_runner.backends.values import as_list, as_object, as_text, content_text
from llama_runner.core.clock import Clock
from llama_runner.core.errors import InvalidRequestError, LlamaRunnerError, UnsupportedError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.trace import ServerTimings, Usage
from llama_runner.proxy.answers import AnswerWriter
from llama_runner.proxy.calls import Call
from llama_runner.proxy.host import Upstream

CHAT_PATH: Final = "/v1/chat/completions"
MESSAGES_PATHS: Final = ("/v1/messages", "/v1/messages/count_tokens")
# OpenAI's words for why an answer ended; what other dialects call it.
_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}
_ROLES: Final = {"developer": Role.SYSTEM, "function": Role.TOOL}
_EFFORTS: Final = {"minimal": Effort.LOW, "xhigh": Effort.HIGH}


def is_needed(call: Call, engine: Engine) -> bool:
    """Whether a call has to be said in other words for an engine. Raises UnsupportedError if it can't be."""
    if engine is Engine.ANTHROPIC and call.path != CHAT_PATH and call.path not in MESSAGES_PATHS:
        raise UnsupportedError(
            f"An Anthropic server has no {call.path}.", "Ask another model, or ask this one to chat."
        )
    if call.path != CHAT_PATH:
        return False
    # What was made from another dialect has fields in it that only llama-server knows.
    return engine is Engine.ANTHROPIC or (call.translated and engine is not Engine.LLAMA_SERVER)


def backend_of(upstream: Upstream, http: httpx.AsyncClient, clock: Clock) -> Backend:
    """What knows the upstream's dialect."""
    endpoint = Endpoint(upstream.base_url, upstream.engine, upstream.api_key)
    return connect(endpoint, http=http, clock=clock)


def bridged(
    backend: Backend, document: Mapping[str, JsonValue], inner: AnswerWriter, clock: Clock
) -> tuple[WireRequest, AnswerWriter]:
    """The request as the upstream wants it, and a writer for its answer.

    Args:
        inner: Takes the answer in OpenAI's words: a stream where `document` asks for one, else an object.

    Raises:
        InvalidRequestError: A picture is no data: URL.
    """
    asked = chat_request(document)
    streamed = document.get("stream") is True
    writer = BridgedWriter(backend.decoder(), inner, streamed=streamed, model=asked.model_id, clock=clock)
    return backend.encode(asked), writer


# --- the request -----------------------------------------------------------------------------------------


def chat_request(document: Mapping[str, JsonValue]) -> ChatRequest:
    """The body of an OpenAI chat completion, as the backends take it. Raises InvalidRequestError."""
    return ChatRequest(
        model_id=as_text(document.get("model")),
        messages=tuple(_message(as_object(item)) for item in as_list(document.get("messages"))),
        options=_options(document),
        tools=tuple(_tool(as_object(item)) for item in as_list(document.get("tools"))),
        tool_choice=_tool_choice(document.get("tool_choice")),
        output=_output(as_object(document.get("response_format"))),
    )


def _message(said: Mapping[str, JsonValue]) -> Message:
    role = as_text(said.get("role"))
    content = said.get("content")
    calls = tuple(_call(as_object(call)) for call in as_list(said.get("tool_calls")))
    return Message(
        role=_ROLES.get(role) or (Role(role) if role in set(Role) else Role.USER),
        content=content_text(content),
        images=tuple(
            image
            for part in as_list(content)
            if (image := _image(as_object(part).get("image_url"))) is not None
        ),
        reasoning=as_text(said.get("reasoning_content")) or as_text(said.get("reasoning")),
        tool_calls=calls,
        tool_call_id=as_text(said.get("tool_call_id")) or None,
        tool_name=as_text(said.get("name")) or None,
    )


def _call(call: Mapping[str, JsonValue]) -> ToolCall:
    function = as_object(call.get("function"))
    given = function.get("arguments")
    arguments = given if isinstance(given, str) else dump_json(given or {}).decode()
    return ToolCall(as_text(call.get("id")) or None, as_text(function.get("name")), arguments)


def _image(said: JsonValue) -> Image | None:
    url = as_text(said) or as_text(as_object(said).get("url"))
    if not url:
        return None
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    try:
        return Image(kind, base64.b64decode(data, validate=True))
    except binascii.Error as error:
        raise InvalidRequestError("A picture is not base64.", "Send it as a data: URL.") from error


def _tool(said: Mapping[str, JsonValue]) -> Tool:
    function = as_object(said.get("function"))
    return Tool(
        as_text(function.get("name")),
        as_text(function.get("description")),
        as_object(function.get("parameters")),
    )


def _tool_choice(said: JsonValue) -> ToolChoice | None:
    name = as_text(as_object(as_object(said).get("function")).get("name"))
    if name:
        return ForcedTool(name)
    return ToolMode(said) if isinstance(said, str) and said in set(ToolMode) else None


def _output(said: Mapping[str, JsonValue]) -> JsonOutput | None:
    if said.get("type") not in ("json_object", "json_schema"):
        return None
    wanted = as_object(said.get("json_schema"))
    schema = as_object(wanted.get("schema")) or as_object(said.get("schema"))
    return JsonOutput(schema or None, as_text(wanted.get("name")) or "answer")


def _options(document: Mapping[str, JsonValue]) -> SamplingOptions:
    known = {option.name for option in fields(SamplingOptions)} - {"stop", "thinking", "effort"}
    given = {name: value for name in known if (value := document.get(name)) is not None}
    if (limit := document.get("max_completion_tokens")) is not None:
        given["max_tokens"] = limit
    # -1 is llama-server's word for no limit.
    if given.get("max_tokens") == -1:
        del given["max_tokens"]
    stop = document.get("stop")
    stops = [stop] if isinstance(stop, str) else as_list(stop)
    thinking = as_object(document.get("chat_template_kwargs")).get("enable_thinking")
    return SamplingOptions(
        **given,  # type: ignore[arg-type]  # of the allowed kinds: the face checked each field
        stop=tuple(text for text in stops if isinstance(text, str)),
        thinking=thinking if isinstance(thinking, bool) else None,
        effort=_effort(as_text(document.get("reasoning_effort"))),
    )


def _effort(said: str) -> Effort | None:
    return _EFFORTS.get(said) or (Effort(said) if said in set(Effort) else None)


# --- the answer ------------------------------------------------------------------------------------------


class BridgedWriter:
    """The upstream's stream as OpenAI's, for a writer that reads that.

    Args:
        streamed: `inner` reads server-sent events; else one object at the end.
    """

    def __init__(
        self, decoder: StreamDecoder, inner: AnswerWriter, *, streamed: bool, model: str, clock: Clock
    ) -> None:
        self.content_type = inner.content_type
        self._decoder = decoder
        self._inner = inner
        self._streamed = streamed
        self._clock = clock
        self._fold = AnswerFold()
        self._usage = Usage()
        self._timings: ServerTimings | None = None
        self._head: dict[str, JsonValue] = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(clock.utc().timestamp()),
            "model": model,
        }

    def feed(self, data: bytes) -> bytes:
        """What the client gets for the events that `data` completes."""
        return self._told(self._decoder.feed(self._clock.now_ns(), data))

    def end(self) -> bytes:
        """The rest. Raises ServerError when the answer was not whole."""
        out = self._told(self._decoder.close(self._clock.now_ns()))
        if not self._streamed:
            out += self._inner.feed(dump_json(self._whole()))
        return out + self._inner.end()

    def broken(self, error: LlamaRunnerError) -> bytes:
        """The last bytes in the client's dialect."""
        return self._inner.broken(error)

    def ping(self) -> bytes:
        """The client's own."""
        return self._inner.ping()

    def _told(self, events: list[StreamEvent]) -> bytes:
        pieces = bytearray()
        for event in events:
            self._fold.add(event)
            pieces += self._one(event)
        out = self._inner.feed(bytes(pieces)) if pieces else b""
        if self._decoder.failure is not None:
            raise self._decoder.failure
        return out

    def _one(self, event: StreamEvent) -> bytes:
        match event:
            case UsageReport(usage=usage):
                self._usage = usage
            case TimingsReport(timings=timings):
                self._timings = timings
            case _ if not self._streamed:
                pass
            case TextDelta(text=text):
                return self._chunk({"content": text})
            case ReasoningDelta(text=text):
                return self._chunk({"reasoning_content": text})
            case ToolCallDelta():
                return self._chunk({"tool_calls": [_call_delta(event)]})
            case Finished(reason=reason):
                return self._chunk({}, _reason(reason, self._fold)) + self._figures() + b"data: [DONE]\n\n"
        return b""

    def _chunk(self, delta: dict[str, JsonValue], reason: str | None = None) -> bytes:
        choice: JsonValue = {"index": 0, "delta": delta, "finish_reason": reason}
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def _figures(self) -> bytes:
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [], **self._counts()})

    def _counts(self) -> dict[str, JsonValue]:
        usage, timings = self._usage, self._timings
        prompt, output = usage.prompt_tokens or 0, usage.output_tokens or 0
        found: dict[str, JsonValue] = {
            "usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
        }
        if timings is not None:
            found["timings"] = {
                "prompt_n": timings.prompt_tokens,
                "prompt_ms": None if timings.prompt_s is None else timings.prompt_s * 1e3,
                "predicted_n": timings.output_tokens,
                "predicted_ms": None if timings.output_s is None else timings.output_s * 1e3,
            }
        return found

    def _whole(self) -> JsonValue:
        answer = self._fold.snapshot()
        message: dict[str, JsonValue] = {"role": "assistant", "content": answer.text}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.call_id or f"call_{index}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for index, call in enumerate(answer.tool_calls)
            ]
        choice: JsonValue = {
            "index": 0,
            "message": message,
            "finish_reason": _reason(answer.finish_reason, self._fold),
        }
        return {**self._head, "object": "chat.completion", "choices": [choice], **self._counts()}


def _event(document: dict[str, JsonValue]) -> bytes:
    return b"data: " + dump_json(document) + b"\n\n"


def _call_delta(event: ToolCallDelta) -> JsonValue:
    function: dict[str, JsonValue] = {"arguments": event.arguments}
    delta: dict[str, JsonValue] = {"index": event.index, "type": "function", "function": function}
    if event.name is not None:
        function["name"] = event.name
        delta["id"] = event.call_id or f"call_{event.index}"
    return delta


def _reason(reason: str | None, fold: AnswerFold) -> str:
    if fold.snapshot().tool_calls:
        return "tool_calls"
    return _REASONS.get(reason or "stop", reason or "stop")
