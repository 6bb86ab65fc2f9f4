"""Small whole answers: probes, model lists, control calls. Bounded in size and in time."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx

from llama_runner.core.clock import Clock, SystemClock, seconds
from llama_runner.core.errors import ProtocolError, UnreachableError
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.net.errors import raise_for_status
from llama_runner.net.stream import open_answer

# D5: a list of a few thousand models fits; anything larger is not an answer.
MAX_REPLY_BYTES: Final = 2 * 1024 * 1024
# Safety 3.3: parsing more than this is not for the loop of a window. Hostile documents of the largest size
# take half a second.
INLINE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, whatever its status.

    Attributes:
        elapsed_s: From the first request byte to the last byte of the answer; no connecting in it.
    """

    url: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    elapsed_s: float = 0.0

    def json(self) -> JsonValue:
        """The body as JSON. Raises ProtocolError."""
        try:
            # `fetch` took no more than its caller allowed.
            return parse_json(self.body, max_bytes=len(self.body))
        except JsonRejected as error:
            raise ProtocolError(self.url, "it is not JSON, or not an acceptable one") from error

    async def document(self) -> JsonValue:
        """As `json`, without holding the event loop up. Raises ProtocolError."""
        return self.json() if len(self.body) <= INLINE_BYTES else await asyncio.to_thread(self.json)

    def raise_for_status(self) -> "Reply":
        """Itself when the status is 2xx; otherwise the error it means."""
        raise_for_status(self.status, self.headers, self.body, self.url)
        return self


async def fetch(
    http: httpx.AsyncClient,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout_s: float = 10.0,
    max_bytes: int = MAX_REPLY_BYTES,
    clock: Clock | None = None,
) -> Reply:
    """One request, its whole answer; any status is returned, also a redirect, which is never followed.

    Raises:
        UnreachableError: No connection, or no complete answer within `timeout_s`.
        ProtocolError: Not HTTP, compressed, or longer than `max_bytes`.
    """
    clock = clock or SystemClock()
    wire = _Wire(method, url, headers or {}, body)
    try:
        async with asyncio.timeout(timeout_s):
            return await _fetch(http, wire, max_bytes, clock)
    except TimeoutError as error:
        raise UnreachableError(
            f"{url} gave no complete answer within {timeout_s:g} s.", "Check that the server is not stuck."
        ) from error


@dataclass(frozen=True, slots=True)
class _Wire:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


async def _fetch(http: httpx.AsyncClient, wire: _Wire, max_bytes: int, clock: Clock) -> Reply:
    async with open_answer(http, wire, clock) as answer:
        if answer.is_success:
            await answer.refuse_unless_plain()
        content = await answer.read_at_most(max_bytes)
    if content is None:
        raise ProtocolError(wire.url, f"its answer is longer than {max_bytes} bytes")
    elapsed_s = seconds(clock.now_ns(), answer.t_send_ns)
    return Reply(wire.url, answer.status, answer.headers, content, elapsed_s)
