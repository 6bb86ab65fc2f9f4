"""When each server is asked again."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from llama_runner.backends.base import Engine
from llama_runner.core.clock import SystemClock
from llama_runner.discovery.health import HealthWatch, Schedule
from llama_runner.discovery.registry import (
    Certainty,
    ServerRecord,
    ServerRegistry,
    ServerSource,
    ServerStatus,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def server(
    status: ServerStatus, *, port: int = 1, source: ServerSource = ServerSource.FOUND, favourite: bool = False
) -> ServerRecord:
    url = f"http://192.168.7.20:{port}"
    return ServerRecord(
        id=url,
        base_url=url,
        engine=Engine.OPENAI,
        product="openai-compatible",
        certainty=Certainty.LIKELY,
        status=status,
        source=source,
        favourite=favourite,
        checked_utc=None if status is ServerStatus.NOT_CHECKED else NOW,
    )


ONLINE, OFFLINE = server(ServerStatus.ONLINE), server(ServerStatus.OFFLINE)


@dataclass
class Time:
    """A schedule and its clock: `asked` lets a server be asked when due, and says after how long it was."""

    now_s: float = 1000.0
    ttl_s: float = 60.0
    schedule: Schedule = field(init=False)

    def __post_init__(self) -> None:
        self.schedule = Schedule(lambda: self.ttl_s)

    @property
    def now_ns(self) -> int:
        return round(self.now_s * 1e9)

    def due_in_s(self, record: ServerRecord) -> float:
        return self.schedule.due_in_s(record, self.now_ns)

    def asked(self, record: ServerRecord) -> float:
        pause_s = self.due_in_s(record)
        self.now_s += pause_s
        assert self.due_in_s(record) == 0
        self.schedule.ended(record, self.now_ns)
        return pause_s


def test_what_was_never_checked_is_due_at_once() -> None:
    assert Time().due_in_s(server(ServerStatus.NOT_CHECKED)) == 0


@pytest.mark.parametrize("status", [ServerStatus.ONLINE, ServerStatus.NEEDS_KEY])
def test_a_server_that_answers_is_asked_once_per_ttl(status: ServerStatus) -> None:
    time = Time()
    time.schedule.ended(server(status), time.now_ns)

    assert [time.asked(server(status)) for _ in range(3)] == [60, 60, 60]


@pytest.mark.parametrize("status", [ServerStatus.OFFLINE, ServerStatus.ERROR])
def test_a_server_that_does_not_is_asked_ever_more_rarely_up_to_ten_minutes(status: ServerStatus) -> None:
    time = Time()
    time.schedule.ended(server(status), time.now_ns)

    assert [time.asked(server(status)) for _ in range(6)] == [60, 120, 240, 480, 600, 600]


def test_one_answer_ends_the_long_pauses() -> None:
    time = Time()
    for _ in range(6):
        time.schedule.ended(OFFLINE, time.now_ns)

    time.asked(ONLINE)

    assert time.due_in_s(ONLINE) == 60


def test_a_check_by_hand_ends_the_long_pauses_even_if_it_fails() -> None:
    time = Time()
    for _ in range(6):
        time.schedule.ended(OFFLINE, time.now_ns)
    assert time.due_in_s(OFFLINE) == 600

    time.schedule.begin_again(OFFLINE.id)
    time.schedule.ended(OFFLINE, time.now_ns)

    assert [time.asked(OFFLINE) for _ in range(2)] == [60, 120]


def test_what_a_scan_saw_counts_as_asked_just_now() -> None:
    time = Time()

    assert time.due_in_s(ONLINE) == 60
    time.now_s += 20
    assert time.due_in_s(ONLINE) == 40


def test_a_machine_that_was_told_to_wake_is_asked_often_for_some_minutes_or_until_it_answers() -> None:
    time = Time()
    for _ in range(6):
        time.schedule.ended(OFFLINE, time.now_ns)
    time.schedule.waking(OFFLINE.id, time.now_ns)

    assert [time.asked(OFFLINE) for _ in range(59)] == [5] * 59
    time.now_s += 10
    assert time.due_in_s(OFFLINE) > 100

    time.schedule.waking(OFFLINE.id, time.now_ns)
    time.schedule.ended(ONLINE, time.now_ns)
    assert time.due_in_s(ONLINE) == 60


def test_a_changed_ttl_counts_at_once_and_may_be_longer_than_ten_minutes() -> None:
    time = Time()
    time.schedule.ended(ONLINE, time.now_ns)
    time.ttl_s = 5

    assert time.due_in_s(ONLINE) == 5
    time.ttl_s = 86_400
    for _ in range(100):
        time.schedule.ended(OFFLINE, time.now_ns)
    assert time.due_in_s(OFFLINE) == 86_400


def test_a_forgotten_server_starts_anew() -> None:
    time = Time()
    time.schedule.ended(ONLINE, time.now_ns)
    time.schedule.forget(ONLINE.id)

    assert time.due_in_s(server(ServerStatus.NOT_CHECKED)) == 0


class Watched:
    """A watch whose servers are always offline, and what it asked."""

    def __init__(self, *records: ServerRecord, ttl_s: float) -> None:
        self.asked: list[str] = []
        self.rounds = 0
        self.at_once = Counter[str]()
        self.most_at_once = 0
        self.clock = SystemClock()
        self.registry = ServerRegistry()
        self.schedule = Schedule(lambda: self.ttl_s)
        self.ttl_s = ttl_s
        self.news = asyncio.Event()
        for record in records:
            self.registry.upsert(record)
        self.watch = HealthWatch(
            registry=self.registry,
            clock=self.clock,
            schedule=self.schedule,
            check=self._check,
            rest=self._rest,
            ttl_s=lambda: self.ttl_s,
        )

    async def until(self, count: int) -> None:
        while len(self.asked) < count:
            self.news.clear()
            await self.news.wait()

    async def _check(self, server_id: str) -> None:
        self.at_once[server_id] += 1
        self.most_at_once = max(self.most_at_once, self.at_once[server_id])
        await asyncio.sleep(0)
        self.asked.append(server_id)
        record = replace(self.registry.known(server_id), status=ServerStatus.ONLINE, checked_utc=NOW)
        self.registry.upsert(record)
        self.schedule.ended(record, self.clock.now_ns())
        self.at_once[server_id] -= 1
        self.news.set()

    async def _rest(self) -> None:
        self.rounds += 1


async def running(watched: Watched, until: int) -> None:
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(watched.watch.run())
        await watched.until(until)
        task.cancel()


async def test_every_server_is_asked_again_and_again_favourites_first_and_our_own_never() -> None:
    watched = Watched(
        server(ServerStatus.NOT_CHECKED, port=1),
        server(ServerStatus.NOT_CHECKED, port=2, favourite=True),
        server(ServerStatus.NOT_CHECKED, port=3, source=ServerSource.SERVICE),
        ttl_s=0.02,
    )

    await running(watched, until=6)

    asked = [url.rpartition(":")[2] for url in watched.asked]
    assert asked[:2] == ["2", "1"]
    assert set(asked) == {"1", "2"}
    assert watched.most_at_once == 1
    assert watched.rounds >= 2


async def test_a_server_that_comes_later_is_asked_when_it_is_told_to_look_again() -> None:
    watched = Watched(ttl_s=86_400)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(watched.watch.run())
        await asyncio.sleep(0)
        watched.registry.upsert(server(ServerStatus.NOT_CHECKED))
        watched.watch.look_again()
        await watched.until(1)
        task.cancel()

    assert watched.asked == [ONLINE.id]
