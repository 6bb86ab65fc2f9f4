"""JSON from outside, bounded and scrubbed (safety R5), and JSON of ours to bytes.

Whatever `parse_json` returns can be encoded as UTF-8, stored in SQLite and logged without a further check.
"""

import json
import math
import re
from typing import Final, TypeAlias

import msgspec

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

# No format we read nests deeper than 10; 64 bounds recursion everywhere downstream.
MAX_DEPTH: Final = 64
INT_MAX: Final = 2**63 - 1
INT_MIN: Final = -(2**63)

# What in a text needs repair: escaped or raw controls. Lone surrogates are refused by the quick decoder.
# One pattern each: those that begin with fixed bytes are searched for ten times as fast as either of two.
_ESCAPED_CONTROL: Final = re.compile(rb"\\u00[01789]")
_RAW_CONTROL: Final = re.compile(rb"\xc2[\x80-\x9f]")
# Integers beyond 64 bits, where a number can begin: ids and pictures are full of digits too.
_LONG_NUMBER: Final = re.compile(rb"(?:^|[:,\[\s])-?\d{19}")
# Turns every digit into 0, to find the same quickly: a search for a fixed string costs a fifth of a pattern.
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
_NINETEEN_DIGITS: Final = b"0" * 19
# White space among the controls stays: tab, line ends, VT, FF, NEL (S3).
_BAD_CHARACTERS: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_DECODE: Final = msgspec.json.Decoder().decode
_ENCODE: Final = msgspec.json.Encoder().encode


class JsonRejected(ValueError):
    """The data is not JSON we accept; the text says why, without quoting the data."""


def parse_json(
    data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH, allow_nonfinite: bool = False
) -> JsonValue:
    """One JSON document.

    Args:
        max_bytes: Refuse anything longer, before parsing.
        allow_nonfinite: Return NaN and infinities instead of refusing the document; only for files where
            each field is checked on its own afterwards.

    Returns:
        The document; control characters other than white space, and lone surrogates, are replaced by U+FFFD;
        integers are clamped to 64 bits.

    Raises:
        JsonRejected: Too long, not UTF-8, not JSON, nested too deep, or NaN or an infinity inside.
    """
    if len(data) > max_bytes:
        raise JsonRejected(f"it is longer than {max_bytes} bytes")
    try:
        # Refuses what is not UTF-8, lone surrogates, NaN, infinities and numbers beyond floats.
        value: JsonValue = _DECODE(data)
        long_number = _has_long_number(data)
    except (ValueError, RecursionError):
        value, long_number = None, True
    if long_number:
        # Takes all that Python can hold, and says what is wrong in words that a person could use.
        return _scrub(_loads(data), max_depth, allow_nonfinite)
    if _has_controls(data) or _is_deeper(value, max_depth, data):
        return _scrub(value, max_depth, allow_nonfinite)
    return value


def _loads(data: bytes) -> JsonValue:
    try:
        value: JsonValue = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise JsonRejected(_encoding(data, error)) from error
    except json.JSONDecodeError as error:
        raise JsonRejected(_where(error)) from error
    except RecursionError as error:
        raise JsonRejected("it is nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise JsonRejected("a number in it is too long") from error
    return value


def _has_long_number(data: bytes) -> bool:
    return _NINETEEN_DIGITS in data.translate(_DIGITS) and _LONG_NUMBER.search(data) is not None


def _has_controls(data: bytes) -> bool:
    """Whether a text in `data` may hold a character that `scrub_text` changes."""
    if b"\x7f" in data or (b"\xc2" in data and _RAW_CONTROL.search(data)):
        return True
    return b"\\" in data and (b"\\b" in data or _ESCAPED_CONTROL.search(data) is not None)


def _is_deeper(value: JsonValue, max_depth: int, data: bytes) -> bool:
    """Whether lists and objects are nested deeper. Most documents have not even so many of them."""
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return False
    level = [value]
    for _ in range(max_depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer if isinstance(outer, list) else outer.values())
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


def _encoding(data: bytes, error: UnicodeDecodeError) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is UTF-16 text; save it as UTF-8"
    return f"it is not UTF-8 text (byte {error.start})"


def _where(error: json.JSONDecodeError) -> str:
    if error.doc.startswith("\ufeff"):
        return "it starts with a byte order mark; save it as UTF-8 without one"
    if not error.doc.strip():
        return "it is empty"
    if not error.doc.strip("\0"):
        return "it is full of zeros, as a file is that was being written when the power failed"
    # The decoder's own messages ("Unterminated string starting at") contain no part of the document.
    return f"it is not JSON: {error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}"


def _scrub(value: JsonValue, depth_left: int, allow_nonfinite: bool) -> JsonValue:
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return max(INT_MIN, min(INT_MAX, value))
    if isinstance(value, float):
        if not (allow_nonfinite or math.isfinite(value)):
            raise JsonRejected("a number in it is not finite")
        return value
    if depth_left == 0:
        raise JsonRejected("it is nested too deeply")
    if isinstance(value, list):
        return [_scrub(item, depth_left - 1, allow_nonfinite) for item in value]
    return {scrub_text(key): _scrub(item, depth_left - 1, allow_nonfinite) for key, item in value.items()}


def scrub_text(text: str) -> str:
    """`text` with lone surrogates and control characters (other than white space) replaced by U+FFFD."""
    # Most texts are short and printable, which none of those characters is.
    return text if text.isprintable() else _BAD_CHARACTERS.sub("\ufffd", text)


def dump_json(value: JsonValue, *, indent: int | None = None) -> bytes:
    """UTF-8 JSON; ends with a line end when indented. NaN and infinities become null, as JSON has neither."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)
    # Characters that did not come through parse_json may hold surrogates: never fail on them here.
    return (text + ("\n" if indent else "")).encode("utf-8", errors="backslashreplace")


def dump_compact(value: JsonValue) -> bytes:
    """The same without spaces, for programs: megabytes in a tenth of the time."""
    try:
        return _ENCODE(value)
    except (UnicodeEncodeError, TypeError):
        return dump_json(value)


def _finite(value: JsonValue) -> JsonValue:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value
