"""The request gate (safety R1): who may talk to a listener of ours, decided before anything else runs.

Guards every method and every path of an ASGI application, unknown ones too. Routes nothing itself.
"""

import hmac
import json
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from llama_runner import __version__
from llama_runner.core.clock import Clock, SystemClock
from llama_runner.core.errors import InvalidRequestError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderMap = dict[str, list[str]]

# What control calls need; a listener that takes chats with pictures says so.
MAX_BODY_BYTES: Final = 1024 * 1024
# R1.6: nobody mistypes a token more often, and a guesser gets nowhere.
MAX_FAILURES: Final = 10
FAILURE_WINDOW_NS: Final = 60 * 10**9
# Addresses whose failures are remembered; the oldest go first.
MAX_REMEMBERED: Final = 1024
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
# How a scan knows this program from a stranger: on every answer of every listener, refusals included.
OWN_HEADER: Final = "x-llama-runner"
_OWN_NAME: Final = OWN_HEADER.encode()
_OWN: Final = (_OWN_NAME, __version__.encode())


def loopback_hosts(port: int) -> frozenset[str]:
    """The allow-list of a listener on this machine only: every way to write its Host header."""
    hosts = {f"{host}:{port}" for host in _LOOPBACK_HOSTS}
    return frozenset(hosts | set(_LOOPBACK_HOSTS)) if port == 80 else frozenset(hosts)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    kind: str
    message: str
    hint: str = ""


class RequestGate:
    """ASGI middleware in front of a whole application.

    Args:
        app: What is protected.
        allowed_hosts: Host header values that name this listener, port included; asked at every request.
        token: Wanted as `Authorization: Bearer`; None for a listener that needs none.
        public_paths: Paths that need no token. All other rules hold there too.
        allowed_origins: Origins of pages that may call: the listener's own page, none by default.
        max_body_bytes: Counted while reading, whatever Content-Length says.
        session: Whether a browser's headers hold a session that counts as the token.
        max_failures: Wrong tokens a minute before an address is turned away, with the right token too; None
            never does: for random tokens, which nobody guesses, while a stray client could lock others out.
    """

    def __init__(
        self,
        app: Application,
        *,
        allowed_hosts: Callable[[], frozenset[str]],
        token: str | None,
        public_paths: frozenset[str] = frozenset(),
        allowed_origins: Callable[[], frozenset[str]] = frozenset,
        max_body_bytes: int = MAX_BODY_BYTES,
        session: Callable[[HeaderMap], bool] | None = None,
        max_failures: int | None = MAX_FAILURES,
        clock: Clock | None = None,
    ) -> None:
        self._app = app
        self._allowed_hosts = allowed_hosts
        self._token = token
        self._public_paths = public_paths
        self._allowed_origins = allowed_origins
        self._max_body_bytes = max_body_bytes
        self._session = session
        self._failures = _Failures(clock or SystemClock(), max_failures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection scope: lifespan passes, http and websocket are judged, anything else is closed."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        refusal = self._judge(scope, headers)
        if refusal is not None:
            await _refuse(scope, send, refusal)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            body = _CountedBody(receive, self._max_body_bytes)
            guarded = _GuardedSend(send, headers.get("origin"), body)
            try:
                await self._app(scope, body.receive, guarded.send)
            except _BodyTooLargeError:
                if not guarded.started:
                    await _refuse(scope, send, _too_large(self._max_body_bytes))

    def _judge(self, scope: Scope, headers: HeaderMap) -> Refusal | None:
        if scope["type"] not in ("http", "websocket"):
            return Refusal(400, "invalid_request", "This kind of connection is not served.")
        return (
            _check_host(scope, headers, self._allowed_hosts())
            or _check_origin(scope, headers, self._allowed_origins())
            or _check_content_type(scope, headers)
            or self._check_length(headers)
            or self._check_token(scope, headers)
        )

    def _check_length(self, headers: HeaderMap) -> Refusal | None:
        lengths = headers.get("content-length", [])
        if any(not text.isdigit() for text in lengths) or len(set(lengths)) > 1:
            return Refusal(400, "invalid_request", "The Content-Length header is not one number.")
        too_long = any(len(text) > 15 or int(text) > self._max_body_bytes for text in lengths)
        return _too_large(self._max_body_bytes) if too_long else None

    def _check_token(self, scope: Scope, headers: HeaderMap) -> Refusal | None:
        if self._token is None or scope["path"] in self._public_paths:
            return None
        client = (scope.get("client") or ("unknown", 0))[0]
        if self._failures.too_many(client):
            return Refusal(429, "overloaded", "Too many wrong tokens from this address.", "Wait a minute.")
        given = headers.get("authorization", [])
        if not given and self._session is not None and self._session(headers):
            return None
        wanted = f"Bearer {self._token}"
        # One header only: with two, a proxy in between and we could each believe another one.
        if len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8"), wanted.encode("utf-8")):
            return None
        self._failures.note(client)
        return Refusal(401, "refused", "This needs the token.", "Send it as Authorization: Bearer.")


def _check_host(scope: Scope, headers: HeaderMap, allowed: frozenset[str]) -> Refusal | None:
    if scope.get("http_version", "1.1") != "1.1":
        return Refusal(505, "invalid_request", "Only HTTP/1.1 is spoken here.")
    hosts = headers.get("host", [])
    if len(hosts) != 1:
        return Refusal(400, "invalid_request", "A request needs exactly one Host header.")
    if hosts[0].lower() not in allowed:
        return Refusal(
            421,
            "refused",
            "This address is not one of this listener's names.",
            "Use the address that it prints, or add the name in Settings.",
        )
    return None


def _check_origin(scope: Scope, headers: HeaderMap, allowed: frozenset[str]) -> Refusal | None:
    """Pages of other sites may call nothing, by no method, by what Origin and Sec-Fetch-Site say.

    A WebSocket must say where it comes from (W2): browsers let every page open one, and always say it.
    """
    origins = headers.get("origin", [])
    if not origins and scope["type"] == "websocket":
        return Refusal(403, "refused", "A WebSocket needs an Origin.", "Send this listener's own address.")
    if any(origin not in allowed for origin in origins) or len(origins) > 1:
        return Refusal(403, "refused", "Web pages may not call this.", "Allow the page's origin in Settings.")
    sites = headers.get("sec-fetch-site", [])
    if not origins and any(site.lower() not in ("same-origin", "none") for site in sites):
        return Refusal(403, "refused", "Web pages may not call this.", "Allow the page's origin in Settings.")
    return None


def _check_content_type(scope: Scope, headers: HeaderMap) -> Refusal | None:
    """A browser sends JSON across sites only after asking; forms it sends unasked. `curl -d` may."""
    from_browser = "origin" in headers or any(name.startswith("sec-fetch-") for name in headers)
    if scope["type"] != "http" or not from_browser or scope["method"] not in _BODY_METHODS:
        return None
    has_body = headers.get("content-length", ["0"]) != ["0"] or "transfer-encoding" in headers
    kinds = headers.get("content-type", [])
    is_json = len(kinds) == 1 and kinds[0].partition(";")[0].strip().lower() == "application/json"
    if has_body and not is_json:
        return Refusal(415, "invalid_request", "Browsers must send Content-Type: application/json.")
    return None


def _too_large(limit_bytes: int) -> Refusal:
    return Refusal(413, "invalid_request", f"The request's body is larger than {limit_bytes} bytes.")


def _headers(scope: Scope) -> HeaderMap:
    found: HeaderMap = {}
    for name, value in scope.get("headers", []):
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted, a close is answered as HTTP 403 by every server.
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
        return
    error = {"kind": refusal.kind, "message": refusal.message, "hint": refusal.hint}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    # The body was not read: a connection kept open would take it for the next request.
    headers += [(b"connection", b"close"), *_SECURITY_HEADERS, _OWN]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _BodyTooLargeError(InvalidRequestError):
    """Raised out of `receive`, through the application, which may take it for an expected error."""


class _CountedBody:
    """`receive` that gives up once more than the limit came."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive = receive
        self._left = limit_bytes

    @property
    def exceeded(self) -> bool:
        return self._left < 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self.exceeded:
            raise _BodyTooLargeError("The request's body is too large.")
        return message


class _GuardedSend:
    """`send` that adds the security headers, and for an allowed page the two that let it read the answer."""

    def __init__(self, send: Send, origins: list[str] | None, body: _CountedBody) -> None:
        self._send = send
        self._body = body
        self._origin = origins[0] if origins else None
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._body.exceeded:
                # The application turned our exception into an answer of its own; ours is the right one.
                raise _BodyTooLargeError("The request's body is too large.")
            self.started = True
            given = [*filter(_is_the_applications, message.get("headers", []))]
            # The application may say more than the version there.
            named = any(name.lower() == _OWN_NAME for name, _ in given)
            message["headers"] = [*given, *self._added(), *(() if named else (_OWN,))]
        await self._send(message)

    def _added(self) -> list[tuple[bytes, bytes]]:
        added = [*_SECURITY_HEADERS, (b"vary", b"Origin")]
        if self._origin is not None:
            added.append((b"access-control-allow-origin", self._origin.encode("latin-1")))
        return added


def _is_the_applications(header: tuple[bytes, bytes]) -> bool:
    """Whether the application decides about this header, and not the gate."""
    name = header[0].lower()
    return not name.startswith(b"access-control-") and all(name != ours for ours, _ in _SECURITY_HEADERS)


class _Failures:
    """Wrong tokens per address within the last minute."""

    def __init__(self, clock: Clock, limit: int | None) -> None:
        self._clock = clock
        self._limit = limit
        self._times: dict[str, deque[int]] = {}

    def too_many(self, client: str) -> bool:
        times = self._times.get(client)
        if times is None or self._limit is None:
            return False
        while times and self._clock.now_ns() - times[0] > FAILURE_WINDOW_NS:
            times.popleft()
        return len(times) >= self._limit

    def note(self, client: str) -> None:
        if self._limit is None:
            return
        if client not in self._times and len(self._times) >= MAX_REMEMBERED:
            del self._times[next(iter(self._times))]
        self._times.setdefault(client, deque(maxlen=self._limit)).append(self._clock.now_ns())
