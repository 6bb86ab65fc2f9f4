"""One connection to a listener: requests read strictly, answers by uvicorn, an end to everything (R2)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import unquote

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from llama_runner.net.answering import own_headers
from llama_runner.net.strict import Head, RequestReader, RequestRefusedError
from llama_runner.service.direct import Paired, offer_direct_body
from llama_runner.service.guests import Guests, Phase

_HTTP: Final = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may take for what it does (safety R2), in seconds.

    Attributes:
        head_s: From the first byte of a request, or from connecting, to the end of its head.
        body_s: From there to the end of the body: 32 MiB at 1 MiB a second.
        idle_s: Between two requests.
        stuck_s: Without taking any of what it is sent (H24).
    """

    head_s: float = 5.0
    body_s: float = 30.0
    idle_s: float = 15.0
    stuck_s: float = 60.0


PATIENCE: Final = Patience()


class BoundedRequests(HttpToolsProtocol):
    """HTTP of one client, with an end to everything it can keep us waiting for.

    uvicorn's part are answers, what is sent of them and when; requests are read here.

    Args:
        guests: All connections of the listener.
    """

    def __init__(self, *, guests: Guests, patience: Patience, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.address = "unknown"
        self._reader = RequestReader()
        self._guests = guests
        self._patience = patience
        self._forgotten = False
        self._phase = Phase.HEAD
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    # --- what the loop and uvicorn tell --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection is the beginning of a request."""
        super().connection_made(transport)
        self._out = Paired(transport, self.loop)
        self.address = self.client[0] if self.client else "unknown"
        self._wait_for_head()
        if not self._guests.come(self):
            self.turn_away()

    def data_received(self, data: bytes) -> None:
        """More of a request, the last of it perhaps."""
        self._reader.feed(data)
        self._read()
        self._follow()

    def on_response_complete(self) -> None:
        """Another request may have arrived meanwhile."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
        self._read()
        self._follow()

    def shutdown(self) -> None:
        """The listener closes."""
        self._out.flush()
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

    # --- what we make of it --------------------------------------------------------------------------------

    def _read(self) -> None:
        """Take what came: bodies at once, a head when the request before it is answered."""
        reader = self._reader
        try:
            # What comes behind a request for a WebSocket before it is granted is nobody's.
            while reader.n_unread and not (self._forgotten or self.transport.is_closing()):
                if reader.in_body:
                    self._take_body(reader.next_body())
                elif self._answering() is not None:
                    # Its turn comes; a client that sends on and on is not listened to meanwhile.
                    self.flow.pause_reading()
                    return
                elif (head := reader.next_head()) is not None:
                    self._begin(head)
                else:
                    return
        except RequestRefusedError as error:
            self._refuse(error.status, "Invalid HTTP request received.")

    def _begin(self, head: Head) -> None:
        """Have a request answered, or the connection become a WebSocket."""
        path, _, query = head.target.partition(b"?")
        self.url, self.headers = head.target, head.headers
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": head.version,
            "server": self.server,
            "client": self.client,
            "scheme": "http",
            "method": head.method,
            "root_path": "",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "headers": head.headers,
            "state": {},
        }
        if self._should_upgrade():
            self._become_a_websocket(head)
            return
        cycle = self.cycle = RequestResponseCycle(
            scope=self.scope,
            # All that an answer calls of a transport.
            transport=cast(asyncio.Transport, self._out),
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=head.value(b"expect").lower() == b"100-continue",
            keep_alive=head.version == "1.1" and head.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.more_body = self._reader.in_body
        if not cycle.more_body:
            cycle.message_event.set()
        offer_direct_body(cycle, self._out)
        self._start_asgi_task(cycle, self.app)

    def _take_body(self, data: bytes) -> None:
        cycle, is_whole = self.cycle, not self._reader.in_body
        if self._reader.overrun:
            cycle.keep_alive = False
        if cycle.response_complete:
            # Answered before it was whole: the rest is thrown away.
            return
        cycle.body += data
        cycle.more_body = not is_whole
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def _become_a_websocket(self, head: Head) -> None:
        """Another protocol has the connection now, with limits of its own."""
        if head.version != "1.1":
            # uvicorn would pass it on as HTTP/1.1 (W7).
            self._refuse(400, "Only HTTP/1.1 is spoken here.")
            return
        self._forget()
        self.handle_websocket_upgrade()

    def _last(self) -> RequestResponseCycle | None:
        """The newest answer; None before the first request, whatever uvicorn's annotation says."""
        return self.cycle

    def _answering(self) -> RequestResponseCycle | None:
        """The answer that is not complete."""
        cycle = self._last()
        return None if cycle is None or cycle.response_complete else cycle

    def turn_away(self) -> None:
        """Cut the connection off: others need the room."""
        self._forget()
        self.transport.abort()

    def _follow(self) -> None:
        """Be in the phase that the connection is in now, with the time that it has for it."""
        now, was = self._phase_now(), self._phase
        if now is was or self._forgotten:
            return
        self._guests.change(self, was, now)
        self._phase = now
        self._stop_clock()
        if now is Phase.HEAD:
            self._wait_for_head()
        elif now is Phase.BODY:
            self._wait(self._patience.body_s, self._too_late)
        elif now is Phase.IDLE:
            self._wait(self._patience.idle_s, self._too_late)
        elif now is Phase.CLOSING:
            self._wait(self._patience.stuck_s, self.transport.abort)

    def _phase_now(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        if self._reader.in_body:
            return Phase.BODY
        if self._answering() is not None:
            return Phase.ANSWERING
        return Phase.HEAD if self._last() is None or self._reader.n_unread else Phase.IDLE

    def _wait_for_head(self) -> None:
        self._wait(self._patience.head_s, self._too_late)

    def _wait(self, limit_s: float, then: Callable[[], None]) -> None:
        self._deadline = self.loop.call_later(limit_s, then)

    def _too_late(self) -> None:
        began = self._phase is Phase.BODY or self._reader.n_unread > 0
        if began:
            self._refuse(408, "The request did not arrive in time.")
        else:
            # Idle, or connected ahead of need, as browsers do: nothing was asked, nothing is answered.
            self.transport.close()
        self._follow()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer outside of any dialect, if nothing was answered yet, and close."""
        cycle = self._answering()
        # The rest of a body that was answered early: a second answer would be taken for the next request's.
        is_answered = cycle is None and self._phase is Phase.BODY
        if not is_answered and (cycle is None or not cycle.response_started):
            body = reason.encode("ascii", "replace")
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *own_headers(),
            ]
            head = b"".join(b"%s: %s\r\n" % header for header in headers)
            self._out.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, _HTTP[status], head, body))
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self._out.close()

    def _forget(self) -> None:
        self._forgotten = True
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
