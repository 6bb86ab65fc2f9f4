"""From raw reads to events: the one loop that all backends stream through."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

import httpx

from llama_runner.backends.base import StreamDecoder, WireRequest
from llama_runner.backends.events import Finished, RequestSent, Started, StreamEvent
from llama_runner.core.clock import Clock
from llama_runner.core.errors import ProtocolError
from llama_runner.net.stream import Headers, RawEvent, Read, Sent, stream_raw

# S17: a login page or a proxy's notice; never shown as an answer.
_WEB_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})

# Some 350 of the smallest events, decoded in a few milliseconds; a read of a flood holds 16 times as much.
SLICE_BYTES: Final = 16 * 1024


async def stream_events(
    http: httpx.AsyncClient, wire: WireRequest, decoder: StreamDecoder, clock: Clock
) -> AsyncGenerator[StreamEvent, None]:
    """RequestSent, Started, then what the decoder makes of the body; the last event is Finished.

    Raises:
        ServerError: Of the transport, the status, or the stream itself, after the events before it.
    """
    async with aclosing(stream_raw(http, wire, clock)) as raw:
        async for item in raw:
            for part in _parts(item):
                for event in _events(part, wire, decoder):
                    yield event
                    if isinstance(event, Finished):
                        return
                if decoder.failure is not None:
                    raise decoder.failure
                if part is not item:
                    # S10: a view on the same loop has its turn in the middle of a flood.
                    await asyncio.sleep(0)
    for event in decoder.close(clock.now_ns()):
        yield event
    if decoder.failure is not None:
        raise decoder.failure


def _parts(item: RawEvent) -> Iterator[RawEvent]:
    """A large read in pieces, with the one stamp of all its bytes; anything else as it is."""
    if not isinstance(item, Read) or len(item.data) <= SLICE_BYTES:
        yield item
        return
    for start in range(0, len(item.data), SLICE_BYTES):
        yield Read(item.t_ns, item.data[start : start + SLICE_BYTES])


def _events(item: RawEvent, wire: WireRequest, decoder: StreamDecoder) -> list[StreamEvent]:
    match item:
        case Sent(t_ns):
            return [RequestSent(t_ns, wire.not_sent)]
        case Headers(t_ns):
            if item.content_type in _WEB_PAGES:
                raise ProtocolError(wire.url, "it sent a web page")
            return [Started(t_ns)]
        case Read(t_ns, data):
            return decoder.feed(t_ns, data)
