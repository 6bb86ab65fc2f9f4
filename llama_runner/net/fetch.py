"""Small whole answers: probes, model lists, control calls. Bounded in size and in time."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import httpx

from llama_runner.core.clock import Clock, SystemClock, seconds
from llama_runner.core.errors import ProtocolError, UnreachableError
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.net.client import SendStamp, current_stamp
from llama_runner.net.errors import raise_for_status, translate_errors
from llama_runner.net.stream import read_at_most, refuse_unless_plain

# D5: a list of a few thousand models fits; anything larger is not an answer.
MAX_REPLY_BYTES: Final = 2 * 1024 * 1024


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
            return parse_json(self.body, max_bytes=MAX_REPLY_BYTES)
        except JsonRejected as error:
            raise ProtocolError(self.url, "it is not JSON, or not an acceptable one") from error

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
    try:
        async with asyncio.timeout(timeout_s):
            return await _fetch(http, url, method, headers or {}, body, max_bytes, clock)
    except TimeoutError as error:
        raise UnreachableError(
            f"{url} gave no complete answer within {timeout_s:g} s.", "Check that the server is not stuck."
        ) from error


async def _fetch(
    http: httpx.AsyncClient,
    url: str,
    method: str,
    headers: Mapping[str, str],
    body: bytes,
    max_bytes: int,
    clock: Clock,
) -> Reply:
    stamp = SendStamp(clock.now_ns)
    token = current_stamp.set(stamp)
    began_ns = clock.now_ns()
    try:
        with translate_errors(url):
            request = http.build_request(method, url, headers=dict(headers), content=body)
            response = await http.send(request, stream=True)
    finally:
        current_stamp.reset(token)
    async with aclosing(response):
        if response.is_success:
            await refuse_unless_plain(response, url)
        with translate_errors(url, answering=True):
            content = await read_at_most(response, max_bytes)
    if content is None:
        raise ProtocolError(url, f"its answer is longer than {max_bytes} bytes")
    sent_ns = stamp.t_ns if stamp.t_ns is not None else began_ns
    return Reply(url, response.status_code, response.headers, content, seconds(clock.now_ns(), sent_ns))
