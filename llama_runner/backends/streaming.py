"""From raw reads to events: the one loop that all backends stream through."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import httpx

from llama_runner.backends.base import StreamDecoder, WireRequest
from llama_runner.backends.events import Finished, RequestSent, Started, StreamEvent
from llama_runner.core.clock import Clock
from llama_runner.core.errors import ProtocolError
from llama_runner.net.stream import open_answer

# S17: a login page or a proxy's notice; never shown as an answer.
_WEB_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})

# Some 350 of the smallest events, decoded in a few milliseconds; a read of a flood holds 16 times as much.
SLICE_BYTES: Final = 16 * 1024


async def stream_events(
    http: httpx.AsyncClient, wire: WireRequest, decoder: StreamDecoder, clock: Clock
) -> AsyncGenerator[StreamEvent, None]:
    """RequestSent, Started, then what the decoder makes of the body; the last event is Finished.

    RequestSent comes together with the headers, as only then it is sure that something was sent.

    Raises:
        ServerError: Of the transport, the status, or the stream itself, after the events before it.
    """
    async with open_answer(http, wire, clock) as answer:
        yield RequestSent(answer.t_send_ns, wire.not_sent)
        await answer.refuse_unless_plain()
        if answer.content_type in _WEB_PAGES:
            raise ProtocolError(wire.url, "it sent a web page")
        yield Started(answer.t_headers_ns)
        while data := await answer.read():
            t_ns = clock.now_ns()
            for part in _parts(data):
                for event in decoder.feed(t_ns, part):
                    yield event
                    if isinstance(event, Finished):
                        return
                if decoder.failure is not None:
                    raise decoder.failure
                if part is not data:
                    # S10: a view on the same loop has its turn in the middle of a flood.
                    await asyncio.sleep(0)
        for event in decoder.close(clock.now_ns()):
            yield event
        if decoder.failure is not None:
            raise decoder.failure


def _parts(data: bytes) -> Sequence[bytes]:
    """A large read in pieces, which all have its one stamp; any other as it is."""
    if len(data) <= SLICE_BYTES:
        return (data,)
    return [data[start : start + SLICE_BYTES] for start in range(0, len(data), SLICE_BYTES)]
