"""Values of options as people type them: bounded numbers, durations, images, JSON schemas."""

import argparse
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from llama_runner.backends.images import image_of
from llama_runner.backends.request import Image
from llama_runner.core.errors import UsageError
from llama_runner.core.format import size
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json

# Larger than any photograph; a mistyped path must not fill the memory.
MAX_IMAGE_BYTES: Final = 32 * 1024 * 1024
MAX_SCHEMA_BYTES: Final = 1024 * 1024
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def number(low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a finite number within bounds."""

    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    # argparse names the type when the text is no number at all.
    parse.__name__ = "number"
    return parse


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number within bounds."""

    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    parse.__name__ = "whole number"
    return parse


def duration_s(text: str) -> float:
    """An argparse type: seconds, or 5m, 1h30m; a negative number means for ever."""
    if _DURATION.fullmatch(text):
        return sum(float(amount) * _UNITS_S[unit] for amount, unit in _DURATION_PART.findall(text))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: give seconds, or for example 5m or 1h30m")
    return value


def switch(text: str) -> bool:
    """An argparse type: on or off."""
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither on nor off")
    return text == "on"


def read_image(path: Path) -> Image:
    """The image in a file, by what it begins with and not by its name. Raises UsageError."""
    image = image_of(_read(path, MAX_IMAGE_BYTES))
    if image is None:
        raise UsageError(
            f"{path} is not an image that models take.", "Give a PNG, JPEG, GIF, WebP or BMP file."
        )
    return image


def read_schema(path: Path) -> dict[str, JsonValue]:
    """The JSON schema in a file. Raises UsageError."""
    try:
        schema = parse_json(_read(path, MAX_SCHEMA_BYTES), max_bytes=MAX_SCHEMA_BYTES)
    except JsonRejected as error:
        raise UsageError(f"{path} is not JSON: {error}.", "Give a file that holds a JSON schema.") from error
    if not isinstance(schema, dict):
        raise UsageError(f"{path} is no JSON schema.", f"It has to hold an object, such as {_EXAMPLE}.")
    return schema


_EXAMPLE: Final = json.dumps({"type": "object", "properties": {"name": {"type": "string"}}})


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    if len(data) > max_bytes:
        raise UsageError(f"{path} is larger than {size(max_bytes)}.", "Give a smaller file.")
    return data
