"""Errors as Ollama spells them: one text."""

import json

from llama_runner.core.errors import (
    ContextOverflowError,
    LlamaRunnerError,
    NotFoundError,
    OverloadedError,
)
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.net.errors import MAX_ERROR_BODY_BYTES, error_text
from llama_runner.proxy import openai_errors

_BUSY = "server busy, please try again.  maximum pending requests exceeded"
_TOO_LONG = "the input length exceeds the context length"


def error_answer(error: LlamaRunnerError) -> tuple[int, JsonValue]:
    """Status and document of an error of ours; clients look for Ollama's own words."""
    status, _ = openai_errors.error_answer(error)
    match error:
        case OverloadedError():
            return 503, {"error": _BUSY}
        case ContextOverflowError():
            return 400, {"error": _TOO_LONG}
        case NotFoundError():
            close = f". {error.hint}" if error.suggestions else ""
            return 404, {"error": error.message + close}
    return (500 if status == 502 else status), {"error": str(error)}


def error_document(error: LlamaRunnerError) -> JsonValue:
    """The document alone, for a line in a stream."""
    return error_answer(error)[1]


def engine_error(status: int, body: bytes) -> tuple[int, bytes]:
    """The engine's own error as a text."""
    try:
        document = parse_json(body, max_bytes=MAX_ERROR_BODY_BYTES)
    except JsonRejected:
        document = body.decode("utf-8", errors="replace").strip()[:500]
    text, kind = error_text(document)
    text = openai_errors.in_our_words(text)
    if kind == "exceed_context_size_error":
        text = f"{_TOO_LONG}: {text}"
    elif status == 401:
        status, text = 500, "the engine refused our key"
    return status, json.dumps({"error": text or "the engine gave no reason"}, ensure_ascii=False).encode()
