"""One connection to a listener: uvicorn's protocol, read strictly, with an end to everything (R2)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from llama_runner.net.answering import own_headers
from llama_runner.net.strict import StrictConnection
from llama_runner.service.direct import offer_direct_body
from llama_runner.service.guests import Guests, Phase

_HTTP: Final = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may take for what it does (safety R2), in seconds.

    Attributes:
        head_s: From the first byte of a request, or from connecting, to the end of its head.
        body_s: From there to the end of the body: 32 MiB at 1 MiB a second.
        stuck_s: Without taking any of what it is sent (H24).
    """

    head_s: float = 5.0
    body_s: float = 30.0
    stuck_s: float = 60.0


PATIENCE: Final = Patience()


class BoundedRequests(H11Protocol):
    """HTTP of one client, with an end to everything it can keep us waiting for.

    Args:
        guests: All connections of the listener.
    """

    def __init__(self, *, guests: Guests, patience: Patience, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.conn: StrictConnection = StrictConnection()
        self.address = "unknown"
        self._guests = guests
        self._patience = patience
        self._phase = Phase.HEAD
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    # --- what uvicorn tells --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection is the beginning of a request."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else "unknown"
        self._wait_for_head()
        if not self._guests.come(self):
            self.turn_away()

    def data_received(self, data: bytes) -> None:
        """More of a request, the last of it perhaps."""
        super().data_received(data)
        self._follow()

    def handle_events(self) -> None:
        """A request's head among them, perhaps: its answer may go the short way."""
        super().handle_events()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None:
            offer_direct_body(cycle)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Another protocol has the connection now, with limits of its own."""
        if event.http_version != b"1.1":
            # uvicorn would pass it on as HTTP/1.1 (W7).
            self.send_400_response("Only HTTP/1.1 is spoken here.")
            return
        self._forget()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Another request may have arrived meanwhile."""
        super().on_response_complete()
        self._follow()

    def timeout_keep_alive_handler(self) -> None:
        """Idle for too long."""
        super().timeout_keep_alive_handler()
        self._follow()

    def shutdown(self) -> None:
        """The listener closes."""
        super().shutdown()
        self._follow()

    def pause_writing(self) -> None:
        """The client reads slower than it is sent to, or not at all."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self._patience.stuck_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It does read."""
        super().resume_writing()
        self._let_read()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        self._forget()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP, or too much of it."""
        self._refuse(self.conn.refused_with, msg)

    # --- what we make of it --------------------------------------------------------------------------------

    def turn_away(self) -> None:
        """Cut the connection off: others need the room."""
        self._forget()
        self.transport.abort()

    def _follow(self) -> None:
        """Be in the phase that the connection is in now, with the time that it has for it."""
        now, was = self._phase_now(), self._phase
        if now is was:
            return
        self._guests.change(self, was, now)
        self._phase = now
        self._stop_clock()
        if now is Phase.HEAD:
            self._wait_for_head()
        elif now is Phase.BODY:
            self._wait(self._patience.body_s, self._too_late)
        elif now is Phase.CLOSING:
            self._wait(self._patience.stuck_s, self.transport.abort)

    def _phase_now(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        # None before the first request, whatever uvicorn's annotation says.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            return Phase.BODY if cycle.more_body else Phase.ANSWERING
        if self.conn.their_state is h11.SEND_BODY:
            # Answered before it was whole; the rest is thrown away.
            return Phase.BODY
        return Phase.HEAD if cycle is None or self.conn.trailing_data[0] else Phase.IDLE

    def _wait_for_head(self) -> None:
        self._wait(self._patience.head_s, self._too_late)

    def _wait(self, limit_s: float, then: Callable[[], None]) -> None:
        self._deadline = self.loop.call_later(limit_s, then)

    def _too_late(self) -> None:
        began = self._phase is Phase.BODY or bool(self.conn.trailing_data[0])
        if began:
            self._refuse(408, "The request did not arrive in time.")
        else:
            # Connected ahead of need, as browsers do: nothing was asked, nothing is answered.
            self.transport.close()
        self._follow()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer outside of any dialect, if nothing was answered yet, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = reason.encode("ascii", "replace")
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *own_headers(),
            ]
            head = b"".join(b"%s: %s\r\n" % header for header in headers)
            self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, _HTTP[status], head, body))
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _forget(self) -> None:
        self._guests.go(self)
        self._stop_clock()
        self._let_read()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _let_read(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
