"""When the service is to end, and with whom."""

import asyncio
import os

from llama_runner.core.clock import SystemClock
from llama_runner.service.owner import watch_owner
from llama_runner.service.state import MAX_NOTICES, ServiceState


def make_state(*, owned: bool = True, keep: bool = False) -> ServiceState:
    return ServiceState(owned=owned, keep=keep, demo=False, clock=SystemClock())


async def test_asked_once_it_ends_in_peace_asked_twice_in_a_hurry() -> None:
    state = make_state()
    state.request_stop("SIGINT")
    assert (state.closing, state.hurried.is_set()) == (True, False)
    state.request_stop("SIGINT")
    assert state.hurried.is_set()


async def test_an_owned_service_ends_with_its_owner() -> None:
    state = make_state()
    state.owner_gone()
    assert state.closing


async def test_a_kept_service_becomes_nobodys() -> None:
    state = make_state(keep=True)
    state.owner_gone()
    assert (state.closing, state.owned) == (False, False)


async def test_an_owner_that_goes_while_the_service_ends_is_no_hurry() -> None:
    state = make_state()
    state.request_stop("SIGTERM")
    state.owner_gone()
    assert not state.hurried.is_set()


async def test_an_owner_that_goes_leaves_the_service_to_those_who_rely_on_it() -> None:
    state = make_state()
    state.client_came()
    state.client_came()

    state.owner_gone()
    state.owner_gone()
    state.client_went()
    assert not state.closing

    state.client_went()
    assert state.closing
    assert not state.hurried.is_set()


async def test_clients_that_go_before_the_owner_end_nothing() -> None:
    state = make_state()
    state.client_came()
    state.client_went()
    assert not state.closing

    state.owner_gone()
    assert state.closing


async def test_an_ownerless_service_that_is_to_stay_stays() -> None:
    state = make_state()
    state.client_came()
    state.owner_gone()
    state.keep = True
    state.client_went()

    assert not state.closing


async def test_notices_are_kept_once_and_bounded() -> None:
    state = make_state()
    for number in range(3 * MAX_NOTICES):
        state.notice(f"notice {number // 2}")
    assert len(state.notices) == MAX_NOTICES
    assert len(set(state.notices)) == MAX_NOTICES


async def test_the_end_of_the_pipe_is_the_end_of_the_owner() -> None:
    read_end, write_end = os.pipe()
    gone = asyncio.Event()
    watch_owner(gone.set, fd=read_end)
    os.write(write_end, b"what an owner might write is read away\n")
    assert not gone.is_set()
    os.close(write_end)
    async with asyncio.timeout(5):
        await gone.wait()
    os.close(read_end)
