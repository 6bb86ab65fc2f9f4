"""Numbers and texts out of untrusted JSON: what is not plausible is None, never an exception (S13, S15)."""

import math
from collections.abc import Mapping
from typing import Final

from llama_runner.core.jsonio import JsonValue

# No request has more tokens than a double can count exactly; beyond it the number is nonsense.
MAX_COUNT: Final = 2**53
# A duration of a year of one request is nonsense too.
MAX_SECONDS: Final = 366 * 86_400.0

NO_FIELDS: Final[Mapping[str, JsonValue]] = {}


def as_object(value: JsonValue) -> Mapping[str, JsonValue]:
    """The object, or one without fields."""
    return value if isinstance(value, dict) else NO_FIELDS


def as_list(value: JsonValue) -> list[JsonValue]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: JsonValue) -> str:
    """The string, or an empty one."""
    return value if isinstance(value, str) else ""


def as_count(value: JsonValue) -> int | None:
    """A whole number from 0, also when written as a float; None otherwise. True is not a number."""
    if type(value) is int:  # which a bool is not, and most counts are
        return value if 0 <= value <= MAX_COUNT else None
    if not isinstance(value, float) or not 0 <= value <= MAX_COUNT or not value.is_integer():
        return None
    return int(value)


def as_seconds(value: JsonValue, per_second: float) -> float | None:
    """A duration greater than zero, given in units of which a second has `per_second`; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    duration_s = value / per_second
    return duration_s if math.isfinite(duration_s) and 0 < duration_s <= MAX_SECONDS else None


def content_text(content: JsonValue) -> str:
    """The text of a `content` that is a string or a list of text parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(as_text(as_object(part).get("text")) for part in content)
    return ""
