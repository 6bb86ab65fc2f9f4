"""Unloading without work, with a clock that the test moves."""

import asyncio
from dataclasses import dataclass, field

from llama_runner.runtime.idle import LONGEST_PAUSE_S, watch_idle


@dataclass
class Watched:
    """Instances that become due when the test says so; records what was asked."""

    left: dict[str, float]
    revision: int = 0
    unloaded: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    async def wait_change(self, after: int, timeout_s: float) -> int:
        self.pauses.append(timeout_s)
        for name in self.left:
            self.left[name] -= timeout_s
        if len(self.pauses) > 5:
            raise asyncio.CancelledError
        return self.revision

    def due(self) -> tuple[tuple[str, float], ...]:
        return tuple(self.left.items())

    async def unload(self, instance_id: str) -> None:
        self.unloaded.append(instance_id)
        del self.left[instance_id]


async def run(watched: Watched) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(watch_idle(watched))


async def test_each_leaves_when_its_time_is_over_and_not_before() -> None:
    watched = Watched({"a": 60.0, "b": 90.0})
    await run(watched)
    assert watched.unloaded == ["a", "b"]
    assert watched.pauses[:3] == [60.0, 30.0, LONGEST_PAUSE_S]


async def test_with_nothing_due_it_sleeps_until_something_changes() -> None:
    watched = Watched({})
    await run(watched)
    assert watched.unloaded == []
    assert set(watched.pauses) == {LONGEST_PAUSE_S}


async def test_who_gets_work_while_another_one_leaves_stays() -> None:
    """Both were due at once; the second was asked for while the first ended."""

    class Asked(Watched):
        async def unload(self, instance_id: str) -> None:
            await super().unload(instance_id)
            self.left["b"] = 60.0

    watched = Asked({"a": 0.0, "b": 0.0})
    watched.pauses += [0.0] * 5
    await run(watched)
    assert watched.unloaded == ["a"]
