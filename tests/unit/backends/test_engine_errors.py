"""How each engine says that something went wrong, as it really words it, and what we make of that."""

import json
from typing import Any

import pytest

from llama_runner.core.errors import (
    ContextOverflowError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    RefusedError,
    ServerError,
)
from llama_runner.net.errors import status_error

ANTHROPIC_LONG = {
    "type": "error",
    "error": {
        "type": "invalid_request_error",
        "message": "prompt is too long: 205000 tokens > 200000 maximum",
    },
    "request_id": "req_1",
}
TGI_SUM = "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4090 and 20"
TGI_LONG = "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000"
LM_STUDIO_KEEP = (
    "Trying to keep the first 9022 tokens when context the overflows. However, the model is loaded with "
    "context length of only 4096 tokens, which is not enough."
)
LM_STUDIO_LONG = (
    "The number of tokens to keep from the initial prompt is greater than the context length. Try to load "
    "the model with a larger context length, or provide a shorter input"
)
SGLANG_LONG = (
    "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total "
    "of 5000 tokens"
)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, ANTHROPIC_LONG, ContextOverflowError),
        (422, {"error": TGI_SUM, "error_type": "validation"}, ContextOverflowError),
        (422, {"error": TGI_LONG, "error_type": "validation"}, ContextOverflowError),
        (400, {"error": LM_STUDIO_KEEP}, ContextOverflowError),
        (400, {"error": {"message": LM_STUDIO_LONG, "type": "x"}}, ContextOverflowError),
        (400, {"object": "error", "message": SGLANG_LONG, "code": 400}, ContextOverflowError),
        (
            529,
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            OverloadedError,
        ),
        (429, {"error": "Model is overloaded", "error_type": "overloaded"}, OverloadedError),
        (424, {"error": "Request failed during generation", "error_type": "generation"}, ServerError),
        (404, {"src": "llama-swap", "error": {"message": "model not found"}}, NotFoundError),
        (401, {"type": "error", "error": {"type": "authentication_error", "message": "no"}}, RefusedError),
        (422, {"detail": [{"loc": ["body"], "msg": "Field required"}]}, InvalidRequestError),
    ],
)
def test_each_engines_words_have_their_error(status: int, body: Any, kind: type[ServerError]) -> None:
    error = status_error(status, {}, json.dumps(body).encode(), "http://h")
    assert type(error) is kind
    assert error.hint
