"""Errors as the OpenAI dialect spells them: an object with message, type, param and code."""

import json
from collections.abc import Mapping
from typing import Final

from llama_runner.backends.values import as_text
from llama_runner.core.errors import (
    ContextOverflowError,
    EngineError,
    InternalError,
    InvalidRequestError,
    LlamaRunnerError,
    ModelFileError,
    NotFoundError,
    OverloadedError,
    RefusedError,
    ServiceError,
    TruncatedError,
    UnreachableError,
    UnsupportedError,
)
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.net.errors import MAX_ERROR_BODY_BYTES

# The first match counts: subclasses before their bases. Status, type, code.
_KINDS: Final[tuple[tuple[type[LlamaRunnerError], int, str, str | None], ...]] = (
    (ContextOverflowError, 400, "invalid_request_error", "context_length_exceeded"),
    (InvalidRequestError, 400, "invalid_request_error", None),
    (UnsupportedError, 501, "not_supported_error", None),
    (NotFoundError, 404, "not_found_error", "model_not_found"),
    (RefusedError, 502, "upstream_error", None),
    (OverloadedError, 503, "overloaded_error", "queue_full"),
    (ServiceError, 503, "unavailable_error", None),
    (ModelFileError, 500, "server_error", "model_file"),
    (EngineError, 500, "server_error", "load_failed"),
    (TruncatedError, 502, "upstream_error", "truncated"),
    (UnreachableError, 502, "upstream_error", "unreachable"),
    (InternalError, 500, "server_error", None),
)
_OVERFLOW: Final = "exceed_context_size_error"
# What the engine tells who started it: clients did not.
_OUR_WORDS: Final = (
    ("--embeddings", "This model was not loaded to make embeddings: switch them on in its options."),
    ("--rerank", "This model was not loaded to rank documents: switch it on in its options."),
)


def error_answer(error: LlamaRunnerError) -> tuple[int, JsonValue]:
    """Status and document of an error of ours."""
    for kind, status, name, code in _KINDS:
        if isinstance(error, kind):
            return status, error_object(_sentences(error), name, code)
    return 502, error_object(_sentences(error), "upstream_error", None)


def _sentences(error: LlamaRunnerError) -> str:
    """What happened and what to do. Words that clients look for ("model 'x' not found") have no full stop."""
    ended = error.message if error.message.endswith((".", "!", "?")) else f"{error.message}."
    return f"{ended} {error.hint}".strip()


def error_document(error: LlamaRunnerError) -> JsonValue:
    """The document alone, for an error in a stream."""
    return error_answer(error)[1]


def error_object(message: str, kind: str, code: str | None, param: str | None = None) -> JsonValue:
    """The one shape."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def engine_error(status: int, body: bytes) -> tuple[int, bytes]:
    """The engine's own error, with the code that clients look for when a prompt is too long."""
    try:
        document = parse_json(body, max_bytes=MAX_ERROR_BODY_BYTES)
    except JsonRejected:
        text = body.decode("utf-8", errors="replace").strip()[:500] or "The engine gave no reason."
        return status, json.dumps(error_object(text, "upstream_error", None)).encode()
    inner = document.get("error") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(inner, dict):
        return status, body
    if status == 401:
        # Its key is ours: a client can do nothing about it.
        return 502, json.dumps(error_object("The engine refused our key.", "upstream_error", None)).encode()
    changed: Mapping[str, JsonValue] = {
        **document,
        "error": {
            "param": None,
            **inner,
            "message": in_our_words(as_text(inner.get("message"))),
            "code": _code(inner),
        },
    }
    return status, json.dumps(changed, ensure_ascii=False).encode()


def in_our_words(message: str) -> str:
    """What an engine says about its own options, for those who have others to switch."""
    return next((words for flag, words in _OUR_WORDS if flag in message), message)


def _code(inner: Mapping[str, JsonValue]) -> JsonValue:
    """OpenAI's codes are words; llama-server's are its status again."""
    if inner.get("type") == _OVERFLOW:
        return "context_length_exceeded"
    code = inner.get("code")
    return code if isinstance(code, str) else None
