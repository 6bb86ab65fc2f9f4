"""One request from a client to an engine and its answer back. Closing either end closes the other (H23).

Before the first byte every error has its HTTP status; after it, the answer ends with an error in its dialect.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from starlette.types import Message, Receive, Scope, Send

from llama_runner import __version__
from llama_runner.core.clock import seconds
from llama_runner.core.errors import LlamaRunnerError, ServerError
from llama_runner.core.jsonio import dump_json
from llama_runner.net.errors import raise_for_status
from llama_runner.proxy.answers import sse_headers
from llama_runner.proxy.calls import Call, Relays
from llama_runner.proxy.forward import forward
from llama_runner.proxy.records import RequestRecord

log = logging.getLogger(__name__)

# A load that takes longer than this is not held back without a word: some clients give up after five minutes.
COMMIT_AFTER_S: Final = 60.0
PING_EVERY_S: Final = 15.0
# H24: a client that takes nothing for this long has left without saying so.
SEND_LIMIT_S: Final = 60.0


class Relay:
    """An ASGI response that forwards one call.

    Args:
        keep_s: How long the model stays in memory without work afterwards; None for the default.
    """

    def __init__(self, shared: Relays, call: Call, client_path: str, *, keep_s: float | None = None) -> None:
        self._shared = shared
        self._keep_s = keep_s
        self._call = call
        self._client_path = client_path
        self._began_ns = shared.clock.now_ns()
        self._record = shared.requests.begin(
            client_path, call.model.id, shared.clock.utc(), streamed=call.streamed
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the client leaves before the end."""
        out = _Out(send, self._call, self._record, self._since)
        try:
            left = await _unless_client_leaves(receive, self._answer(out))
            # Gone after the last byte is gone when all is done.
            if left and self._record.outcome == "running":
                self._record.outcome = "client left"
        finally:
            record = self._record
            record.total_s = self._since()
            log.info(
                "proxied path=%s model=%s status=%s outcome=%s queue_s=%.3f load_s=%.3f first_byte_s=%.3f"
                " total_s=%.3f",
                self._client_path,
                self._call.model.id,
                record.status,
                record.outcome,
                record.queue_s or 0.0,
                record.load_s or 0.0,
                record.first_byte_s or 0.0,
                record.total_s,
            )

    def _since(self) -> float:
        return seconds(self._shared.clock.now_ns(), self._began_ns)

    async def _answer(self, out: "_Out") -> None:
        try:
            async with asyncio.TaskGroup() as group:
                pinging = group.create_task(out.keep_open(), name="keep open")
                await forward(self._shared, self._call, self._record, out, self._keep_s)
                pinging.cancel()
        except* LlamaRunnerError as errors:
            await out.fail(_first(errors))
        except* _ClientStuck:
            log.info("client takes nothing, dropped model=%s", self._call.model.id)
            self._record.outcome = "client left"
        except* Exception as errors:
            # The edge of a request: the client gets a number, the log the rest (I25).
            number = secrets.token_hex(4)
            log.error("relay failed model=%s number=%s", self._call.model.id, number, exc_info=errors)
            await out.fail(
                LlamaRunnerError(f"Something went wrong here (number {number}).", "See the service's log.")
            )


class _ClientStuck(Exception):
    """The client takes nothing any more (H24)."""


class _Out:
    """The client's side of one answer: knows whether it has begun."""

    def __init__(self, send: Send, call: Call, record: RequestRecord, since: Callable[[], float]) -> None:
        self._send = send
        self._call = call
        self._record = record
        self._since = since
        self._started = False
        self._ended = False
        self.writer = call.writer(record)

    async def write(self, data: bytes) -> None:
        """A piece of the body; the head goes before the first."""
        await self._begin()
        if self._record.first_byte_s is None:
            self._record.first_byte_s = self._since()
        self._record.bytes_sent += len(data)
        await self._give({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        """The answer is complete."""
        await self._begin()
        self._record.outcome = "done"
        await self._close()

    async def refuse(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """The engine's own error; where the answer has begun, as its end in the dialect."""
        if self._started:
            raise_for_status(status, headers, body, self._call.model.id)
        status, body = self._call.error_body(status, body)
        self._record.outcome = "refused"
        kept = {name: value for name, value in headers.items() if name.lower() == "retry-after"}
        await self._whole(status, body, kept)

    async def fail(self, error: LlamaRunnerError) -> None:
        """An error of ours, or of the way to the engine."""
        self._record.outcome, self._record.error = "failed", error.kind
        if not self._started:
            status, document = self._call.error_answer(error)
            retry_s = getattr(error, "retry_after_s", None)
            await self._whole(
                status, dump_json(document), {} if retry_s is None else {"Retry-After": f"{retry_s:.0f}"}
            )
        elif not self._ended:
            log.warning("answer broke off model=%s reason=%s", self._call.model.id, error.kind)
            if last := self.writer.broken(error):
                await self._give({"type": "http.response.body", "body": last, "more_body": True})
            if self._call.streamed:
                await self._close()
            else:
                # Without the closing chunk the client sees that the document is not whole.
                raise ServerError("An answer broke off.", "Ask again.") from error

    async def keep_open(self) -> None:
        """While a streamed answer does not begin for long, begin it with something harmless."""
        if not self._call.streamed:
            return
        await asyncio.sleep(COMMIT_AFTER_S)
        while not self._ended and self._record.first_byte_s is None:
            await self._begin()
            if ping := self.writer.ping():
                await self._give({"type": "http.response.body", "body": ping, "more_body": True})
            await asyncio.sleep(PING_EVERY_S)

    async def _begin(self) -> None:
        if not self._started:
            await self._head(200, self.writer.content_type, sse_headers(self._call.streamed))

    async def _whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        await self._head(status, "application/json", {"Content-Length": str(len(body)), **headers})
        self._record.bytes_sent += len(body)
        self._ended = True
        await self._give({"type": "http.response.body", "body": body, "more_body": False})

    async def _head(self, status: int, content_type: str, more: Mapping[str, str]) -> None:
        self._started = True
        self._record.status = status
        headers = {
            "Content-Type": content_type,
            "X-Llama-Runner": f"{__version__}; model={self._call.model.id}; step=local",
            "Server-Timing": self._record.server_timing(),
            **more,
        }
        raw = [
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in headers.items()
        ]
        await self._give({"type": "http.response.start", "status": status, "headers": raw})

    async def _close(self) -> None:
        self._ended = True
        await self._give({"type": "http.response.body", "body": b"", "more_body": False})

    async def _give(self, message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_LIMIT_S):
                await self._send(message)
        except TimeoutError as error:
            raise _ClientStuck from error


def _first(errors: BaseExceptionGroup[Any]) -> LlamaRunnerError:
    found = errors.exceptions[0]
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, LlamaRunnerError)
    return found


async def _unless_client_leaves(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` until it ends or the client is gone, whichever is first. True when the client left."""
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work, name="relay")
        watching = group.create_task(client_gone(receive), name="watch client")
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        left = not working.done()
        working.cancel()
        watching.cancel()
    return left


async def client_gone(receive: Receive) -> None:
    """Return when the client has left. Call it when the request's body is read."""
    while (await receive())["type"] != "http.disconnect":
        continue
