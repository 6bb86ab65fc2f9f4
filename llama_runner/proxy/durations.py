"""Ollama's times: durations as Go writes them, instants as RFC 3339."""

import math
import re
from datetime import UTC, datetime
from typing import Final

from llama_runner.core.clock import Clock
from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue

_UNITS_S: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_GO: Final = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_PLAIN: Final = re.compile(r"[+-]?\d+(?:\.\d*)?")
FOREVER: Final = math.inf
# Every unit once, with all the digits that a float has, is shorter.
_MAX_CHARS: Final = 200
# Ollama says "for ever" as now plus the longest duration Go has: some 292 years.
_FAR_S: Final = (2**63 - 1) / 1e9
_US_NS: Final = 1000
_SECOND_US: Final = 1_000_000
# The last moment that a calendar of Python's holds.
_LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)
_LAST_S: Final = _LAST.timestamp()


def keep_alive_s(value: JsonValue) -> float | None:
    """Seconds of Ollama's `keep_alive`; infinity for ever, None when it is absent.

    Numbers, also inside a string, are seconds; strings are Go durations; negative means for ever.

    Raises:
        InvalidRequestError: It is no duration.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidRequestError(f"Unsupported type: '{value!s:.40}'", "Give seconds, or a text like 5m.")
    seconds = float(value) if not isinstance(value, str) else _parsed(value.strip())
    if math.isnan(seconds):
        raise InvalidRequestError("keep_alive is not a duration.", "Give seconds, or a text like 5m.")
    return FOREVER if seconds < 0 else seconds


def _parsed(text: str) -> float:
    is_short = len(text) <= _MAX_CHARS
    if is_short and _PLAIN.fullmatch(text):
        return float(text)
    if not is_short or not _GO.fullmatch(text):
        raise InvalidRequestError(
            f'time: invalid duration "{text[:40]}"', "Give seconds, or a text like 5m or 1h30m."
        )
    total = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    return -total if text.startswith("-") else total


def rfc3339(seconds: float) -> str:
    """Seconds since 1970 as Ollama writes a time; what no calendar holds is the last one it can."""
    try:
        moment = datetime.fromtimestamp(min(seconds, _LAST_S), UTC)
    except (OverflowError, OSError, ValueError):
        moment = _LAST
    return utc_text(moment)


def utc_text(moment: datetime) -> str:
    """A moment in UTC as Ollama writes it."""
    return moment.isoformat(timespec="microseconds")[:-6] + "Z"


class Stamps:
    """The time now, for each line of an answer: only the digits behind the second are written anew.

    The calendar is asked once a second; between, the monotonic clock goes on from there.
    """

    __slots__ = ("_clock", "_second", "_second_ns")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = b""
        self._second_ns = 0

    def now(self) -> bytes:
        """As `utc_text` has it."""
        behind_us = (self._clock.now_ns() - self._second_ns) // _US_NS
        if not (self._second and 0 <= behind_us < _SECOND_US):
            moment = self._clock.utc()
            self._second = utc_text(moment)[: -len("000000Z")].encode()
            behind_us = moment.microsecond
            self._second_ns = self._clock.now_ns() - behind_us * _US_NS
        return b"%b%06dZ" % (self._second, behind_us)


def expires_at(now_s: float, idle_unload_s: float | None) -> str:
    """When a model leaves the memory; "for ever" is far away and not null."""
    return rfc3339(now_s + (_FAR_S if idle_unload_s is None else min(idle_unload_s, _FAR_S)))


def nanoseconds(seconds: float | None) -> int:
    """A duration as Ollama counts it."""
    return round((seconds or 0.0) * 1e9)
