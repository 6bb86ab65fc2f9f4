"""When a server is passed over, and when it is tried again. Time is a number here (F19)."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llama_runner.proxy.breaker import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MAX_IN_A_ROW,
    MAX_SERVERS,
    NS_PER_S,
    WINDOW,
    Breakers,
)


def fail(breakers: Breakers, times: int, now_ns: int = 0) -> None:
    for _ in range(times):
        breakers.failed("a", now_ns)


def test_f19_it_opens_after_five_failures_in_a_row_and_both_changes_are_told_once() -> None:
    told: list[tuple[str, bool]] = []
    breakers = Breakers(lambda name, down: told.append((name, down)))
    fail(breakers, MAX_IN_A_ROW - 1)
    assert told == []
    fail(breakers, 2)
    assert told == [("a", True)]
    assert breakers.passed_over("a", 1)
    breakers.answered("a")
    breakers.answered("a")
    assert told == [("a", True), ("a", False)]


def test_an_answer_in_between_keeps_it_closed() -> None:
    breakers = Breakers()
    for _ in range(WINDOW // 2):
        fail(breakers, 1)
        breakers.answered("a")
    assert not breakers.is_open("a")


def test_it_opens_when_most_of_the_last_twenty_failed() -> None:
    breakers = Breakers()
    for number in range(WINDOW):
        if number % 5 in (0, 2):
            breakers.answered("a")
        else:
            breakers.failed("a", 0)
    assert breakers.is_open("a")


def test_f19_a_server_that_is_back_is_tried_within_ten_seconds() -> None:
    breakers, now_ns = Breakers(), 0
    fail(breakers, MAX_IN_A_ROW)
    for _ in range(10):
        assert breakers.passed_over("a", now_ns)
        waited_s = 0
        while breakers.passed_over("a", now_ns):
            now_ns, waited_s = now_ns + NS_PER_S, waited_s + 1
        assert waited_s <= 10
        breakers.asked("a", now_ns)
        breakers.failed("a", now_ns)
    breakers.answered("a")
    assert not breakers.is_open("a")


def test_only_one_request_tries_an_open_one() -> None:
    breakers = Breakers()
    fail(breakers, MAX_IN_A_ROW)
    later_ns = round(FIRST_PAUSE_S * NS_PER_S)
    assert not breakers.passed_over("a", later_ns)
    breakers.asked("a", later_ns)
    assert breakers.passed_over("a", later_ns)
    # Whoever tried it may have been cancelled: it is tried again all the same.
    assert not breakers.passed_over("a", later_ns + round(LONGEST_PAUSE_S * NS_PER_S))


@pytest.mark.parametrize(("asked", "expected"), [((3, 1, 2), 1), ((1, 2, 3), 0)])
def test_the_one_tried_longest_ago_is_known(asked: Iterable[int], expected: int) -> None:
    breakers = Breakers()
    names = ("a", "b", "c")
    for name, now_ns in zip(names, asked, strict=True):
        breakers.asked(name, now_ns)
    assert breakers.tried_longest_ago(names) == expected


def test_what_is_remembered_is_bounded() -> None:
    breakers = Breakers()
    for number in range(MAX_SERVERS + 50):
        breakers.failed(str(number), 0)
    # The first ones were forgotten: what they did no longer counts.
    for _ in range(MAX_IN_A_ROW - 1):
        breakers.failed("0", 0)
    assert not breakers.is_open("0")


class Machine(RuleBasedStateMachine):
    """Whatever happens, an open breaker is tried again in time, and a closed one passes nobody over."""

    def __init__(self) -> None:
        super().__init__()
        self.breakers = Breakers()
        self.now_ns = 0

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S)

    @rule()
    def ask(self) -> None:
        self.breakers.asked("a", self.now_ns)

    @rule()
    def fail(self) -> None:
        self.breakers.failed("a", self.now_ns)

    @rule()
    def answer(self) -> None:
        self.breakers.answered("a")
        assert not self.breakers.is_open("a")

    @invariant()
    def never_for_long(self) -> None:
        later_ns = self.now_ns + round(LONGEST_PAUSE_S * NS_PER_S)
        assert not self.breakers.passed_over("a", later_ns)

    @invariant()
    def only_open_ones(self) -> None:
        assert self.breakers.is_open("a") or not self.breakers.passed_over("a", self.now_ns)


TestMachine: Any = Machine.TestCase
TestMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
