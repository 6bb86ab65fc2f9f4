"""What the control API and the composition tell each other: who owns the service, and that it is to end."""

import asyncio
import logging
from typing import Final

from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import ServiceError
from llama_runner.proxy.records import RequestLog
from llama_runner.service.addresses import NOT_WANTED

log = logging.getLogger(__name__)

# A notice is for a person; a service that collects more than this has a loop somewhere.
MAX_NOTICES: Final = 20


class ServiceState:
    """Belongs to the service's event loop.

    Args:
        owned: The service ends with the program that started it.
        keep: An owned service stays when its owner goes.
        demo: The demo engine and model are offered.

    Attributes:
        stop_requested: Set once: no new work from here on.
        hurried: Set when whoever asked does not want to wait any longer.
        openai: What became of that dialect of the proxy.
        ollama: The same for this one.
        requests: What went through the proxy.
    """

    def __init__(self, *, owned: bool, keep: bool, demo: bool, clock: Clock) -> None:
        self.owned = owned
        self.keep = keep
        self.demo = demo
        self.stop_requested = asyncio.Event()
        self.hurried = asyncio.Event()
        self.openai = NOT_WANTED
        self.ollama = NOT_WANTED
        self.requests = RequestLog()
        self._notices: list[str] = []
        self._clients = 0
        self._orphaned = False
        self._clock = clock
        self._started_ns = clock.now_ns()

    @property
    def closing(self) -> bool:
        """Whether new work is refused."""
        return self.stop_requested.is_set()

    def refuse_when_closing(self) -> None:
        """Raises ServiceError when no new work is taken any more."""
        if self.closing:
            raise ServiceError("The service is ending and loads nothing any more.", "Start it again.")

    @property
    def uptime_s(self) -> float:
        """Seconds since the service was composed."""
        return seconds(self._clock.now_ns(), self._started_ns)

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should see, oldest first."""
        return tuple(self._notices)

    def notice(self, text: str) -> None:
        """Remember a sentence for the person."""
        log.warning("notice text=%s", text)
        if text not in self._notices and len(self._notices) < MAX_NOTICES:
            self._notices.append(text)

    def withdraw(self, text: str) -> None:
        """A notice is out of date."""
        if text in self._notices:
            self._notices.remove(text)

    def request_stop(self, reason: str) -> None:
        """End the service; asked twice, without patience."""
        log.info("stop requested reason=%s again=%s", reason, self.closing)
        if self.closing:
            self.hurried.set()
        self.stop_requested.set()

    def client_came(self) -> None:
        """Another program than the owner relies on the service."""
        self._clients += 1

    def client_went(self) -> None:
        """It does no longer; after the last one an ownerless service ends."""
        self._clients -= 1
        if self._orphaned and not self._clients and not self.keep and not self.closing:
            self.request_stop("last client gone")

    def owner_gone(self) -> None:
        """The program that started the service has ended or let go of it."""
        if self.keep:
            log.info("owner gone, service kept")
            self.owned = False
        elif self._clients:
            log.info("owner gone, service stays for others clients=%d", self._clients)
            self._orphaned = True
        elif not self.closing:
            self.request_stop("owner gone")
