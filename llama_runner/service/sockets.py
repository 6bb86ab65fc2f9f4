"""One WebSocket connection: uvicorn's, but a client that does not read is dropped, whatever it sends (W6)."""

import logging
from typing import Any, Final

import wsproto.events
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

log = logging.getLogger(__name__)

# Of answers to pings that nobody reads: thousands of them.
MAX_UNREAD_BYTES: Final = 256 * 1024


class LiveSocket(WSProtocol):
    """A WebSocket with an end to everything it can keep us waiting for."""

    def __init__(self, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        # uvicorn tells of every connection, and of all that a client sends.
        self.logger = _Quiet(self.logger.name)

    def handle_ping(self, event: wsproto.events.Ping) -> None:
        """Answer, unless the answers are not read."""
        if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            log.info("web socket dropped reason=answers to pings are not read")
            self.transport.abort()
        else:
            super().handle_ping(event)

    def keepalive_timeout(self) -> None:
        """The client has missed its pings: what it was to be sent goes with it."""
        super().keepalive_timeout()
        log.info("web socket dropped reason=pings are not answered")
        self.transport.abort()


class _Quiet(logging.Logger):
    """Says what went wrong, through the logger of that name, and nothing else."""

    def isEnabledFor(self, level: int) -> bool:
        return level >= logging.ERROR and logging.getLogger(self.name).isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        logging.getLogger(self.name).handle(record)
