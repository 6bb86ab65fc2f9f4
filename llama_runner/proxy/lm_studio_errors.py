"""Errors as LM Studio's `/api/v1` spells them: an object with a type of its own."""

import json
from collections.abc import Mapping
from typing import Final

from llama_runner.backends.values import as_object, as_text
from llama_runner.core.errors import LlamaRunnerError, NotFoundError, UnsupportedError
from llama_runner.core.jsonio import JsonValue
from llama_runner.net.errors import error_fields
from llama_runner.proxy import openai_errors

_INVALID: Final = "invalid_request"
_INTERNAL: Final = "internal_error"


def error_answer(error: LlamaRunnerError) -> tuple[int, JsonValue]:
    """Status and document of an error of ours."""
    status, document = openai_errors.error_answer(error)
    kind = _INVALID if status < 500 else _INTERNAL
    if isinstance(error, NotFoundError):
        kind = "model_not_found"
    elif isinstance(error, UnsupportedError):
        kind = "not_implemented"
    return status, _spelt(kind, as_object(as_object(document).get("error")))


def engine_error(status: int, body: bytes) -> tuple[int, bytes]:
    """The engine's own error."""
    status, body = openai_errors.engine_error(status, body)
    told = _spelt(_INVALID if status < 500 else _INTERNAL, error_fields(body))
    return status, json.dumps(told, ensure_ascii=False).encode()


def _spelt(kind: str, inner: Mapping[str, JsonValue]) -> JsonValue:
    message = as_text(inner.get("message")) or "The engine gave no reason."
    return {"error": {"type": kind, "message": message, "code": inner.get("code"), "param": None}}
