"""How every number is printed: three significant digits, a unit, and "–" for unknown.

Inside the program values are seconds, bytes, percent; only this module turns them into words.
"""

import math
from datetime import UTC, datetime
from typing import Final

UNKNOWN: Final = "–"
SIGNIFICANT_DIGITS: Final = 3

_BYTE_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
# Beyond these a number written out is longer than any column, and no figure of ours gets there.
_PLAIN_EXPONENTS: Final = (-6, 15)
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400


def number(value: float | None) -> str:
    """Three significant digits, whole digits never rounded away: 0.0123, 1.23, 12.3, 123, 1,234."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    # Taken from the rounded text, so that 9.996 counts as 10.0 and not as 10.00.
    scientific = f"{value:.{SIGNIFICANT_DIGITS - 1}e}"
    exponent = int(scientific.partition("e")[2])
    if not _PLAIN_EXPONENTS[0] <= exponent <= _PLAIN_EXPONENTS[1]:
        return scientific
    return f"{value:,.{max(SIGNIFICANT_DIGITS - 1 - exponent, 0)}f}"


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit: "48.3 tok/s", "212 W", "61 °C"; "–" when unknown."""
    text = number(value)
    return text if text == UNKNOWN else f"{text} {unit}"


def rate(value: float | None, unit: str = "tok/s") -> str:
    """Something per second: "48.3 tok/s"."""
    return quantity(value, unit)


def percent(value: float | None) -> str:
    """A value already in percent: "12.3 %"."""
    return quantity(value, "%")


def count(value: int | None) -> str:
    """A whole number, exact: "1,234"."""
    return UNKNOWN if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    """A duration: "83.1 µs", "212 ms", "1.23 s", "2 min 05 s", "1 h 02 min"."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 0:
        return f"-{seconds(-value)}"
    if value == 0:
        return "0 ms"
    shown = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if shown < 1e-3:
        return quantity(value * 1e6, "µs")
    if shown < 1:
        return quantity(value * 1e3, "ms")
    if shown < _MINUTE_S:
        return quantity(value, "s")
    return _long_duration(value)


def _long_duration(value: float) -> str:
    whole = round(value)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02d} s"
    minutes = round(value / _MINUTE_S)
    return f"{minutes // _MINUTE_S:,} h {minutes % _MINUTE_S:02d} min"


def size(value: float | None) -> str:
    """A number of bytes in binary units: "512 B", "1.50 GiB"."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    scaled = float(value)
    for unit in _BYTE_UNITS[:-1]:
        # 1023.6 KiB would print as "1,024 KiB": it belongs to the next unit.
        if abs(scaled) < 1023.5:
            return f"{scaled:.0f} B" if unit == "B" else quantity(scaled, unit)
        scaled /= 1024
    return quantity(scaled, _BYTE_UNITS[-1])


def size_rate(value: float | None) -> str:
    """Bytes per second: "1.50 MiB/s"."""
    text = size(value)
    return text if text == UNKNOWN else f"{text}/s"


def moment(value: datetime | None) -> str:
    """A wall-clock time in UTC to the second: "2026-01-31 12:00:05 UTC"."""
    return UNKNOWN if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def ago(value: datetime | None, now: datetime) -> str:
    """How long ago something was: "now", "40 s ago", "3 min ago", "5 h ago", "12 days ago"."""
    if value is None:
        return UNKNOWN
    # A clock that was set back must not show a time to come.
    passed_s = max(0, round((now - value).total_seconds()))
    if passed_s >= _DAY_S:
        days = passed_s // _DAY_S
        return f"{days:,} day{'' if days == 1 else 's'} ago"
    if passed_s >= _HOUR_S:
        return f"{passed_s // _HOUR_S} h ago"
    if passed_s >= _MINUTE_S:
        return f"{passed_s // _MINUTE_S} min ago"
    return f"{passed_s} s ago" if passed_s else "now"
