"""When each known server is asked again: often while it answers, ever more rarely while it doesn't."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from llama_runner.core.clock import Clock, seconds
from llama_runner.discovery.registry import ServerRecord, ServerRegistry, ServerSource, ServerStatus

# A server that is gone for the day costs six connects an hour.
LONGEST_PAUSE_S: Final = 600.0
# A machine that was told to wake takes half a minute to some minutes until its server answers.
WAKING_S: Final = 300.0
WAKING_PAUSE_S: Final = 5.0
# Servers asked at once.
MAX_CHECKS: Final = 32

_ANSWERS: Final = (ServerStatus.ONLINE, ServerStatus.NEEDS_KEY)


class Schedule:
    """Reckons only; no I/O, no randomness.

    Args:
        ttl_s: How long an answer counts; asked at every use.
    """

    def __init__(self, ttl_s: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._ended_ns: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._waking_since_ns: dict[str, int] = {}

    def ended(self, record: ServerRecord, now_ns: int) -> None:
        """A server was asked; how it is decides about the next time."""
        self._ended_ns[record.id] = now_ns
        if record.status in _ANSWERS:
            self._failures.pop(record.id, None)
            self._waking_since_ns.pop(record.id, None)
        else:
            self._failures[record.id] = self._failures.get(record.id, 0) + 1

    def begin_again(self, server_id: str) -> None:
        """Somebody cares: what failed until now no longer counts."""
        self._failures.pop(server_id, None)

    def waking(self, server_id: str, now_ns: int) -> None:
        """It was told to wake: ask often for a while."""
        self._waking_since_ns[server_id] = now_ns

    def forget(self, server_id: str) -> None:
        """It is off the list."""
        for notes in (self._ended_ns, self._failures, self._waking_since_ns):
            notes.pop(server_id, None)

    def due_in_s(self, record: ServerRecord, now_ns: int) -> float:
        """Seconds until it is to be asked; 0 when that is now.

        One that something else than this schedule asked last counts as asked when that is first seen here.
        """
        if record.id not in self._ended_ns:
            if record.checked_utc is None:
                return 0.0
            self.ended(record, now_ns)
        return max(0.0, self._pause_s(record.id, now_ns) - seconds(now_ns, self._ended_ns[record.id]))

    def _pause_s(self, server_id: str, now_ns: int) -> float:
        since_ns = self._waking_since_ns.get(server_id)
        if since_ns is not None and seconds(now_ns, since_ns) < WAKING_S:
            return WAKING_PAUSE_S
        failures = self._failures.get(server_id, 0)
        if failures < 2:
            return self._ttl_s()
        # No bound on the exponent is needed for the result, but one keeps it a small number.
        doubled = self._ttl_s() * 2.0 ** min(failures - 1, 16)
        return min(doubled, max(LONGEST_PAUSE_S, self._ttl_s()))


class HealthWatch:
    """Asks every known server of other programs when its time has come, favourites first.

    Args:
        check: Asks one server; tells `schedule.ended` about it.
        rest: Called after every round that asked somebody.
    """

    def __init__(
        self,
        *,
        registry: ServerRegistry,
        clock: Clock,
        schedule: Schedule,
        check: Callable[[str], Awaitable[object]],
        rest: Callable[[], Awaitable[object]],
        ttl_s: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._schedule = schedule
        self._check = check
        self._rest = rest
        self._ttl_s = ttl_s
        self._look_again = asyncio.Event()

    def look_again(self) -> None:
        """Something changed: who is due is to be reckoned anew."""
        self._look_again.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._look_again.clear()
            due = self._due()
            await ask_all(tuple(record.id for record in due), self._check)
            if due:
                await self._rest()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._look_again.wait()

    def _watched(self) -> list[ServerRecord]:
        watched = [r for r in self._registry.records if r.source is not ServerSource.SERVICE]
        return sorted(watched, key=lambda record: not record.favourite)

    def _due(self) -> list[ServerRecord]:
        now_ns = self._clock.now_ns()
        return [record for record in self._watched() if self._schedule.due_in_s(record, now_ns) <= 0]

    def _pause_s(self) -> float:
        """Until the next one is due; servers that a scan finds meanwhile are looked at within one TTL."""
        now_ns = self._clock.now_ns()
        return min([self._schedule.due_in_s(r, now_ns) for r in self._watched()] + [self._ttl_s()])


async def ask_all(server_ids: tuple[str, ...], check: Callable[[str], Awaitable[object]]) -> None:
    """Ask many servers, a bounded number at a time."""
    waiting = iter(server_ids)

    async def worker() -> None:
        for server_id in waiting:
            await check(server_id)

    async with asyncio.TaskGroup() as group:
        for number in range(min(MAX_CHECKS, len(server_ids))):
            group.create_task(worker(), name=f"check {number}")
