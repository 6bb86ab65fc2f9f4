"""Comparisons: side by side, independent of each other; on scripted streams."""

import asyncio
from collections.abc import Callable

import pytest

from llama_runner.arena.manager import ArenaManager
from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import ChatRequest, Message, Role, SamplingOptions
from llama_runner.core.errors import OverloadedError, UsageError
from tests.unit.chat.scripted import CLOCK, Scripted, Step, answer, target, text


def scripted(**scripts: list[Step]) -> Scripted:
    return Scripted(lambda request: scripts[request.model_id])


def manager(backend: Scripted, max_entries: Callable[[], int] = lambda: 6) -> ArenaManager:
    return ArenaManager(connect=backend.connect, clock=CLOCK, max_entries=max_entries)


async def shown(arena: ArenaManager, *texts: str) -> None:
    """Return once the entries' texts are these."""
    changes = arena.changed.subscribe()
    while (now := arena.snapshot()) is None or tuple(e.text for e in now.entries) != texts:
        async for _ in changes:
            break


async def test_every_entry_answers_the_same_prompt_in_the_order_given() -> None:
    backend = scripted(a=answer("A"), b=answer("B", "B"))
    arena = manager(backend)

    result = await arena.compare(
        "Why?", (target("a"), target("b")), SamplingOptions(seed=3), system_prompt="Be brief."
    )

    assert [(e.index, e.label, e.text, e.state) for e in result.entries] == [
        (0, "a", "A", AnswerState.DONE),
        (1, "b", "BB", AnswerState.DONE),
    ]
    assert result.entries[1].metrics.output_tokens == 2
    assert not result.running
    assert {request.messages for request in backend.requests} == {
        (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Why?"))
    }
    assert {request.options.seed for request in backend.requests} == {3}
    assert arena.snapshot() == result


async def test_entries_stream_together_and_are_seen_while_they_grow() -> None:
    gate = asyncio.Event()
    backend = scripted(a=[*text("A"), gate, *answer("a")[2:]], b=[*text("B"), gate, *answer("b")[2:]])
    arena = manager(backend)

    async with asyncio.TaskGroup() as group:
        group.create_task(arena.compare("?", (target("a"), target("b"))))
        await shown(arena, "A", "B")
        snapshot = arena.snapshot()
        assert snapshot is not None
        assert snapshot.running
        assert arena.snapshot() is snapshot
        assert backend.open_streams == 2
        gate.set()

    assert not arena.running


async def test_one_that_fails_leaves_the_others_alone() -> None:
    gate = asyncio.Event()
    busy = OverloadedError("It is busy.", "Wait.")
    backend = scripted(
        a=[*text("A"), gate, *answer("a")[2:]], b=[*text("B"), busy], c=[*text("C"), gate, *answer("c")[2:]]
    )
    arena = manager(backend)

    async with asyncio.TaskGroup() as group:
        comparing = group.create_task(arena.compare("?", tuple(map(target, "abc"))))
        await shown(arena, "A", "B", "C")
        gate.set()

    states = [(entry.text, entry.state, entry.error) for entry in comparing.result().entries]
    assert states == [
        ("Aa", AnswerState.DONE, None),
        ("B", AnswerState.ERROR, busy),
        ("Cc", AnswerState.DONE, None),
    ]


async def test_stop_ends_every_stream_and_keeps_what_came() -> None:
    backend = scripted(a=[*text("A"), asyncio.Event()], b=answer("B"))
    arena = manager(backend)

    async with asyncio.TaskGroup() as group:
        comparing = group.create_task(arena.compare("?", (target("a"), target("b"))))
        await shown(arena, "A", "B")
        await arena.stop()
        assert backend.open_streams == 0

    states = [entry.state for entry in comparing.result().entries]
    assert states == [AnswerState.STOPPED, AnswerState.DONE]


async def test_cancelling_the_call_stops_every_stream() -> None:
    backend = scripted(a=[*text("A"), asyncio.Event()], b=[*text("B"), asyncio.Event()])
    arena = manager(backend)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await arena.compare("?", (target("a"), target("b")))

    assert backend.open_streams == 0
    assert not arena.running
    snapshot = arena.snapshot()
    assert snapshot is not None
    assert {entry.state for entry in snapshot.entries} == {AnswerState.STOPPED}


async def test_a_second_comparison_at_the_same_time_is_refused() -> None:
    backend = scripted(a=[*text("A"), asyncio.Event()], b=answer("B"))
    arena = manager(backend)

    async with asyncio.TaskGroup() as group:
        group.create_task(arena.compare("?", (target("a"), target("b"))))
        await shown(arena, "A", "B")
        with pytest.raises(UsageError, match="running"):
            await arena.compare("?", (target("a"), target("b")))
        await arena.stop()


@pytest.mark.parametrize("models", ["", "a", "abcdefg"])
async def test_two_to_six_models_are_compared(models: str) -> None:
    with pytest.raises(UsageError, match="2 to 6"):
        await manager(scripted()).compare("?", tuple(map(target, models)))


async def test_the_settings_may_allow_fewer() -> None:
    with pytest.raises(UsageError, match="2 to 3"):
        await manager(scripted(), lambda: 3).compare("?", tuple(map(target, "abcd")))


async def test_the_same_model_twice_and_an_empty_prompt_are_refused() -> None:
    arena = manager(scripted())
    with pytest.raises(UsageError, match="twice"):
        await arena.compare("?", (target("a"), target("a")))
    with pytest.raises(UsageError, match="nothing to send"):
        await arena.compare(" ", (target("a"), target("b")))

    assert arena.snapshot() is None


async def test_a_server_that_cannot_be_asked_is_an_error_entry() -> None:
    backend = scripted()
    backend.refuse = UsageError("No such engine.")

    result = await manager(backend).compare("?", (target("a"), target("b")))

    assert [entry.state for entry in result.entries] == [AnswerState.ERROR] * 2


async def test_a_new_comparison_has_another_id() -> None:
    def script(request: ChatRequest) -> list[Step]:
        return answer("x")

    arena = manager(Scripted(script))
    first = await arena.compare("?", (target("a"), target("b")))
    second = await arena.compare("?", (target("a"), target("b")))

    assert first.id != second.id
    assert arena.changed.latest == second.id


async def test_closing_stops_what_runs() -> None:
    backend = scripted(a=[*text("A"), asyncio.Event()], b=answer("B"))
    arena = manager(backend)

    async with asyncio.TaskGroup() as group:
        group.create_task(arena.compare("?", (target("a"), target("b"))))
        await shown(arena, "A", "B")
        await arena.close()

    assert backend.open_streams == 0
    assert not arena.running
