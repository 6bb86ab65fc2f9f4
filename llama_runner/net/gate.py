"""The request gate (safety R1): who may talk to a listener of ours, decided before anything else runs.

Guards every method and every path of an ASGI application, unknown ones too. Routes nothing itself.
"""

import logging
from collections.abc import Callable
from typing import Final

from llama_runner.core.clock import Clock, SystemClock
from llama_runner.net.answering import (
    RETRY_AFTER_S,
    Application,
    BodyRefusedError,
    CountedBody,
    GuardedSend,
    Held,
    Receive,
    Refusal,
    Scope,
    Send,
    Spelling,
    own_headers,
    own_spelling,
    refuse,
    too_large,
)
from llama_runner.net.credentials import (
    MAX_FAILURES,
    Failures,
    TwoCredentialsError,
    credential_of,
    fits,
    hash_token,
)

log = logging.getLogger(__name__)

HeaderMap = dict[str, list[str]]
# The hash of the token that is wanted now; None: none is.
TokenHash = Callable[[], bytes | None]

# What control calls need; a listener that takes chats with pictures says so.
MAX_BODY_BYTES: Final = 1024 * 1024
# Requests of a listener that are answered at the same time, waiting ones included: the proxy's queue alone
# has room for 512 (safety R2).
MAX_REQUESTS: Final = 1024
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
# What pages may send, beyond what every page may; the SDKs in browsers add the others (protocols 1.1).
_PAGE_HEADERS: Final = frozenset(
    {
        "accept",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "anthropic-version",
        "authorization",
        "content-type",
        "openai-beta",
        "user-agent",
        "x-api-key",
        "x-requested-with",
    }
)
_SDK_HEADERS: Final = "x-stainless-"
# Any method is refused or not like any other: a page learns nothing by it.
_PAGE_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_PREFLIGHT_KEPT_S: Final = b"600"
_NO_PAGES: Final = Refusal(
    403, "refused", "Web pages may not call this.", "Allow the page's origin in Settings (proxy.origins)."
)


def loopback_hosts(port: int) -> frozenset[str]:
    """The allow-list of a listener on this machine only: every way to write its Host header."""
    return named_hosts(_LOOPBACK_HOSTS, port)


def named_hosts(names: tuple[str, ...], port: int) -> frozenset[str]:
    """What the Host header of a listener with these names may say; the port may be absent only for 80."""
    hosts = {f"{name.lower()}:{port}" for name in names}
    return frozenset(hosts | {name.lower() for name in names}) if port == 80 else frozenset(hosts)


class RequestGate:
    """ASGI middleware in front of a whole application.

    Args:
        app: What is protected.
        allowed_hosts: Host header values that name this listener, port included; asked at every request. The
            address that a connection came in on is always one of its names.
        token: Wanted as `Authorization: Bearer` or `x-api-key`; None for a listener that needs none; asked at
            every request where it may change.
        public_paths: Paths that need no token. All other rules hold there too.
        allowed_origins: Origins of pages that may call: the listener's own page, none by default.
        max_body_bytes: Counted while reading, whatever Content-Length says.
        session: Whether a browser's headers hold a session that counts as the token.
        max_failures: Wrong tokens a minute before an address is turned away, with the right token too; None
            never does: for random tokens, which nobody guesses, while a stray client could lock others out.
        max_requests: Answered at the same time.
        spelling: How refusals are written.
    """

    def __init__(
        self,
        app: Application,
        *,
        allowed_hosts: Callable[[], frozenset[str]],
        token: str | TokenHash | None,
        public_paths: frozenset[str] = frozenset(),
        allowed_origins: Callable[[], frozenset[str]] = frozenset,
        max_body_bytes: int = MAX_BODY_BYTES,
        session: Callable[[HeaderMap], bool] | None = None,
        max_failures: int | None = MAX_FAILURES,
        max_requests: int = MAX_REQUESTS,
        spelling: Spelling = own_spelling,
        clock: Clock | None = None,
    ) -> None:
        self._app = app
        self._allowed_hosts = allowed_hosts
        self._token_hash = _hash_of(token)
        self._public_paths = public_paths
        self._allowed_origins = allowed_origins
        self._max_body_bytes = max_body_bytes
        self._session = session
        self._failures = Failures(clock or SystemClock(), max_failures)
        self._max_requests = max_requests
        self._spelling = spelling
        self._held = Held()
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection scope: lifespan passes, http and websocket are judged, anything else is closed."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        refusal = self._judge_caller(scope, headers)
        if refusal is None and _is_preflight(scope, headers):
            await _answer_preflight(headers, send)
            return
        refusal = refusal or self._judge_request(scope, headers)
        if refusal is not None:
            await self._refuse(scope, send, refusal)
            return
        self.requests += 1
        try:
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
            else:
                await self._pass(scope, receive, send, headers)
        finally:
            self.requests -= 1

    async def _pass(self, scope: Scope, receive: Receive, send: Send, headers: HeaderMap) -> None:
        body = CountedBody(receive, self._max_body_bytes, self._held)
        origins = headers.get("origin")
        guarded = GuardedSend(send, origins[0] if origins else None, body)
        try:
            await self._app(scope, body.receive, guarded.send)
        except BodyRefusedError as error:
            if not guarded.started:
                await self._refuse(scope, send, error.refusal)
        finally:
            body.close()

    async def _refuse(self, scope: Scope, send: Send, refusal: Refusal) -> None:
        client = (scope.get("client") or ("unknown", 0))[0]
        log.info(
            "refused status=%d client=%s path=%.200s reason=%s",
            refusal.status,
            client,
            scope["path"],
            refusal.message,
        )
        await refuse(scope, send, refusal, self._spelling)

    def _judge_caller(self, scope: Scope, headers: HeaderMap) -> Refusal | None:
        if scope["type"] not in ("http", "websocket"):
            return Refusal(400, "invalid_request", "This kind of connection is not served.")
        return (
            _check_host(scope, headers, self._allowed_hosts)
            or _check_origin(scope, headers, self._allowed_origins)
            or _check_target(scope)
        )

    def _judge_request(self, scope: Scope, headers: HeaderMap) -> Refusal | None:
        return (
            _check_content(scope, headers)
            or self._check_length(headers)
            or self._check_token(scope, headers)
            or self._check_room()
        )

    def _check_length(self, headers: HeaderMap) -> Refusal | None:
        lengths = headers.get("content-length")
        if lengths is None:
            return None
        if any(not (text.isascii() and text.isdigit()) for text in lengths) or len(set(lengths)) > 1:
            return Refusal(400, "invalid_request", "The Content-Length header is not one number.")
        too_long = any(len(text) > 15 or int(text) > self._max_body_bytes for text in lengths)
        return too_large(self._max_body_bytes) if too_long else None

    def _check_token(self, scope: Scope, headers: HeaderMap) -> Refusal | None:
        wanted = self._token_hash()
        if wanted is None or scope["path"] in self._public_paths:
            return None
        client = (scope.get("client") or ("unknown", 0))[0]
        if self._failures.too_many(client):
            return Refusal(
                429, "overloaded", "Too many wrong tokens from this address.", "Wait a minute.", 60
            )
        try:
            shown = credential_of(headers)
        except TwoCredentialsError:
            return Refusal(400, "refused", "The request shows two tokens.", "Send one.")
        if shown is None and self._session is not None and self._session(headers):
            return None
        if shown is not None and fits(shown, wanted):
            return None
        if shown is not None:
            # Without any it is no guess: a client that knows of no token locks nobody out.
            self._failures.note(client)
        return Refusal(401, "refused", "This needs the token.", "Send it as Authorization: Bearer.")

    def _check_room(self) -> Refusal | None:
        if self.requests < self._max_requests:
            return None
        return Refusal(
            503, "overloaded", "Too many requests at once.", "Try again in a moment.", RETRY_AFTER_S
        )


def _hash_of(token: str | TokenHash | None) -> TokenHash:
    if token is not None and not isinstance(token, str):
        return token
    wanted = None if token is None else hash_token(token)
    return lambda: wanted


def _check_host(scope: Scope, headers: HeaderMap, allowed: Callable[[], frozenset[str]]) -> Refusal | None:
    if scope.get("http_version", "1.1") != "1.1":
        return Refusal(505, "invalid_request", "Only HTTP/1.1 is spoken here.")
    hosts = headers.get("host", [])
    if len(hosts) != 1:
        return Refusal(400, "invalid_request", "A request needs exactly one Host header.")
    host = hosts[0].lower()
    if host not in allowed() and host not in _hosts_of_connection(scope):
        return Refusal(
            421,
            "refused",
            "This address is not one of this listener's names.",
            "Use the address that it prints, or add the name in Settings (proxy.host_names).",
        )
    return None


def _hosts_of_connection(scope: Scope) -> frozenset[str]:
    """The address that the client connected to: a page of another name cannot have it as its Host."""
    server = scope.get("server")
    if not server or server[1] is None:
        return frozenset()
    address: str = server[0].partition("%")[0]
    return named_hosts((f"[{address}]" if ":" in address else address,), server[1])


def _check_origin(scope: Scope, headers: HeaderMap, allowed: Callable[[], frozenset[str]]) -> Refusal | None:
    """Pages of other sites may call nothing, by no method, by what Origin and Sec-Fetch-Site say.

    A WebSocket must say where it comes from (W2): browsers let every page open one, and always say it.
    """
    origins = headers.get("origin")
    if origins:
        return None if len(origins) == 1 and origins[0] in allowed() else _NO_PAGES
    if scope["type"] == "websocket":
        return Refusal(403, "refused", "A WebSocket needs an Origin.", "Send this listener's own address.")
    sites = headers.get("sec-fetch-site", [])
    return _NO_PAGES if any(site.lower() not in ("same-origin", "none") for site in sites) else None


def _check_target(scope: Scope) -> Refusal | None:
    """A proxy's form of a request (`GET http://other/`) may ask for a host that Host does not name."""
    if scope.get("raw_path", b"/").startswith(b"/"):
        return None
    return Refusal(400, "invalid_request", "The request's target is not a path.")


def _check_content(scope: Scope, headers: HeaderMap) -> Refusal | None:
    """A browser sends JSON across sites only after asking; forms it sends unasked. `curl -d` may."""
    if scope["type"] != "http" or scope["method"] not in _BODY_METHODS:
        return None
    if any(text.strip().lower() != "identity" for text in headers.get("content-encoding", [])):
        return Refusal(415, "invalid_request", "Compressed requests are not taken.", "Send it as it is.")
    if not ("origin" in headers or any(name.startswith("sec-fetch-") for name in headers)):
        return None
    has_body = headers.get("content-length", ["0"]) != ["0"] or "transfer-encoding" in headers
    kinds = headers.get("content-type", [])
    is_json = len(kinds) == 1 and kinds[0].partition(";")[0].strip().lower() == "application/json"
    if has_body and not is_json:
        return Refusal(415, "invalid_request", "Browsers must send Content-Type: application/json.")
    return None


def _is_preflight(scope: Scope, headers: HeaderMap) -> bool:
    """Whether a browser asks on behalf of an allowed page: with an Origin, which has been judged."""
    return (
        scope["type"] == "http"
        and scope["method"] == "OPTIONS"
        and "origin" in headers
        and "access-control-request-method" in headers
    )


async def _answer_preflight(headers: HeaderMap, send: Send) -> None:
    """Tell a browser what an allowed page may send; no private network and no credentials (R1.5, H8)."""
    asked = ",".join(headers.get("access-control-request-headers", []))[:4096].lower().split(",")
    names = sorted({name.strip() for name in asked})
    granted = [name for name in names if name in _PAGE_HEADERS or name.startswith(_SDK_HEADERS)]
    answer = [
        (b"access-control-allow-origin", headers["origin"][0].encode("latin-1")),
        (b"access-control-allow-methods", _PAGE_METHODS),
        (b"access-control-allow-headers", ", ".join(granted).encode("latin-1")),
        (b"access-control-max-age", _PREFLIGHT_KEPT_S),
        (b"vary", b"Origin"),
        *own_headers(),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": answer})
    await send({"type": "http.response.body", "body": b""})


def _headers(scope: Scope) -> HeaderMap:
    found: HeaderMap = {}
    for name, value in scope.get("headers", []):
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found
