"""Transport errors and HTTP statuses become one tree, with the server's own words (protocols 4.3)."""

import json
import socket
import ssl
from typing import Any

import aiohttp
import httpx
import pytest

from llama_runner.core.errors import (
    ContextOverflowError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RefusedError,
    ServerError,
    TlsError,
    TruncatedError,
    UnreachableError,
)
from llama_runner.net.errors import (
    error_text,
    is_error,
    raise_for_status,
    retry_after_s,
    stream_error,
    translate_errors,
    transport_error,
)
from llama_runner.net.resolver import NameMovedError

URL = "http://127.0.0.1:1"


def error_of(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> ServerError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ServerError) as caught:
        raise_for_status(status, headers or {}, data, URL)
    return caught.value


@pytest.mark.parametrize(
    ("body", "said", "kind"),
    [
        ({"error": "model 'x' not found"}, "model 'x' not found", ""),
        (
            {"error": {"code": 400, "message": "bad", "type": "invalid_request_error"}},
            "bad",
            "invalid_request_error",
        ),
        ({"object": "error", "message": "bad", "type": "BadRequest", "code": 400}, "bad", "BadRequest"),
        ({"detail": "Not Found"}, "Not Found", ""),
        ({"detail": [{"loc": ["body"], "msg": "field required"}, {"msg": "x"}]}, "field required; x", ""),
        ({"error": "text", "error_type": "validation"}, "text", "validation"),
        ({"src": "llama-swap", "error": {"message": "no model"}}, "no model", ""),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
            "busy",
            "overloaded_error",
        ),
        (
            {"error": {"message": "m", "code": "context_length_exceeded", "type": "t"}},
            "m",
            "context_length_exceeded",
        ),
        ("just text", "just text", ""),
        ([1, 2], "", ""),
        ({"error": 7}, "", ""),
        ({"error": {"message": {"deep": 1}}}, "", ""),
    ],
)
def test_every_shape_of_error_body_is_read(body: Any, said: str, kind: str) -> None:
    assert error_text(body) == (said, kind)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            {"error": {"code": 400, "message": "model 'nope' not found", "type": "invalid_request_error"}},
            NotFoundError,
        ),
        (
            {"error": {"message": "/chat/completions: Invalid model name passed in model=nope."}},
            NotFoundError,
        ),
        ({"error": {"message": "unknown", "code": "model_not_found"}}, NotFoundError),
        ({"error": {"message": "No connected db.", "type": "no_db_connection", "code": "400"}}, RefusedError),
        ({"error": {"message": "the model wants messages"}}, InvalidRequestError),
    ],
    ids=["router", "LiteLLM's model", "code", "LiteLLM's key", "a bad request"],
)
def test_a_bad_request_is_told_by_its_words(said: Any, kind: type[ServerError]) -> None:
    """Seen on real servers: status 400 for an unknown model, and for a wrong key."""
    assert type(error_of(400, said)) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, RefusedError),
        (403, RefusedError),
        (404, NotFoundError),
        (413, InvalidRequestError),
        (422, InvalidRequestError),
        (429, OverloadedError),
        (500, ServerError),
        (503, OverloadedError),
        (599, ServerError),
        (302, ProtocolError),
        (101, ServerError),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[ServerError]) -> None:
    error = error_of(status, {"error": {"message": "as the server says."}})
    assert type(error) is kind
    if status >= 400:
        assert "as the server says" in error.message
        assert ".." not in error.message
        assert error.hint


def test_success_raises_nothing() -> None:
    raise_for_status(200, {}, b"", URL)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 400, "type": "exceed_context_size_error", "message": "too long"}},
        {"error": {"code": "context_length_exceeded", "message": "too long"}},
        {"error": "the input length exceeds the context length"},
        {"error": {"message": "This model's maximum context length is 4096 tokens."}},
    ],
)
def test_a_prompt_that_does_not_fit_says_so(body: Any) -> None:
    assert isinstance(error_of(400, body), ContextOverflowError)
    assert isinstance(stream_error(body, URL), ContextOverflowError)


def test_a_web_page_is_not_quoted_and_a_long_body_not_read() -> None:
    assert "<html>" not in error_of(502, b"<html><script>x</script></html>").message
    assert len(error_of(500, b"x" * 100_000).message) < 200
    assert len(error_of(500, b"word " * 1000).message) < 700


def test_control_characters_in_a_servers_words_are_made_visible() -> None:
    message = error_of(500, {"error": "a\x1b[31m\u202eb"}).message
    assert "\x1b" not in message
    assert "\u202e" not in message


def test_a_redirect_does_not_repeat_where_it_points() -> None:
    """D10."""
    error = error_of(302, b"", {"location": "http://169.254.169.254/latest"})
    assert "redirects" in error.message
    assert "169.254" not in str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("9e99", None),
        ("Wed, 21 Oct", None),
        ("", None),
    ],
)
def test_retry_after_is_a_plain_number_or_unknown(text: str, expected: float | None) -> None:
    assert retry_after_s({"Retry-After": text}) == expected
    error = error_of(503, b"", {"retry-after": text})
    assert isinstance(error, OverloadedError)
    assert error.retry_after_s == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"error": {}}, False),
        ({"error": None, "choices": []}, False),
        ({"error": "x"}, True),
        ({"object": "error"}, True),
        ({"type": "error"}, True),
        ({"object": "list"}, False),
    ],
)
def test_an_error_inside_a_good_answer_is_seen(document: dict[str, Any], expected: bool) -> None:
    """S11."""
    assert is_error(document) is expected


def folded(cause: Exception) -> httpx.ConnectTimeout:
    """The httpx transport's way: one class for most, the truth in the cause."""
    error = httpx.ConnectTimeout("folded")
    error.__cause__ = cause
    return error


KEY = aiohttp.client_reqrep.ConnectionKey("h", 1, False, True, None, None, None, None)


@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        (aiohttp.SocketTimeoutError(), UnreachableError, "stopped answering"),
        (aiohttp.ConnectionTimeoutError(), UnreachableError, "does not answer"),
        (TimeoutError(), UnreachableError, "does not answer"),
        (aiohttp.ServerDisconnectedError(), UnreachableError, "closed the connection"),
        (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError()), UnreachableError, "Nothing listens"),
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror()), UnreachableError, "cannot be found"),
        (ssl.SSLError(), TlsError, "encrypted"),
        (aiohttp.InvalidURL("x"), UnreachableError, "not an address"),
        (ConnectionResetError(), UnreachableError, "failed"),
        (aiohttp.http.HttpProcessingError(), ProtocolError, "does not speak HTTP"),
    ],
)
def test_each_transport_error_says_what_happened(
    cause: Exception, kind: type[ServerError], words: str
) -> None:
    for error in (cause, folded(cause)):
        found = transport_error(URL, error)
        assert type(found) is kind
        assert words in found.message
        assert found.hint


def test_a_connection_lost_in_the_middle_is_a_truncated_answer() -> None:
    with pytest.raises(TruncatedError), translate_errors(URL, answering=True):
        raise folded(aiohttp.ClientPayloadError())


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError), translate_errors(URL):
        raise KeyError("ours")


def test_a_name_that_leads_elsewhere_is_told_as_that_and_not_as_unknown() -> None:
    """D12."""
    key = aiohttp.client_reqrep.ConnectionKey("box.lan", 80, False, True, None, None, None)
    moved = aiohttp.ClientConnectorDNSError(key, NameMovedError(None, "elsewhere"))
    unknown = aiohttp.ClientConnectorDNSError(key, OSError(None, "no address"))
    assert "leads elsewhere" in transport_error("http://box.lan", moved).message
    assert "cannot be found" in transport_error("http://box.lan", unknown).message
