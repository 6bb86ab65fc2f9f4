"""JSON schemas in requests, bounded: the engine makes grammars of them, and some hang it for everybody.

Measured on llama-server b10434: 500 alternatives take 2 seconds, 2,000 minutes, and so does a pattern of a
hundred optional groups (H18). Its own limits concern memory, not time.
"""

import re
from typing import Final

from llama_runner.core.errors import InvalidRequestError
from llama_runner.core.jsonio import JsonValue

# Choices in one place, and in one grammar altogether: an agent's hundred tools have some thousand.
MAX_CHOICES: Final = 512
MAX_ALL_CHOICES: Final = 8192
MAX_PATTERN_CHARS: Final = 256
# Each may double the ways that a text can be read.
MAX_LOOSE: Final = 8
_LISTS: Final = ("enum", "anyOf", "oneOf", "allOf", "prefixItems", "items", "required")
_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LOOSE: Final = re.compile(r"[?*+{|]")
_REPEATED_GROUP: Final = re.compile(r"\)[?*+{]")


def bounded(schema: JsonValue) -> JsonValue:
    """The same, without patterns that are too much for the engine: what it writes is then not held to them.

    Raises InvalidRequestError when there are more choices than the engine can weigh.
    """
    return _Bounded().of(schema)


def is_simple(pattern: str) -> bool:
    """Whether the engine can follow a pattern without trying a great many readings of each text."""
    if len(pattern) > MAX_PATTERN_CHARS or _REPEATED_GROUP.search(pattern):
        return False
    return len(_LOOSE.findall(pattern)) <= MAX_LOOSE


class _Bounded:
    def __init__(self) -> None:
        self._n_choices = 0

    def of(self, value: JsonValue) -> JsonValue:
        if isinstance(value, list):
            return [self.of(item) for item in value]
        if not isinstance(value, dict):
            return value
        for name in (*_LISTS, *_MAPS):
            self._count(name, value.get(name))
        return {
            name: self.of(inner)
            for name, inner in value.items()
            if name != "pattern" or not isinstance(inner, str) or is_simple(inner)
        }

    def _count(self, name: str, choices: JsonValue) -> None:
        if not isinstance(choices, list | dict):
            return
        self._n_choices += len(choices)
        if len(choices) > MAX_CHOICES or self._n_choices > MAX_ALL_CHOICES:
            raise InvalidRequestError(
                f"A schema has too many choices ({name}).", "Make it smaller, or check the answer yourself."
            )
