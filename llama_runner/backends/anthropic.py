"""Anthropic's Messages API: the hosted service, and local servers that imitate it at /v1/messages.

Source: platform.claude.com/docs/en/api/messages, .../build-with-claude/thinking and .../structured-outputs,
and the types of the `anthropic` package 2.11 (Nov 2026).
"""

from collections.abc import Mapping
from typing import ClassVar, Final
from urllib.parse import urlsplit

from llama_runner.backends import anthropic_messages as words
from llama_runner.backends.anthropic_decoder import AnthropicDecoder
from llama_runner.backends.anthropic_thinking import Thinking, plan
from llama_runner.backends.base import StreamDecoder, WireRequest
from llama_runner.backends.encoding import sampling_part
from llama_runner.backends.http_backend import MAX_MODELS, HttpBackend
from llama_runner.backends.models import (
    COMPLETION,
    THINKING,
    TOOLS,
    VISION,
    ContextSource,
    ModelInfo,
    TokenCount,
)
from llama_runner.backends.request import ChatRequest, ForcedTool, ToolChoice, ToolMode
from llama_runner.backends.values import as_count, as_list, as_object, as_text
from llama_runner.core.errors import ProtocolError
from llama_runner.core.jsonio import JsonValue, dump_json

API_VERSION: Final = "2023-06-01"
_CHOICES: Final[Mapping[ToolMode, str]] = {
    ToolMode.AUTO: "auto",
    ToolMode.NONE: "none",
    ToolMode.REQUIRED: "any",
}
_OPTION_NAMES: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "stop": "stop_sequences",
}
# While it reasons, a model samples its own way.
_NAMES_WHILE_THINKING: Final = {
    name: said for name, said in _OPTION_NAMES.items() if name not in ("temperature", "top_k")
}
_SAID_APART: Final = ("thinking", "effort", "max_tokens")


class AnthropicBackend(HttpBackend):
    """One server that speaks Anthropic Messages."""

    ping_path: ClassVar[str] = "/v1/models"

    def encode(self, request: ChatRequest) -> WireRequest:
        """POST /v1/messages, streamed; usage is always part of the stream."""
        thinking = plan(request)
        names = _NAMES_WHILE_THINKING if thinking.on else _OPTION_NAMES
        sampling = sampling_part(request.options, names, apart=_SAID_APART)
        body = _question(request, thinking)
        body |= {"max_tokens": thinking.max_tokens, "stream": True, **sampling.fields}
        return WireRequest(
            method="POST",
            url=f"{self.endpoint.base_url}/v1/messages",
            headers={"Content-Type": "application/json", "Accept": "text/event-stream", **self._credential()},
            body=dump_json(body),
            not_sent=(*sampling.not_sent, *_not_sent(request), *thinking.not_sent),
        )

    def decoder(self) -> StreamDecoder:
        """For one answer to `encode`."""
        return AnthropicDecoder(self.endpoint.base_url)

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """GET /v1/models."""
        # 1,000 is the most that one page may have; more than that nobody offers.
        document = await self._get_object("/v1/models?limit=1000")
        if "data" not in document:
            raise ProtocolError(f"{self.endpoint.base_url}/v1/models", "it has no list of models")
        items = (as_object(item) for item in as_list(document["data"])[:MAX_MODELS])
        return tuple(_model_info(item) for item in items if as_text(item.get("id")))

    async def count_prompt(self, request: ChatRequest) -> TokenCount | None:
        """POST /v1/messages/count_tokens; None where an imitation has no such call."""
        return await self._counted(
            "/v1/messages/count_tokens", _question(request, plan(request)), "input_tokens"
        )

    def _credential(self) -> dict[str, str]:
        version = {"anthropic-version": API_VERSION}
        if not self.endpoint.api_key:
            return version
        named = {"x-api-key": self.endpoint.api_key, **version}
        # The service itself refuses both headers at once; some imitations (vLLM, SGLang) know only the other.
        return named if _is_the_service(self.endpoint.base_url) else {**super()._credential(), **named}


def _is_the_service(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    return host == "anthropic.com" or host.endswith(".anthropic.com")


def _question(request: ChatRequest, thinking: Thinking) -> dict[str, JsonValue]:
    """What is asked, as both the answer and the count of its tokens need it."""
    return {
        "model": request.model_id,
        "messages": words.turns(request),
        **_given(
            {
                "system": words.system_text(request) or None,
                "tools": words.tools(request.tools) or None,
                "tool_choice": _tool_choice(request.tool_choice) if request.tools else None,
                "thinking": dict(thinking.switch) if thinking.switch else None,
                "output_config": _output_config(request, thinking) or None,
            }
        ),
    }


def _output_config(request: ChatRequest, thinking: Thinking) -> dict[str, JsonValue]:
    schema = request.output.schema if request.output else None
    return _given(
        {
            "effort": str(thinking.effort) if thinking.effort else None,
            "format": None if schema is None else {"type": "json_schema", "schema": dict(schema)},
        }
    )


def _tool_choice(choice: ToolChoice | None) -> JsonValue:
    match choice:
        case None:
            return None
        case ForcedTool(name):
            return {"type": "tool", "name": name}
        case mode:
            return {"type": _CHOICES[mode]}


def _not_sent(request: ChatRequest) -> tuple[str, ...]:
    unsaid = {
        "output": request.output is not None and request.output.schema is None,
        "images": words.drops_images(request),
        "reasoning": words.has_reasoning(request),
    }
    return tuple(name for name, there in unsaid.items() if there)


def _model_info(item: Mapping[str, JsonValue]) -> ModelInfo:
    context = as_count(item.get("max_input_tokens")) or None
    said = as_object(item.get("capabilities"))
    capabilities: tuple[str, ...] = (COMPLETION, TOOLS) if said else ()
    for name, field in ((VISION, "image_input"), (THINKING, "thinking")):
        if as_object(said.get(field)).get("supported") is True:
            capabilities += (name,)
    return ModelInfo(
        id=as_text(item.get("id")),
        context_length=context,
        context_source=ContextSource.RUNNING if context else None,
        capabilities=capabilities,
    )


def _given(fields: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: value for name, value in fields.items() if value is not None}
