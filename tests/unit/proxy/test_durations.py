import math
from datetime import datetime

import pytest

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy.durations import expires_at, keep_alive_s, nanoseconds, rfc3339


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
