"""How a browser gets in: a link that works once, then a cookie, as Jupyter does it (I37).

The service's token never enters a browser. Links and sessions are in memory only and end with the service; a
session also ends when nobody uses it, and after a day in any case: cookies are read by who gets at a profile.
"""

import hashlib
import secrets
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from llama_runner.control.values import API_PREFIX, LoginLink
from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import RefusedError
from llama_runner.net.gate import HeaderMap
from llama_runner.service.endpoints import Call, Endpoint, answered

LOGIN_PATH: Final = "/login"
# What a browser sees first, until there is a page made for it.
LANDING_PATH: Final = f"{API_PREFIX}/health"
# 256 bits (safety R1).
SECRET_BYTES: Final = 32
# Time enough to copy a link by hand.
LINK_LIFE_S: Final = 300.0
# A long lunch and a meeting; who comes back the next morning makes a new link.
IDLE_LIFE_S: Final = 4 * 3600.0
SESSION_LIFE_S: Final = 24 * 3600.0
# More than a person asks for; the oldest go first.
MAX_LINKS: Final = 8
MAX_SESSIONS: Final = 32


@dataclass(slots=True)
class _Session:
    began_ns: int
    used_ns: int


class Browsers:
    """Links that were given out and sessions they became.

    Args:
        url: Of the control API.
        port: Cookies are kept per host, whatever the port: the name tells one service's from another's.
    """

    def __init__(self, *, url: str, port: int, clock: Clock) -> None:
        self._url = url
        self._cookie = f"llama-runner-{port}"
        self._clock = clock
        # By hash: looking up a secret itself would tell by its time how much of it is right.
        self._links: dict[bytes, int] = {}
        self._sessions: dict[bytes, _Session] = {}

    def endpoints(self) -> tuple[Endpoint, ...]:
        """What programs with the token may ask."""
        return (
            Endpoint(
                method="POST",
                path="/login-links",
                summary="A link that lets one browser in, once.",
                handle=self._new_link,
                answer=LoginLink,
                status=201,
            ),
        )

    def route(self) -> Route:
        """Where the link leads; needs no token."""
        return Route(LOGIN_PATH, answered(self._log_in), methods=["GET"])

    def admits(self, headers: HeaderMap) -> bool:
        """Whether the headers hold the cookie of a session, which is used by being asked for."""
        lines = headers.get("cookie", [])
        if len(lines) != 1:
            return False
        digest = _digest(_cookie_in(lines[0], self._cookie))
        session = self._sessions.get(digest)
        if session is None:
            return False
        now_ns = self._clock.now_ns()
        if (
            seconds(now_ns, session.used_ns) > IDLE_LIFE_S
            or seconds(now_ns, session.began_ns) > SESSION_LIFE_S
        ):
            del self._sessions[digest]
            return False
        session.used_ns = now_ns
        return True

    async def _new_link(self, call: Call) -> LoginLink:
        secret = secrets.token_urlsafe(SECRET_BYTES)
        if len(self._links) >= MAX_LINKS:
            del self._links[next(iter(self._links))]
        self._links[_digest(secret)] = self._clock.now_ns()
        return LoginLink(f"{self._url}{LOGIN_PATH}?token={secret}", LINK_LIFE_S)

    async def _log_in(self, request: Request) -> Response:
        made_ns = self._links.pop(_digest(request.query_params.get("token", "")), None)
        if made_ns is None or seconds(self._clock.now_ns(), made_ns) > LINK_LIFE_S:
            raise RefusedError(
                "This link was used already, or is too old.", "Make a new one with `serve --print-url`."
            )
        session = secrets.token_urlsafe(SECRET_BYTES)
        if len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        now_ns = self._clock.now_ns()
        self._sessions[_digest(session)] = _Session(now_ns, now_ns)
        response = RedirectResponse(LANDING_PATH, status_code=303)
        response.set_cookie(self._cookie, session, path="/", httponly=True, samesite="strict")
        return response


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", errors="surrogatepass")).digest()


def _cookie_in(line: str, name: str) -> str:
    try:
        morsel = SimpleCookie(line).get(name)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value
