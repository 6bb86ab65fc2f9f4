"""What is news to a reader of events, and what it is spared."""

import asyncio
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from llama_runner.control.events import Event
from llama_runner.control.settings import SettingsState
from llama_runner.control.values import Health
from llama_runner.core.clock import SystemClock
from llama_runner.core.settings import AppConfig
from llama_runner.core.tasks import TaskOwner
from llama_runner.runtime.states import InstanceSnapshot, InstanceState
from llama_runner.service.live import POLICY, Live, LiveSources, Reader
from llama_runner.service.state import ServiceState

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Models:
    revision = 1

    def instances(self) -> tuple[InstanceSnapshot, ...]:
        return (InstanceSnapshot("i1", "m", InstanceState.READY),)

    async def wait_change(self, after: int, timeout_s: float) -> int:
        # As the real one, it lets others have their turn.
        await asyncio.sleep(0.001)
        return self.revision


class World:
    """A service in which a test changes what it likes."""

    def __init__(self) -> None:
        self.state = ServiceState(owned=False, keep=False, demo=False, clock=SystemClock())
        self.models = Models()
        self.config = AppConfig()
        self.uptime_s = 0.0
        self.admits = True
        self.live = Live(
            LiveSources(
                manager=self.models,
                state=self.state,
                health=self.health,
                config=lambda: self.config,
                settings=lambda: SettingsState({}, (), True),
                follow=self.follow,
                tasks=TaskOwner(),
                session=lambda headers: self.admits and headers["cookie"] == ["mine"],
            )
        )

    def health(self) -> Health:
        self.uptime_s += 1
        return Health("ok", "1", 7, self.uptime_s, False, False, notices=self.state.notices)

    async def follow(self) -> None:
        """Nothing to follow."""

    def news(self, reader: Reader) -> list[Event]:
        return list(self.live.news(reader))


@pytest.fixture
def world() -> World:
    return World()


def test_all_of_it_is_news_at_first_and_nothing_after_that(world: World) -> None:
    reader = Reader()
    assert [one.event for one in world.news(reader)] == ["health", "settings", "instances"]
    assert world.news(reader) == []


def test_each_change_is_told_once_to_each_reader(world: World) -> None:
    first, second = Reader(), Reader()
    world.news(first)
    world.state.notice("Port 1 is busy.")
    world.state.notice("Port 2 is busy.")
    (told,) = world.news(first)
    assert told.event == "health" and len(told.health.notices) == 2
    world.models.revision += 5
    assert [one.event for one in world.news(first)] == ["instances"]
    assert len(world.news(second)) == 3
    assert world.news(first) == world.news(second) == []


def test_a_request_is_told_when_it_comes_as_it_goes_on_and_when_it_ends(world: World) -> None:
    reader = Reader()
    world.news(reader)
    slow = world.state.requests.begin("/v1/x", "m", AT, streamed=True)
    assert told(world.news(reader)) == [(1, "running", None)]
    assert world.news(reader) == []
    slow.queue_s = 0.5
    assert told(world.news(reader)) == [(1, "running", 0.5)]
    quick = world.state.requests.begin("/v1/x", "m", AT, streamed=True)
    quick.outcome = "done"
    assert told(world.news(reader)) == [(2, "done", None)]
    slow.outcome = "failed"
    assert told(world.news(reader)) == [(1, "failed", 0.5)]
    assert world.news(reader) == []
    assert told(world.news(Reader())[-1:]) == [(1, "failed", 0.5), (2, "done", None)]


def test_a_socket_ends_with_the_session_it_came_with(world: World) -> None:
    """I37: what a cookie opened is not open longer than the cookie is good for."""
    client = TestClient(Starlette(routes=world.live.routes()))
    with (
        client.websocket_connect("/api/v1/events", headers={"cookie": "mine"}) as browser,
        client.websocket_connect("/api/v1/events") as program,
    ):
        for socket in (browser, program):
            assert [socket.receive_json()["event"] for _ in range(3)] == ["health", "settings", "instances"]
        world.admits = False
        with pytest.raises(WebSocketDisconnect) as closed:
            browser.receive_json()
        assert closed.value.code == POLICY
        world.models.revision += 1
        assert program.receive_json()["event"] == "instances"


def told(events: list[Event]) -> list[tuple[int, str, float | None]]:
    (event,) = events
    assert event.event == "requests"
    return [(one.number, one.outcome, one.queue_s) for one in event.requests]
