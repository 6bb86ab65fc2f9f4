"""Untrusted names as plain text: what would steer a terminal, a log or a reader's eye is made visible."""

import unicodedata
from typing import Final

# D7: the longest server or model name worth reading.
NAME_LIMIT: Final = 256
# More marks on one letter than any language uses cover the lines around it (U7).
MAX_COMBINING: Final = 4
ELLIPSIS: Final = "…"

_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and marks that draw nothing: a name made of them looks empty or equal to another one.
_BLANK_CHARACTERS: Final = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")


def visible_controls(text: str, limit: int = NAME_LIMIT) -> str:
    """`text` on one line, at most `limit` characters, with every control character made visible.

    C0 controls become their pictures (␛), all others their code point (⟨U+202E⟩); beyond `MAX_COMBINING`
    marks on one character the rest are dropped. What was cut ends in an ellipsis.
    """
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    pieces: list[str] = []
    marks = 0
    # One more than the limit is enough to know that something was cut, however long the text is.
    for character in text[: limit + 1]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MAX_COMBINING:
            pieces.append(_visible(character))
    return cut("".join(pieces), limit) if len(text) <= limit else cut("".join(pieces) + ELLIPSIS, limit)


def cut(text: str, limit: int) -> str:
    """The first `limit` characters of `text`, the last of them an ellipsis when something is missing."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + ELLIPSIS


def _visible(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if unicodedata.category(character) in _HIDDEN_CATEGORIES or character in _BLANK_CHARACTERS:
        return f"⟨U+{code:04X}⟩"
    return character
