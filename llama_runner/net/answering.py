"""What the request gate does with bytes: bodies counted on their way in, headers set on the way out."""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from llama_runner import __version__
from llama_runner.core.errors import InvalidRequestError, OverloadedError
from llama_runner.core.jsonio import JsonValue

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
# How a scan knows this program from a stranger: on every answer of every listener, refusals included.
OWN_HEADER: Final = "x-llama-runner"
_OWN_NAME: Final = OWN_HEADER.encode()
_OWN: Final = (_OWN_NAME, __version__.encode())
# Of all requests of a listener that are being answered: a body lives as long as its request does.
MAX_HELD_BYTES: Final = 256 * 1024 * 1024
# What a client is told to wait for when there is no room: by then some answers have ended.
RETRY_AFTER_S: Final = 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further.

    Attributes:
        kind: As errors of ours are called in JSON.
        retry_after_s: When to try again, None when that changes nothing.
    """

    status: int
    kind: str
    message: str
    hint: str = ""
    retry_after_s: int | None = None


# The document of a refusal, in the dialect that is spoken below a path.
Spelling = Callable[[str, Refusal], JsonValue]


def own_spelling(path: str, refusal: Refusal) -> JsonValue:
    """A refusal as the control API spells its errors."""
    return {"error": {"kind": refusal.kind, "message": refusal.message, "hint": refusal.hint}}


def own_headers() -> RawHeaders:
    """What every answer carries, also one that no application gave."""
    return [*_SECURITY_HEADERS, _OWN]


async def refuse(scope: Scope, send: Send, refusal: Refusal, spelling: Spelling) -> None:
    """Answer a request with a refusal and close its connection."""
    if scope["type"] == "websocket":
        # Before it is accepted, a close is answered as HTTP 403 by every server.
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
        return
    body = json.dumps(spelling(scope["path"], refusal)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    # The body was not read: a connection kept open would take it for the next request.
    headers += [(b"connection", b"close"), *own_headers()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class BodyRefusedError(InvalidRequestError):
    """Raised out of `receive`, through the application, which may take it for an expected error.

    Args:
        refusal: What the client gets, whatever the application makes of this.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message, refusal.hint)
        self.refusal = refusal


class Held:
    """The bytes of all bodies that requests of one listener hold at the moment."""

    def __init__(self, limit_bytes: int = MAX_HELD_BYTES) -> None:
        self._left = limit_bytes

    def take(self, count: int) -> None:
        """So many more. Raises OverloadedError when there is no room for them."""
        if count > self._left:
            raise OverloadedError("Too much is being sent at once.", "Try again in a moment.", RETRY_AFTER_S)
        self._left -= count

    def give_back(self, count: int) -> None:
        """So many less."""
        self._left += count


class CountedBody:
    """`receive` that gives up once more than the limit came, or more than there is room for.

    Attributes:
        refusal: Why it gave up, None as long as it did not.
    """

    def __init__(self, receive: Receive, limit_bytes: int, held: Held) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._held = held
        self._taken = 0
        self.refusal: Refusal | None = None

    async def receive(self) -> Message:
        """The next message. Raises BodyRefusedError."""
        message = await self._receive()
        if count := len(message.get("body", b"")):
            self._take(count)
        return message

    def close(self) -> None:
        """The request is over, its body forgotten."""
        self._held.give_back(self._taken)
        self._taken = 0

    def _take(self, count: int) -> None:
        if self._taken + count > self._limit_bytes:
            self._give_up(too_large(self._limit_bytes))
        try:
            self._held.take(count)
        except OverloadedError as error:
            self._give_up(Refusal(503, error.kind, error.message, error.hint, RETRY_AFTER_S))
        self._taken += count

    def _give_up(self, refusal: Refusal) -> None:
        self.refusal = refusal
        raise BodyRefusedError(refusal)


def too_large(limit_bytes: int) -> Refusal:
    """More than this listener takes."""
    return Refusal(413, "invalid_request", f"The request's body is larger than {limit_bytes} bytes.")


class GuardedSend:
    """`send` that adds the security headers, and for an allowed page the one that lets it read the answer.

    Attributes:
        started: Whether the answer has begun.
    """

    def __init__(self, send: Send, origin: str | None, body: CountedBody) -> None:
        self._send = send
        self._body = body
        self._origin = origin
        self.started = False

    async def send(self, message: Message) -> None:
        """The next message. Raises BodyRefusedError in place of what the application made of it."""
        if message["type"] == "http.response.start":
            if self._body.refusal is not None:
                # The application turned our exception into an answer of its own; ours is the right one.
                raise BodyRefusedError(self._body.refusal)
            self.started = True
            message["headers"] = _completed(message.get("headers", []), self._origin)
        await self._send(message)


def _completed(given: Iterable[tuple[bytes, bytes]], origin: str | None) -> RawHeaders:
    headers = [*filter(_is_the_applications, given), *_SECURITY_HEADERS, (b"vary", b"Origin")]
    if origin is not None:
        headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
    # The application may say more than the version there.
    if not any(name.lower() == _OWN_NAME for name, _ in headers):
        headers.append(_OWN)
    return headers


def _is_the_applications(header: tuple[bytes, bytes]) -> bool:
    """Whether the application decides about this header, and not the gate."""
    name = header[0].lower()
    return not name.startswith(b"access-control-") and all(name != ours for ours, _ in _SECURITY_HEADERS)
