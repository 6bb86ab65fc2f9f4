"""Errors as Anthropic's messages API spells them, in an answer and in a stream."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llama_runner.backends.values import as_count, as_object, as_text
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.net.errors import error_fields
from llama_runner.proxy import openai_errors
from llama_runner.proxy.answers import SseThrough

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_answer(error: LlamaRunnerError) -> tuple[int, JsonValue]:
    """Status and document of an error of ours."""
    status, document = openai_errors.error_answer(error)
    return status, spelt(status, _message(as_object(as_object(document).get("error"))))


def error_document(error: LlamaRunnerError) -> JsonValue:
    """The document alone, for an error in a stream."""
    return error_answer(error)[1]


def engine_error(status: int, body: bytes) -> tuple[int, bytes]:
    """The engine's own error; a prompt that is too long in the words that agents look for."""
    status, body = openai_errors.engine_error(status, body)
    inner = error_fields(body)
    n_prompt, n_ctx = as_count(inner.get("n_prompt_tokens")), as_count(inner.get("n_ctx"))
    told = _message(inner)
    if inner.get("code") == "context_length_exceeded" and n_prompt and n_ctx:
        told = f"prompt is too long: {n_prompt} tokens > {n_ctx} maximum"
    return status, json.dumps(spelt(status, told), ensure_ascii=False).encode()


def _message(inner: Mapping[str, JsonValue]) -> str:
    return as_text(inner.get("message")) or "The engine gave no reason."


def spelt(status: int, message: str) -> JsonValue:
    """The one shape."""
    return {"type": "error", "error": {"type": _KINDS.get(status, "api_error"), "message": message}}


@dataclass(slots=True)
class MessagesThrough(SseThrough):
    """The engine's events as they are; an error of ours under the name that clients expect."""

    def broken(self, error: LlamaRunnerError) -> bytes:
        """An error event, and no end marker after it."""
        return b"event: error\ndata: " + dump_json(self.error_document(error)) + b"\n\n"
