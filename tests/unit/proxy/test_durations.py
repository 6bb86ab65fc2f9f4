import math
from datetime import UTC, datetime

import pytest

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy.durations import Stamps, expires_at, keep_alive_s, nanoseconds, rfc3339, utc_text


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (1.5, 1.5),
        (-1, math.inf),
        ("0", 0.0),
        ("300", 300.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("300ms", 0.3),
        ("1.5h", 5400.0),
        ("-1m", math.inf),
        ("24h", 86400.0),
        ("10\u00b5s", 1e-5),
    ],
)
def test_every_way_to_say_how_long(given: JsonValue, seconds: float | None) -> None:
    assert keep_alive_s(given) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "given", [True, {}, [], "soon", "5 m", "", "m", "5x", float("nan"), "1s" * 101, "1" * 201]
)
def test_what_is_no_duration_is_refused(given: JsonValue) -> None:
    with pytest.raises(InvalidRequestError):
        keep_alive_s(given)


@pytest.mark.parametrize("seconds", [0.0, 1.7e9, 1e12, 1e20])
def test_times_are_such_as_clients_parse(seconds: float) -> None:
    assert datetime.fromisoformat(rfc3339(seconds)).tzinfo is not None


def test_for_ever_is_far_away() -> None:
    assert datetime.fromisoformat(expires_at(1.7e9, None)).year > 2200
    assert datetime.fromisoformat(expires_at(1.7e9, 60.0)).year == 2023


def test_unknown_durations_count_as_nothing() -> None:
    assert (nanoseconds(None), nanoseconds(1.5)) == (0, 1_500_000_000)


class Hands:
    """Two clocks that are set by hand."""

    def __init__(self) -> None:
        self.ns = 1_000_000
        self.wall = datetime(2026, 1, 2, 3, 4, 5, 999_990, UTC)

    def now_ns(self) -> int:
        return self.ns

    def utc(self) -> datetime:
        return self.wall


def test_a_stamp_goes_on_within_its_second_and_asks_the_calendar_for_the_next() -> None:
    hands = Hands()
    stamps = Stamps(hands)
    assert stamps.now() == utc_text(hands.wall).encode() == b"2026-01-02T03:04:05.999990Z"
    hands.ns += 9_000
    assert stamps.now() == b"2026-01-02T03:04:05.999999Z"
    hands.ns += 1_000
    hands.wall = datetime(2027, 1, 1, tzinfo=UTC)
    assert stamps.now() == b"2027-01-01T00:00:00.000000Z"
