"""The client's side of one answer: knows whether it has begun, and ends it in its dialect.

Before the first byte every error has its HTTP status; after it, the answer ends with an error in its dialect.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import Send

from llama_runner.core.errors import LlamaRunnerError, ServerError
from llama_runner.core.jsonio import dump_json
from llama_runner.net.errors import raise_for_status
from llama_runner.proxy.answers import AnswerWriter, sse_headers
from llama_runner.proxy.calls import Call
from llama_runner.proxy.direct import DirectBody
from llama_runner.proxy.records import RequestRecord

log = logging.getLogger(__name__)

PING_EVERY_S: Final = 15.0


class Out:
    """One answer.

    Args:
        direct: Takes pieces of the body once the answer has begun; None sends them like everything else.
        since: Seconds since the request arrived.
    """

    def __init__(
        self,
        send: Send,
        direct: DirectBody | None,
        call: Call,
        record: RequestRecord,
        since: Callable[[], float],
    ) -> None:
        self._send = send
        self._direct = direct
        self._call = call
        self._record = record
        self._since = since
        self._started = False
        self._head_sent = False
        self._ended = False
        self._waiting: list[bytes] = []
        self._writer = call.writer(record)

    @property
    def begun(self) -> bool:
        """Whether anything of an answer is out; the harmless bytes before it don't count."""
        return self._record.first_byte_s is not None

    def start_over(self, writer: AnswerWriter) -> None:
        """Another answer takes the place of one of which nothing went out."""
        self._writer = writer
        self._waiting.clear()

    def take(self, data: bytes) -> bool:
        """A piece of the engine's body; False: `drained` is to be awaited before more. Raises ServerError."""
        piece = self._writer.feed(data)
        if not piece:
            return True
        if self._head_sent and self._direct is not None and not self._waiting:
            self._count(piece)
            return self._direct.write(piece)
        self._waiting.append(piece)
        return False

    async def drained(self) -> None:
        """Until what was taken is on its way."""
        waiting, self._waiting = b"".join(self._waiting), []
        if waiting:
            await self._write(waiting)
        elif self._direct is not None:
            await self._direct.drained()

    async def finish(self) -> None:
        """The engine's body ended. Raises ServerError when it was not complete."""
        if rest := self._writer.end():
            await self._write(rest)
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
            if last := self._writer.broken(error):
                await self._send({"type": "http.response.body", "body": last, "more_body": True})
            if self._call.streamed:
                await self._close()
            else:
                # Without the closing chunk the client sees that the document is not whole.
                raise ServerError("An answer broke off.", "Ask again.") from error

    async def keep_open(self) -> None:
        """Begin a streamed answer that is long in coming with something harmless; until it comes."""
        if not self._call.streamed:
            return
        while not self._ended and self._record.first_byte_s is None:
            await self._begin()
            if ping := self._writer.ping():
                await self._send({"type": "http.response.body", "body": ping, "more_body": True})
            await asyncio.sleep(PING_EVERY_S)

    async def _write(self, data: bytes) -> None:
        """A piece of the body; the head goes before the first."""
        await self._begin()
        self._count(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    def _count(self, data: bytes) -> None:
        if self._record.first_byte_s is None:
            self._record.first_byte_s = self._since()
        self._record.bytes_sent += len(data)

    async def _begin(self) -> None:
        if not self._started:
            await self._head(200, self._writer.content_type, sse_headers(self._call.streamed))

    async def _whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        await self._head(status, "application/json", {"Content-Length": str(len(body)), **headers})
        self._record.bytes_sent += len(body)
        self._ended = True
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _head(self, status: int, content_type: str, more: Mapping[str, str]) -> None:
        self._started = True
        self._record.status = status
        headers = {
            "Content-Type": content_type,
            "X-Llama-Runner": self._record.answered_by(),
            "Server-Timing": self._record.server_timing(),
            **more,
        }
        raw = [
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in headers.items()
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        self._head_sent = True

    async def _close(self) -> None:
        self._ended = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
