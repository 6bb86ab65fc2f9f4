"""One request from a client to an engine and its answer back. Closing either end closes the other (H23)."""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from llama_runner.core.clock import seconds
from llama_runner.core.errors import InternalError, LlamaRunnerError
from llama_runner.proxy.asking import hops_of
from llama_runner.proxy.calls import Call, Relays
from llama_runner.proxy.direct import direct_body
from llama_runner.proxy.forward import forward
from llama_runner.proxy.out import Out
from llama_runner.proxy.strangers import told

log = logging.getLogger(__name__)

# A load that takes longer than this is not held back without a word: some clients give up after five minutes.
COMMIT_AFTER_S: Final = 60.0


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
        self._record.hops = hops_of(scope)
        out = Out(send, direct_body(scope), self._call, self._record, self._since)
        try:
            left = await _unless_client_leaves(receive, self._answer(out, scope))
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

    async def _answer(self, out: Out, scope: Scope) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                with _kept_open(group, out):
                    await forward(self._shared, self._call, self._record, out, self._keep_s)
        except* LlamaRunnerError as errors:
            await out.fail(told(_first(errors), scope, self._call.model.id))
        except* Exception as errors:
            # The edge of a request: the client gets a number, the log the rest (I25).
            failure = InternalError()
            log.error("relay failed model=%s number=%s", self._call.model.id, failure.number, exc_info=errors)
            await out.fail(failure)


@contextmanager
def _kept_open(group: asyncio.TaskGroup, out: Out) -> Iterator[None]:
    """Pings from `COMMIT_AFTER_S` on; a task for them only then, which most answers never need."""
    pinging: list[asyncio.Task[None]] = []
    later = asyncio.get_running_loop().call_later(
        COMMIT_AFTER_S, lambda: pinging.append(group.create_task(out.keep_open(), name="keep open"))
    )
    try:
        yield
    finally:
        later.cancel()
        for task in pinging:
            task.cancel()


def _first(errors: BaseExceptionGroup[Any]) -> LlamaRunnerError:
    found = errors.exceptions[0]
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, LlamaRunnerError)
    return found


class _ClientLeftError(Exception):
    """Ends what nobody waits for any more."""


async def _unless_client_leaves(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` until it ends or the client is gone, whichever is first. True when the client left."""
    left = False
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(receive), name="watch client")
            await work
            watching.cancel()
    except* _ClientLeftError:
        left = True
    return left


async def _watch(receive: Receive) -> None:
    await client_gone(receive)
    raise _ClientLeftError


async def client_gone(receive: Receive) -> None:
    """Return when the client has left. Call it when the request's body is read."""
    while (await receive())["type"] != "http.disconnect":
        continue
