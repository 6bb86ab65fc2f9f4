"""One call to an engine: its turn, the model made ready, the question, the bytes of the answer."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from llama_runner.core.clock import seconds
from llama_runner.core.errors import UnreachableError
from llama_runner.net.pour import open_pouring
from llama_runner.proxy.calls import Call, Relays
from llama_runner.proxy.host import Upstream
from llama_runner.proxy.out import Out
from llama_runner.proxy.records import RequestRecord

log = logging.getLogger(__name__)

# How long an engine that died may take to be noticed and replaced, and between two looks.
RETRY_FOR_S: Final = 10.0
CHANGE_LIMIT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Wire:
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"


async def forward(shared: Relays, call: Call, record: RequestRecord, out: Out, keep_s: float | None) -> None:
    """Ask in its turn; again while nothing went out and the engine is being replaced.

    Args:
        keep_s: How long the model stays in memory without work afterwards; None for the default.
    """
    async with shared.admission.admitted(call.model.id) as waited_s:
        record.queue_s = waited_s
        began_ns = shared.clock.now_ns()
        while True:
            try:
                await _ask(shared, call, record, out, keep_s)
            except UnreachableError as error:
                # An engine that just died: nothing went out, its successor may have it.
                if not error.never_sent or seconds(shared.clock.now_ns(), began_ns) > RETRY_FOR_S:
                    raise
                log.info("engine is gone, asking again model=%s", call.model.id)
                await shared.host.changed(CHANGE_LIMIT_S)
            else:
                return


async def _ask(shared: Relays, call: Call, record: RequestRecord, out: Out, keep_s: float | None) -> None:
    async with shared.host.use(call.model.id) as upstream:
        record.load_s = (record.load_s or 0.0) + upstream.load_s
        shared.host.keep(call.model.id, keep_s)
        asked_ns = shared.clock.now_ns()
        wire = _Wire(upstream.base_url + call.path, _headers(upstream, call), call.body)
        async with open_pouring(shared.http, wire, shared.clock) as answer:
            record.upstream_s = seconds(answer.t_headers_ns, asked_ns)
            if 200 <= answer.status < 300:
                await answer.pour(out.take, out.drained)
                await out.finish()
            else:
                await out.refuse(answer.status, await answer.error_body(), answer.headers)


def _headers(upstream: Upstream, call: Call) -> dict[str, str]:
    accept = "text/event-stream" if call.streamed else "application/json"
    return {
        "Content-Type": "application/json",
        "Accept": accept,
        "Authorization": f"Bearer {upstream.api_key}",
    }
