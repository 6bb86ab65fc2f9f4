import asyncio

import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import OverloadedError
from llama_runner.proxy.admission import Admission


async def _hold(admission: Admission, model: str, name: str, order: list[str], let_go: asyncio.Event) -> None:
    async with admission.admitted(model):
        order.append(name)
        await let_go.wait()


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_requests_of_one_model_go_in_the_order_they_came() -> None:
    admission, order, let_go = Admission(clock=SystemClock(), max_in_flight=1), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(_hold(admission, "m", name, order, let_go))
        await _settled()
        assert order == ["a"]
        assert (admission.in_flight("m"), admission.waiting) == (1, 3)
        let_go.set()
    assert order == ["a", "b", "c", "d"]
    assert (admission.in_flight("m"), admission.waiting) == (0, 0)


async def test_one_models_queue_does_not_hold_up_another_model() -> None:
    admission, order, let_go = Admission(clock=SystemClock(), max_in_flight=1), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for name, model in (("a", "m"), ("b", "m"), ("c", "n")):
            group.create_task(_hold(admission, model, name, order, let_go))
        await _settled()
        assert order == ["a", "c"]
        let_go.set()


async def test_a_full_queue_says_when_to_come_back() -> None:
    admission = Admission(clock=SystemClock(), max_in_flight=1, max_waiting=1)
    order, let_go = list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for name in "ab":
            group.create_task(_hold(admission, "m", name, order, let_go))
        await _settled()
        with pytest.raises(OverloadedError) as caught:
            async with admission.admitted("m"):
                pytest.fail("there was no room")
        assert caught.value.retry_after_s
        let_go.set()


@pytest.mark.parametrize("leaving", [(1,), (2,), (3,), (1, 3), (1, 2, 3)])
async def test_who_leaves_the_queue_makes_room_and_nobody_is_lost(leaving: tuple[int, ...]) -> None:
    """H26: first, in the middle and last."""
    admission, order, let_go = Admission(clock=SystemClock(), max_in_flight=1), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_hold(admission, "m", str(n), order, let_go)) for n in range(4)]
        await _settled()
        for number in leaving:
            tasks[number].cancel()
        await _settled()
        let_go.set()
    assert order == [str(n) for n in range(4) if n not in leaving]
    assert (admission.in_flight("m"), admission.waiting) == (0, 0)


async def test_a_turn_that_comes_as_its_taker_leaves_goes_to_the_next() -> None:
    admission, order, let_go = Admission(clock=SystemClock(), max_in_flight=1), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        async with admission.admitted("m"):
            leaver = group.create_task(_hold(admission, "m", "leaver", order, let_go))
            group.create_task(_hold(admission, "m", "after", order, let_go))
            await _settled()
        # Its turn is given, and it has not run yet.
        leaver.cancel()
        await _settled()
        assert order == ["after"]
        let_go.set()
    assert (admission.in_flight("m"), admission.waiting) == (0, 0)


async def test_a_known_server_takes_as_many_as_it_is_said_to() -> None:
    admission, order, let_go = Admission(clock=SystemClock(), max_in_flight=1), list[str](), asyncio.Event()

    async def hold(name: str) -> None:
        async with admission.admitted("m@box", 3):
            order.append(name)
            await let_go.wait()

    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(hold(name))
        await _settled()
        assert order == ["a", "b", "c"]
        let_go.set()
    assert (order, admission.in_flight("m@box")) == (["a", "b", "c", "d"], 0)


async def test_who_leaves_the_queue_in_the_moment_a_turn_is_free_just_leaves() -> None:
    """H26: cancelled, and passed over by whoever hands the turn on, before it runs again."""
    admission, order, let_go = Admission(clock=SystemClock(), max_in_flight=1), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(admission, "m", "a", order, let_go))
        second = group.create_task(_hold(admission, "m", "b", order, let_go))
        await _settled()
        # The first is woken before the second.
        let_go.set()
        second.cancel()
    assert second.cancelled()
    assert (admission.in_flight("m"), admission.waiting) == (0, 0)
