"""What each dialect has that the engine's has not: names, errors, lengths."""

import base64
import json
import struct
from typing import Any

import pytest

from llama_runner.core.errors import (
    EngineError,
    InvalidRequestError,
    LlamaRunnerError,
    NotFoundError,
    OverloadedError,
    TruncatedError,
    UnsupportedError,
)
from llama_runner.proxy import anthropic_errors, lm_studio_errors, ollama_errors, openai_errors
from llama_runner.proxy.answers import SseThrough
from llama_runner.proxy.host import ModelState, OfferedModel
from llama_runner.proxy.lm_studio_models import v0_entry, v1_entry
from llama_runner.proxy.ollama_models import running_entry, shown, tag
from llama_runner.proxy.reasoning_names import BothNames, with_both_names
from llama_runner.proxy.refusals import ollama_refusal, openai_refusal
from llama_runner.proxy.vectors import cut_answer

OVERFLOW = json.dumps(
    {
        "error": {
            "code": 400,
            "message": "request (9 tokens) exceeds the available context size (4 tokens)",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 9,
            "n_ctx": 4,
        }
    }
).encode()

# --- reasoning --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["hm", "", 'a "b" \\ c\n', "\u00e9\u4e2d", '","x":"', '"reasoning_content":"x"']
)
@pytest.mark.parametrize("compact", [True, False])
def test_reasoning_has_both_names_with_the_same_text(text: str, compact: bool) -> None:
    spaces = (",", ":") if compact else None
    event = json.dumps({"delta": {"reasoning_content": text, "content": "x"}}, separators=spaces).encode()
    delta = json.loads(with_both_names(event))["delta"]
    assert delta == {"reasoning_content": text, "reasoning": text, "content": "x"}


@pytest.mark.parametrize(
    "data", [b'{"content":"x"}', b'{"reasoning_content":null}', rb'{"content":"\"reasoning_content\":\"x\""}']
)
def test_what_has_no_reasoning_stays_byte_for_byte(data: bytes) -> None:
    assert with_both_names(data) == data


def test_events_cut_anywhere_have_both_names() -> None:
    stream = b'data: {"delta":{"reasoning_content":"hm"}}\n\ndata: [DONE]\n\n'
    for cut in range(len(stream)):
        writer = BothNames(SseThrough("m", openai_errors.error_document))
        told = writer.feed(stream[:cut]) + writer.feed(stream[cut:]) + writer.end()
        assert told == stream.replace(b'"hm"', b'"hm","reasoning":"hm"'), cut


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequestError("x"), 400, "invalid_request_error"),
        (NotFoundError("x"), 404, "not_found_error"),
        (OverloadedError("x"), 503, "overloaded_error"),
        (EngineError("x"), 500, "api_error"),
    ],
)
def test_anthropics_errors_have_its_kinds(error: LlamaRunnerError, status: int, kind: str) -> None:
    found, document = anthropic_errors.error_answer(error)
    assert (found, document) == (status, {"type": "error", "error": {"type": kind, "message": "x."}})


def test_a_prompt_that_is_too_long_is_told_in_the_words_that_agents_look_for() -> None:
    _, body = anthropic_errors.engine_error(400, OVERFLOW)
    assert json.loads(body)["error"]["message"] == "prompt is too long: 9 tokens > 4 maximum"
    _, body = openai_errors.engine_error(400, OVERFLOW)
    assert json.loads(body)["error"]["code"] == "context_length_exceeded"
    _, body = ollama_errors.engine_error(400, OVERFLOW)
    assert json.loads(body)["error"].startswith("the input length exceeds the context length")
    _, body = lm_studio_errors.engine_error(400, OVERFLOW)
    assert json.loads(body)["error"]["type"] == "invalid_request"


@pytest.mark.parametrize("body", [b"", b"oh no", b"\xff", b'{"error": "x"}', b'{"error": {"code": 500}}'])
def test_whatever_the_engine_says_each_dialect_has_its_shape(body: bytes) -> None:
    status, told = anthropic_errors.engine_error(500, body)
    assert status == 500 and json.loads(told)["error"]["message"]
    _, told = lm_studio_errors.engine_error(500, body)
    assert json.loads(told)["error"]["type"] == "internal_error"
    _, told = ollama_errors.engine_error(500, body)
    assert isinstance(json.loads(told)["error"], str)


def test_a_messages_stream_that_breaks_ends_with_its_error_event() -> None:
    writer = anthropic_errors.MessagesThrough("m", anthropic_errors.error_document, b"message_stop")
    writer.feed(b"event: message_start\ndata: {}\n\n")
    name, data = writer.broken(TruncatedError("cut")).splitlines()[:2]
    assert name == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["type"] == "error"


def test_lm_studios_errors_have_its_types() -> None:
    for error, kind in ((NotFoundError("x"), "model_not_found"), (UnsupportedError("x"), "not_implemented")):
        _, document = lm_studio_errors.error_answer(error)
        assert isinstance(document, dict)
        assert document["error"] == {"type": kind, "message": "x.", "param": None, "code": _code(error)}


def _code(error: LlamaRunnerError) -> str | None:
    return "model_not_found" if isinstance(error, NotFoundError) else None


def test_what_no_handler_sees_is_refused_in_the_dialect_of_its_path() -> None:
    """H15."""

    def on(refusal: Any, path: str) -> Any:
        return refusal(path, 404, "no", "not_found_error")

    assert on(ollama_refusal, "/api/x") == on(ollama_refusal, "/") == {"error": "no"}
    assert on(ollama_refusal, "/v1/x")["error"]["message"] == "no"
    assert on(openai_refusal, "/api/v0/x")["error"]["type"] == "not_found_error"
    for path in ("/v1/messages", "/messages/count_tokens", "/v1/messages/x"):
        assert on(openai_refusal, path)["type"] == "error"


# --- vectors ----------------------------------------------------------------------------------------------


def test_vectors_are_cut_to_the_length_that_was_asked_for() -> None:
    answer = json.dumps({"data": [{"embedding": [3.0, 4.0, 12.0]}], "usage": {"prompt_tokens": 2}}).encode()
    cut = json.loads(cut_answer(answer, 2, as_base64=False))
    assert cut["data"] == [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]
    assert cut["usage"] == {"prompt_tokens": 2}
    packed = json.loads(cut_answer(answer, 2, as_base64=True))["data"][0]["embedding"]
    assert struct.unpack("<2f", base64.b64decode(packed)) == pytest.approx((0.6, 0.8))


# --- models -----------------------------------------------------------------------------------------------

BARE = OfferedModel("m", "d" * 64, 1, 0.0)
FULL = OfferedModel(
    "m",
    "d" * 64,
    8_000_000_000,
    1.0,
    state=ModelState.LOADED,
    architecture="qwen3",
    quantization="Q4_K_M",
    parameter_count=8_000_000_000,
    trained_context=40_960,
    running_context=4096,
    capabilities=("completion", "tools", "thinking", "vision"),
)


@pytest.mark.parametrize("model", [BARE, FULL])
def test_lists_have_every_field_that_strict_clients_read(model: OfferedModel) -> None:
    """Zed's structs, Copilot's `includes`, JetBrains' table: protocols of LM Studio and Ollama."""
    entry: Any = tag(model)
    assert all(
        isinstance(entry["details"][name], str)
        for name in ("parent_model", "format", "family", "parameter_size", "quantization_level")
    )
    assert isinstance(entry["details"]["families"], list) and entry["name"] == entry["model"] == "m:latest"
    said: Any = shown(model, "m")
    family = said["model_info"]["general.architecture"]
    assert said["model_info"].get(f"{family}.context_length") == model.trained_context
    assert isinstance(said["capabilities"], list)
    assert all(isinstance(said[name], str) for name in ("template", "parameters", "modelfile", "modified_at"))
    running: Any = running_entry(model, 0.0)
    assert isinstance(running["context_length"], int) and running["expires_at"]
    v0: Any = v0_entry(model)
    assert v0["type"] in ("llm", "vlm") and v0["state"] in ("loaded", "loading", "not-loaded")
    assert isinstance(v0["max_context_length"], int) and isinstance(v0["capabilities"], list)
    v1: Any = v1_entry(model)
    assert isinstance(v1["loaded_instances"], list) and isinstance(v1["max_context_length"], int)


def test_capabilities_have_each_dialects_words() -> None:
    assert v0_entry(FULL)["capabilities"] == ["tool_use", "vision"]
    assert v1_entry(FULL)["capabilities"] == {
        "vision": True,
        "trained_for_tool_use": True,
        "reasoning": {"allowed_options": ["off", "on"], "default": "on"},
    }
    assert v1_entry(BARE)["capabilities"] == {"vision": False, "trained_for_tool_use": False}
    assert tag(FULL)["capabilities"] == ["completion", "tools", "thinking", "vision"]


def test_a_name_that_has_a_tag_gets_no_other() -> None:
    assert tag(OfferedModel("m:8b", "d" * 64, 1, 0.0))["name"] == "m:8b"
