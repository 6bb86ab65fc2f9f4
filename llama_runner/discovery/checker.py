"""Asking known servers how they are: one question at a time each, by hand and when it is due."""

import asyncio
from collections.abc import Awaitable, Callable

from llama_runner.core.clock import Clock
from llama_runner.core.tasks import TaskOwner
from llama_runner.discovery.examiner import Examiner
from llama_runner.discovery.health import HealthWatch, Schedule, ask_all
from llama_runner.discovery.registry import ServerRecord, ServerRegistry, ServerSource


class Checker:
    """What it sees goes into the registry.

    Args:
        ttl_s: How long an answer counts; asked at every use.
        tasks: Where the questions run.
        rest: Called after every round that asked somebody because it was due.
    """

    def __init__(
        self,
        *,
        registry: ServerRegistry,
        examiner: Examiner,
        clock: Clock,
        ttl_s: Callable[[], float],
        tasks: TaskOwner,
        rest: Callable[[], Awaitable[object]],
    ) -> None:
        self._registry = registry
        self._examiner = examiner
        self._clock = clock
        self._tasks = tasks
        self._running: dict[str, asyncio.Task[ServerRecord]] = {}
        self._schedule = Schedule(ttl_s)
        self._watch = HealthWatch(
            registry=registry,
            clock=clock,
            schedule=self._schedule,
            check=self._check_if_known,
            rest=rest,
            ttl_s=ttl_s,
        )

    async def check(self, server_id: str) -> ServerRecord:
        """Ask one server, and have it asked again soon should it be offline. Raises NotFoundError.

        A question that is under way does not count: its asker wants to know how it is from now on.
        """
        await self.settled(server_id)
        self._schedule.begin_again(server_id)
        return await self._check(server_id)

    async def settled(self, server_id: str) -> None:
        """Wait until a question that is under way has been answered."""
        if (running := self._running.get(server_id)) is not None:
            await asyncio.wait({running})

    async def check_all(self) -> None:
        """Ask every known server that is not a model loaded here, as `check` does."""
        others = tuple(r.id for r in self._registry.records if r.source is not ServerSource.SERVICE)
        for server_id in others:
            self._schedule.begin_again(server_id)
        await ask_all(others, self._check_if_known)

    def seen(self, record: ServerRecord) -> ServerRecord:
        """Note what asking a server brought; returns the record as it is now."""
        self._registry.upsert(record)
        self._schedule.ended(record, self._clock.now_ns())
        return self._registry.known(record.id)

    def waking(self, server_id: str) -> None:
        """A server's machine was told to wake: ask it often for a while."""
        self._schedule.waking(server_id, self._clock.now_ns())
        self._watch.look_again()

    def forget(self, server_id: str) -> None:
        """A server is off the list."""
        self._schedule.forget(server_id)

    def look_again(self) -> None:
        """Reckon anew who is due: the list or the settings changed."""
        self._watch.look_again()

    def start_watching(self) -> None:
        """Ask every server now, and from then on when each is due, until the tasks are closed."""
        if "watch servers" not in self._tasks.running:
            self._tasks.start(self._watch.run(), name="watch servers")

    async def _check(self, server_id: str) -> ServerRecord:
        running = self._running.get(server_id)
        if running is None:
            record = self._registry.known(server_id)
            running = self._tasks.start(self._ask(record), name=f"check {server_id}")
            self._running[server_id] = running
            running.add_done_callback(lambda _: self._running.pop(server_id, None))
        # Whoever no longer waits does not end it for the others.
        return await asyncio.shield(running)

    async def _ask(self, record: ServerRecord) -> ServerRecord:
        examined = await self._examiner.examine(record)
        # It may have been removed meanwhile.
        return examined if self._registry.get(record.id) is None else self.seen(examined)

    async def _check_if_known(self, server_id: str) -> None:
        if self._registry.get(server_id) is not None:
            await self._check(server_id)
