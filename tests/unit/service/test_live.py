"""What is news to a reader of events, and what it is spared."""

from datetime import UTC, datetime

import pytest

from llama_runner.control.events import Event
from llama_runner.control.settings import SettingsState
from llama_runner.control.values import Health
from llama_runner.core.clock import SystemClock
from llama_runner.core.settings import AppConfig
from llama_runner.core.tasks import TaskOwner
from llama_runner.runtime.states import InstanceSnapshot, InstanceState
from llama_runner.service.live import Live, LiveSources, Reader
from llama_runner.service.state import ServiceState

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Models:
    revision = 1

    def instances(self) -> tuple[InstanceSnapshot, ...]:
        return (InstanceSnapshot("i1", "m", InstanceState.READY),)

    async def wait_change(self, after: int, timeout_s: float) -> int:
        return self.revision


class World:
    """A service in which a test changes what it likes."""

    def __init__(self) -> None:
        self.state = ServiceState(owned=False, keep=False, demo=False, clock=SystemClock())
        self.models = Models()
        self.config = AppConfig()
        self.uptime_s = 0.0
        self.live = Live(
            LiveSources(
                manager=self.models,
                state=self.state,
                health=self.health,
                config=lambda: self.config,
                settings=lambda: SettingsState({}, (), True),
                follow=self.follow,
                tasks=TaskOwner(),
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


def told(events: list[Event]) -> list[tuple[int, str, float | None]]:
    (event,) = events
    assert event.event == "requests"
    return [(one.number, one.outcome, one.queue_s) for one in event.requests]
