"""The WebSockets of the control API: what changes, as it changes, and figures of the machine.

Nothing is queued for a reader: when it is ready for more it gets the newest state of what changed, so a slow
one misses steps and never falls behind (W6). Readers ask nothing here (W5).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from llama_runner.control.events import (
    ErrorEvent,
    Event,
    HealthEvent,
    InstanceMetrics,
    InstancesEvent,
    Metrics,
    MetricsEvent,
    RequestsEvent,
    SettingsEvent,
)
from llama_runner.control.settings import SettingsState
from llama_runner.control.values import API_PREFIX, Health, ProxiedRequest, adapter_of
from llama_runner.core.settings import AppConfig
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.gate import HeaderMap
from llama_runner.runtime.states import InstanceSnapshot
from llama_runner.service.state import ServiceState
from llama_runner.service.views import instance_view, request_view

if TYPE_CHECKING:
    from llama_runner.telemetry.collector import TelemetryCollector

log = logging.getLogger(__name__)

# W6; a window and a few browser tabs are five.
MAX_SOCKETS: Final = 32
# How late a request, a notice or a settings file may be told; instances are told at once.
LOOK_EVERY_S: Final = 0.25
# W5: after so many messages a client is in the wrong place.
MAX_SAID: Final = 10
GOING_AWAY: Final = 1001
POLICY: Final = 1008
TRY_AGAIN_LATER: Final = 1013


class Instances(Protocol):
    """What is asked of the runtime manager."""

    @property
    def revision(self) -> int:
        """Counts every change of an instance."""
        ...

    def instances(self) -> tuple[InstanceSnapshot, ...]:
        """All instances."""
        ...

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """The revision, once it is beyond `after` or the time is over."""
        ...


@dataclass(slots=True)
class Reader:
    """What one reader was told last."""

    revision: int = -1
    health: Health | None = None
    config: AppConfig | None = None
    number: int = 0
    unfinished: dict[int, ProxiedRequest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSources:
    """Where the news comes from.

    Attributes:
        config: The settings now.
        settings: The same as they are told.
        follow: Looks whether the settings changed.
        session: Whether a browser's headers hold a session; asking counts as use.
    """

    manager: Instances
    state: ServiceState
    health: Callable[[], Health]
    config: Callable[[], AppConfig]
    settings: Callable[[], SettingsState]
    follow: Callable[[], Awaitable[None]]
    tasks: TaskOwner
    session: Callable[[HeaderMap], bool]


Tell = Callable[[WebSocket], Coroutine[Any, Any, None]]


class Live:
    """The open sockets of a service."""

    def __init__(self, sources: LiveSources) -> None:
        self._of = sources
        self._open = 0
        self._collector: TelemetryCollector | None = None
        self._metrics_readers = 0

    @property
    def messages(self) -> Mapping[str, tuple[str, Any]]:
        """For the API's document: path, purpose and messages of each socket."""
        return {
            "/events": ("What changes: instances, requests, notices, settings. All of it at first.", Event),
            "/metrics": ("A sample of this machine and of each instance, again and again.", Metrics),
        }

    def routes(self) -> tuple[WebSocketRoute, ...]:
        """Where they are."""
        return (
            WebSocketRoute(f"{API_PREFIX}/events", self._socket(self._tell_events)),
            WebSocketRoute(f"{API_PREFIX}/metrics", self._socket(self._tell_metrics)),
        )

    def _socket(self, tell: Tell) -> Tell:
        async def serve(socket: WebSocket) -> None:
            if self._open >= MAX_SOCKETS or self._of.state.closing:
                await socket.close(TRY_AGAIN_LATER)
                return
            self._open += 1
            try:
                await socket.accept()
                await self._serve(socket, tell)
            finally:
                self._open -= 1

        return serve

    async def _serve(self, socket: WebSocket, tell: Tell) -> None:
        """Until the client goes, talks too much, its session ends, or the service."""
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(tell(socket))
                listening = group.create_task(_listen(socket))
                admitted = group.create_task(self._admitted(socket))
                of_all = (telling, listening, admitted)
                await asyncio.wait(of_all, return_when=asyncio.FIRST_COMPLETED)
                for task in of_all:
                    task.cancel()
        except* WebSocketDisconnect:
            log.debug("web socket closed by its client")

    async def _admitted(self, socket: WebSocket) -> None:
        """As long as the session lasts that it came with; without one it came with the token."""
        cookies = {"cookie": socket.headers.getlist("cookie")}
        if not self._of.session(cookies):
            await asyncio.Event().wait()
        while True:
            if not self._of.session(cookies):
                return await socket.close(POLICY)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _tell_events(self, socket: WebSocket) -> None:
        reader = Reader()
        while not self._of.state.closing:
            for event in self.news(reader):
                await _send(socket, event)
            await self._of.manager.wait_change(reader.revision, LOOK_EVERY_S)
            await self._of.follow()
        await socket.close(GOING_AWAY)

    def news(self, reader: Reader) -> Iterator[Event]:
        """What is new to a reader; it counts as told."""
        health = replace(self._of.health(), uptime_s=0.0)
        if health != reader.health:
            reader.health = health
            yield HealthEvent(self._of.health())
        config = self._of.config()
        if config != reader.config:
            reader.config = config
            yield SettingsEvent(self._of.settings())
        revision = self._of.manager.revision
        if revision != reader.revision:
            reader.revision = revision
            yield InstancesEvent(revision, tuple(map(instance_view, self._of.manager.instances())))
        yield from self._requests(reader)

    def _requests(self, reader: Reader) -> Iterator[RequestsEvent]:
        """Those that are new to a reader or went on since; finished ones are not looked at again."""
        views = [
            request_view(one)
            for one in self._of.state.requests.records
            if one.number > reader.number or one.number in reader.unfinished
        ]
        if fresh := tuple(view for view in views if view != reader.unfinished.get(view.number)):
            reader.number = max(reader.number, fresh[-1].number)
            yield RequestsEvent(fresh)
        reader.unfinished = {view.number: view for view in views if view.outcome == "running"}

    async def _tell_metrics(self, socket: WebSocket) -> None:
        collector, told = self._start_sampling(), 1  # the first sample has no rates yet
        try:
            while not self._of.state.closing:
                sample = collector.latest
                if sample is not None and collector.revision > told:
                    told = collector.revision
                    await _send(socket, MetricsEvent(_host(sample), self._instance_metrics()))
                # A thread that waits for the next sample, per reader, would take all there are.
                await asyncio.sleep(min(LOOK_EVERY_S, collector.interval_s / 2))
        finally:
            self._stop_sampling()
        await socket.close(GOING_AWAY)

    def _instance_metrics(self) -> tuple[InstanceMetrics, ...]:
        return tuple(
            InstanceMetrics(
                one.id,
                one.model_id,
                one.state.value,
                one.ram_bytes,
                one.vram_bytes,
                one.in_flight,
                one.idle_s,
            )
            for one in self._of.manager.instances()
        )

    def _start_sampling(self) -> "TelemetryCollector":
        """The one collector of all readers."""
        self._metrics_readers += 1
        if self._collector is None:
            # Only when somebody looks: its arrays cost as much memory as all the rest of an idle service.
            from llama_runner.telemetry.collector import TelemetryCollector

            interval_s = self._of.config().monitor.interval_s
            self._collector = TelemetryCollector(interval_s, history_s=2 * interval_s)
            self._collector.start()
        return self._collector

    def _stop_sampling(self) -> None:
        self._metrics_readers -= 1
        if self._metrics_readers == 0 and self._collector is not None:
            collector, self._collector = self._collector, None
            # It waits for a reading that may be under way.
            self._of.tasks.start(asyncio.to_thread(collector.close), name="close telemetry")


def _host(sample: Any) -> Mapping[str, Any]:
    from llama_runner.telemetry.sample import to_json

    return to_json(sample)


async def _listen(socket: WebSocket) -> None:
    """Until the client goes, or does not stop talking."""
    for _ in range(MAX_SAID):
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        error = ErrorEvent("Nothing can be asked here.", f"Requests go to {API_PREFIX} over HTTP.")
        await _send(socket, error)
    await socket.close(POLICY)


async def _send(socket: WebSocket, value: Event | Metrics) -> None:
    await socket.send_text(adapter_of(type(value)).dump_json(value).decode())
