"""Who may stay connected to a listener (safety R2)."""

from dataclasses import dataclass, field

import pytest

from llama_runner.service.guests import Guests, Phase


@dataclass(eq=False)
class Visitor:
    address: str = "127.0.0.1"
    phase: Phase = field(default=Phase.HEAD)
    here: bool = True

    def turn_away(self) -> None:
        self.here = False


def arrive(guests: Guests, address: str, phase: Phase = Phase.HEAD) -> Visitor:
    visitor = Visitor(address)
    assert guests.come(visitor)
    guests.change(visitor, Phase.HEAD, phase)
    return visitor


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.ANSWERING])
def test_the_one_that_waits_longest_goes_first(phase: Phase) -> None:
    guests = Guests(max_waiting=2)
    first, second, third = (arrive(guests, "127.0.0.1", phase) for _ in range(3))
    assert (first.here, second.here, third.here) == (False, True, True)
    assert guests.count(phase) == len(guests) == 2


def test_who_gets_an_answer_is_never_sent_away() -> None:
    guests = Guests(max_waiting=1)
    answered = [arrive(guests, "127.0.0.1", Phase.ANSWERING) for _ in range(9)]
    assert [one.here for one in answered] == [True] * 9
    idle = arrive(guests, "127.0.0.1", Phase.IDLE)
    arrive(guests, "127.0.0.1", Phase.HEAD)
    assert idle.here


def test_another_machine_has_so_many_and_makes_room_among_its_own() -> None:
    guests = Guests(max_per_address=2)
    idle, busy = arrive(guests, "10.0.0.9", Phase.IDLE), arrive(guests, "10.0.0.9", Phase.ANSWERING)
    stranger = arrive(guests, "10.0.0.8", Phase.IDLE)
    arrive(guests, "10.0.0.9", Phase.ANSWERING)
    assert (idle.here, busy.here, stranger.here) == (False, True, True)
    late = Visitor("10.0.0.9")
    assert not guests.come(late)
    guests.go(late)
    guests.go(busy)
    assert guests.come(late)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.9", "::1"])
def test_this_machine_has_no_such_limit(address: str) -> None:
    guests = Guests(max_per_address=2)
    assert all(arrive(guests, address, Phase.ANSWERING).here for _ in range(9))


def test_who_was_sent_away_changes_nothing_any_more() -> None:
    guests = Guests(max_waiting=1)
    first = arrive(guests, "127.0.0.1")
    arrive(guests, "127.0.0.1")
    guests.change(first, Phase.HEAD, Phase.BODY)
    guests.go(first)
    assert (guests.count(Phase.BODY), len(guests)) == (0, 1)
