"""The one place where transport errors and HTTP statuses become the error tree of `core.errors`.

Must never put a header, a key or a whole body into a message.
"""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import aiohttp
import httpx

from llama_runner.core.errors import (
    ContextOverflowError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RefusedError,
    ServerError,
    TruncatedError,
    UnreachableError,
)
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.core.text import visible_controls
from llama_runner.net.resolver import NameMovedError
from llama_runner.net.tls import tls_error, tls_wanted

# An error body is a sentence or two; beyond this it is a web page or an attack.
MAX_ERROR_BODY_BYTES: Final = 64 * 1024
# What a person reads in one notice.
MAX_MESSAGE_CHARS: Final = 500
# A server that asks for more patience than a day is not giving advice.
MAX_RETRY_AFTER_S: Final = 86_400.0

_OVERFLOW_KINDS: Final = frozenset({"exceed_context_size_error", "context_length_exceeded"})
_OVERFLOW_PHRASES: Final = (
    "exceeds the available context size",
    "input length exceeds the context length",
    "maximum context length",
    # Anthropic, then TGI twice, then LM Studio twice.
    "prompt is too long",
    "`inputs` tokens + `max_new_tokens` must be",
    "`inputs` must have less than",
    "when context the overflows",
    "initial prompt is greater than the context length",
)
# LiteLLM without a database looks a wrong key up in it.
_REFUSAL_KINDS: Final = frozenset({"no_db_connection"})
# Status 400 for an unknown model: a llama-server router, Ollama's /v1, LiteLLM.
_NO_MODEL: Final = re.compile(r"\bmodel\b.{0,120}\b(not found|does not exist)|\binvalid model name passed\b")
# What a ProtocolError says when no HTTP came at all.
NOT_HTTP: Final = "it does not speak HTTP"
# What nginx, and what Go's HTTP server say to plain HTTP on their port for https.
_WANTS_TLS: Final = (b"plain HTTP request was sent to HTTPS port", b"HTTP request to an HTTPS server")
TRANSPORT_ERRORS: Final = (httpx.TransportError, httpx.InvalidURL, aiohttp.ClientError, TimeoutError, OSError)


@contextmanager
def translate_errors(url: str, *, answering: bool = False) -> Iterator[None]:
    """Raise a `ServerError` in place of what httpx, aiohttp and the sockets raise.

    Args:
        url: The address that was asked, for the message; must carry no user information.
        answering: The response headers had arrived: a broken connection means an incomplete answer.
    """
    try:
        yield
    except TRANSPORT_ERRORS as error:
        raise transport_error(url, error, answering=answering) from error


def transport_error(url: str, error: Exception, *, answering: bool = False) -> ServerError:
    """The domain error for a transport's exception."""
    # The httpx transport folds aiohttp's errors together (a dropped connection becomes a connect timeout).
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    if isinstance(cause, (aiohttp.SocketTimeoutError, httpx.ReadTimeout)) and _is_read_timeout(cause):
        return UnreachableError(
            f"{url} stopped answering.", "Check that the server is not stuck, then try again."
        )
    if isinstance(cause, (aiohttp.ClientResponseError, aiohttp.http.HttpProcessingError)):
        return tls_wanted(url) if _is_tls_alert(cause) else ProtocolError(url, NOT_HTTP)
    if answering:
        return TruncatedError(
            f"{url} closed the connection in the middle of its answer.", "Send the message again."
        )
    return tls_error(url, cause) or UnreachableError(*_unreachable_text(url, cause))


def _is_tls_alert(cause: BaseException) -> bool:
    """Whether a TLS alert came in place of a status line: the server did not understand plain HTTP."""
    return "\\x15\\x03" in str(getattr(cause, "message", ""))


def asks_for_tls(status: int, body: bytes) -> bool:
    """Whether an answer to plain HTTP says that the port is one for https."""
    return status == 400 and any(phrase in body[:MAX_ERROR_BODY_BYTES] for phrase in _WANTS_TLS)


def _is_read_timeout(cause: BaseException) -> bool:
    return not isinstance(cause, aiohttp.ConnectionTimeoutError)


def _unreachable_text(url: str, cause: BaseException) -> tuple[str, str]:
    if isinstance(getattr(cause, "os_error", cause), NameMovedError):
        return (
            f"The name in {url} leads elsewhere than it should, so nothing is sent there.",
            "Check who gives out names in your network (DNS), or give the address in numbers.",
        )
    if isinstance(cause, (aiohttp.ClientConnectorDNSError, socket.gaierror)):
        return f"The name in {url} cannot be found.", "Check the spelling of the address."
    if isinstance(cause, (TimeoutError, httpx.TimeoutException)):
        return f"{url} does not answer.", "Check that the server runs and that no firewall is in between."
    if isinstance(cause, (aiohttp.InvalidURL, httpx.InvalidURL, httpx.UnsupportedProtocol)):
        return f"{url} is not an address that can be asked.", "Give it as http://host:port."
    if isinstance(cause, (aiohttp.ClientConnectorError, ConnectionRefusedError)):
        return f"Nothing listens at {url}.", "Start the server, or correct the address."
    if isinstance(cause, aiohttp.ServerDisconnectedError):
        return f"{url} closed the connection without an answer.", "Check the server's log, then try again."
    return f"The connection to {url} failed.", "Check that the server runs, then try again."


def raise_for_status(status: int, headers: Mapping[str, str], body: bytes, endpoint: str) -> None:
    """Raise the error that an HTTP answer means; 2xx passes.

    Args:
        headers: Only `location`, `retry-after` are read; any letter case.
        body: Whatever was read of it, at most `MAX_ERROR_BODY_BYTES` are looked at.
        endpoint: The address or path that was asked, for the message.
    """
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        # D10: never followed, and where it points is not repeated: a server could use that to phish.
        raise ProtocolError(endpoint, f"it redirects elsewhere (status {status}), which is not followed")
    raise status_error(status, headers, body, endpoint)


def status_error(status: int, headers: Mapping[str, str], body: bytes, endpoint: str) -> ServerError:
    """The error for an HTTP status of 400 or more, with the server's own words where it has some."""
    if asks_for_tls(status, body):
        return tls_wanted(endpoint)
    document = _document(body)
    said, kind = error_text(document)
    return error_for(status, said, kind, endpoint, retry_after_s=retry_after_s(headers))


def stream_error(document: JsonValue, endpoint: str) -> ServerError:
    """The error that an event inside a stream carries, whatever its shape."""
    said, kind = error_text(document)
    return error_for(_status_inside(document), said, kind, endpoint)


def error_for(
    status: int | None, said: str, kind: str, endpoint: str, *, retry_after_s: float | None = None
) -> ServerError:
    """The tree's error for a status, the server's words and its own error type."""
    told = f": {said}" if said else ""
    lowered = said.lower()
    if kind in _OVERFLOW_KINDS or any(phrase in lowered for phrase in _OVERFLOW_PHRASES):
        return ContextOverflowError(
            f"The prompt does not fit the model's context length{told}.".replace("..", "."),
            "Shorten the conversation, or load the model with a larger context length.",
        )
    if status == 400:
        status = _meant(kind, lowered)
    match status:
        case 401 | 403:
            return RefusedError(f"{endpoint} refused the request{told}.", "Check this server's API key.")
        case 404 | 405 | 410 | 501:
            return NotFoundError(
                f"{endpoint} does not have what was asked for{told}.",
                "Check the model's name and the server's type.",
            )
        # 529 is Anthropic's own.
        case 429 | 503 | 529:
            return OverloadedError(
                f"{endpoint} is busy or still loading{told}.", "Wait a moment, then try again.", retry_after_s
            )
        case 400 | 409 | 413 | 415 | 422:
            return InvalidRequestError(
                f"{endpoint} rejected the request{told}.", "Change the request's options."
            )
        case None:
            return ServerError(f"{endpoint} reported an error{told}.", "Check the server's log.")
        case _:
            return ServerError(f"{endpoint} failed with status {status}{told}.", "Check the server's log.")


def _meant(kind: str, said: str) -> int:
    """The status that a 400 should have been, by the server's own words."""
    if kind in _REFUSAL_KINDS:
        return 401
    return 404 if kind == "model_not_found" or _NO_MODEL.search(said) else 400


def error_text(document: JsonValue) -> tuple[str, str]:
    """The server's own words and its error type from any error shape met in the wild; "" where absent."""
    if isinstance(document, str):
        return _shown(document), ""
    if not isinstance(document, dict):
        return "", ""
    inner = document.get("error", document)
    if isinstance(inner, str):
        return _shown(inner), _word(document.get("error_type"))
    if not isinstance(inner, dict):
        return "", ""
    message = inner.get("message") or inner.get("detail") or inner.get("msg")
    code = _word(inner.get("code"))
    kind = code if code in _OVERFLOW_KINDS else _word(inner.get("type")) or code
    return _shown(_detail(message)), kind


def is_error(document: Mapping[str, JsonValue]) -> bool:
    """Whether a JSON object of a 200 answer is an error: `error` set, or `object` or `type` says so (S11)."""
    return bool(document.get("error")) or document.get("object") == "error" or document.get("type") == "error"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from a `Retry-After` header that is a plain number; None otherwise."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= MAX_RETRY_AFTER_S else None


def _detail(message: JsonValue) -> str:
    """FastAPI's `detail` is a text or a list of objects with `msg`."""
    if isinstance(message, str):
        return message
    if isinstance(message, list):
        texts = [item.get("msg") for item in message[:3] if isinstance(item, dict)]
        return "; ".join(text for text in texts if isinstance(text, str))
    return ""


def _shown(text: str) -> str:
    return visible_controls(" ".join(text.split()), MAX_MESSAGE_CHARS).rstrip(".")


def _word(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _status_inside(document: JsonValue) -> int | None:
    inner = document.get("error", document) if isinstance(document, dict) else None
    code = inner.get("code") if isinstance(inner, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def error_fields(body: bytes) -> Mapping[str, JsonValue]:
    """What stands below "error" in an error body of OpenAI's shape; nothing where it has another."""
    document = _document(body)
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _document(body: bytes) -> JsonValue:
    """The error body as JSON; plain text as a string; a web page as nothing: it has no words for a person."""
    if len(body) > MAX_ERROR_BODY_BYTES:
        return None
    try:
        return parse_json(body, max_bytes=MAX_ERROR_BODY_BYTES)
    except JsonRejected:
        text = body.decode("utf-8", errors="replace").strip()
        return None if text.startswith("<") else text
