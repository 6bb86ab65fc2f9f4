"""The keys of a GGUF header: those worth keeping are kept, all others are checked and passed.

Templates are hashed and searched for what they offer; they are never run and never kept.
"""

import hashlib
from typing import Final

from llama_runner.core.text import visible_controls
from llama_runner.runtime import gguf_format as fmt
from llama_runner.runtime.gguf_cursor import Cursor, Damaged

# Real names have less than 100 bytes. All names are remembered, to tell repeated ones.
MAX_NAME_BYTES: Final = 4 * 1024
# Names and licences are shown cut to a quarter of it.
_MAX_TEXT_BYTES: Final = 1024
# Where the texts are that anybody shows.
_GENERAL: Final = "general."
# The longest chat templates seen are below 64 KiB; a longer one is not hashed.
_MAX_TEMPLATE_BYTES: Final = 4 * 1024 * 1024
_TEMPLATE_KEY: Final = "tokenizer.chat_template"
# The one list whose sum counts: models whose layers differ give one number per layer, 10,000 at most (G12).
_SUMMED_KEY: Final = ".attention.head_count_kv"
_MAX_SUMMED: Final = 10_000
_MAX_COUNT: Final = 1 << 40

Scalar = int | float | bool | str
_TOKENS_KEY: Final = "tokenizer.ggml.tokens"
# Tokens that text in the middle is asked for with: before it, after it, its place. Few files name them by
# their keys; engines know them by these spellings (llama.cpp's vocabulary, Nov 2026).
_MIDDLES: Final[tuple[frozenset[bytes], ...]] = tuple(
    frozenset(text.encode() for text in texts.split())
    for texts in (
        "<|fim_prefix|> <fim-prefix> <fim_prefix> <PRE> ▁<PRE> <|code_prefix|> <|prefix|> <｜fim▁begin｜>",
        "<|fim_suffix|> <fim-suffix> <fim_suffix> <SUF> ▁<SUF> <|code_suffix|> <|suffix|> <｜fim▁hole｜>",
        "<|fim_middle|> <fim-middle> <fim_middle> <MID> ▁<MID> <|code_middle|> <|middle|> <｜fim▁end｜>",
    )
)
_MIDDLE_TOKENS: Final = frozenset().union(*_MIDDLES)
# The same by their ids, under newer and older names.
_MIDDLE_KEYS: Final = (("fim_pre", "fim_suf", "fim_mid"), ("prefix", "suffix", "middle"))


class Keys:
    """What was read so far.

    Attributes:
        sums: Of lists of integers with a number per layer.
        special: Tokens of the vocabulary that say what the model can do.
        warnings: What was odd but harmless.
    """

    def __init__(self) -> None:
        self.values: dict[str, Scalar] = {}
        self.template_sha256: str | None = None
        self.template_offers: tuple[str, ...] = ()
        self.sums: dict[str, int] = {}
        self.special: set[bytes] = set()
        self.warnings: list[str] = []
        self._seen: set[bytes] = set()

    def read_one(self, cursor: Cursor) -> None:
        """One key and its value."""
        length = cursor.length(MAX_NAME_BYTES, "a key")
        if not length:
            raise Damaged("it has a key without a name")
        raw = cursor.take(length)
        key = raw.decode("utf-8", errors="replace")
        repeated = raw in self._seen
        self._seen.add(raw)
        if repeated:
            self.warnings.append(f"The key {visible_controls(key, 64)} is there twice; the first counts.")
        kind = cursor.scalar("<I")
        if kind == fmt.ARRAY:
            total = self._array(cursor, key)
            if total is not None and not repeated:
                self.sums[key] = total
            return
        value = self._value(cursor, kind, "" if repeated else key)
        if value is not None and not repeated:
            self.values[key] = value

    @property
    def fills_in(self) -> bool:
        """Whether it has all three tokens that text in the middle is asked for with."""
        return all(self.special & texts for texts in _MIDDLES) or any(
            all(f"tokenizer.ggml.{name}_token_id" in self.values for name in names) for names in _MIDDLE_KEYS
        )

    def _array(self, cursor: Cursor, key: str) -> int | None:
        """Pass a list; the sum of one of integers that counts."""
        kind, count = cursor.scalar("<I"), cursor.scalar("<Q")
        if key.endswith(_SUMMED_KEY) and kind in fmt.INTEGERS and count <= _MAX_SUMMED:
            return sum(cursor.integers(fmt.SCALAR_FORMATS[kind], count))
        if kind == fmt.STRING:
            watched = _MIDDLE_TOKENS if key == _TOKENS_KEY else frozenset()
            self.special |= cursor.skip_strings(count, watched)
        elif (size := fmt.SCALAR_BYTES.get(kind)) is not None and count <= _MAX_COUNT:
            cursor.skip(count * size)
        else:
            # Nested lists are not used by any model; llama.cpp refuses them too.
            raise Damaged(f"it has a list of {count} values of type {kind}")
        return None

    def _value(self, cursor: Cursor, kind: int, key: str) -> Scalar | None:
        if kind == fmt.STRING:
            return self._text(cursor, key)
        form = fmt.SCALAR_FORMATS.get(kind)
        if form is None:
            raise Damaged(f"it has a value of unknown type {kind}")
        number = cursor.number(form)
        if kind == fmt.BOOL:
            if number not in (0, 1):
                raise Damaged(f"a yes-or-no value is {number}")
            return bool(number)
        return number

    def _text(self, cursor: Cursor, key: str) -> str | None:
        length = cursor.length(_MAX_COUNT, "a text")
        if key == _TEMPLATE_KEY and length <= _MAX_TEMPLATE_BYTES:
            template = cursor.take(length)
            self.template_sha256 = hashlib.sha256(template).hexdigest()
            self.template_offers = _offers(template)
            return None
        kept = cursor.take(min(length, _MAX_TEXT_BYTES if key.startswith(_GENERAL) else 0))
        cursor.skip(length - len(kept))
        return kept.decode("utf-8", errors="replace") if kept else None


def _offers(template: bytes) -> tuple[str, ...]:
    """What a chat template shows that its model can do."""
    found = ["tools"] if b"tools" in template or b"tool_call" in template else []
    if b"<think>" in template and b"</think>" in template:
        found.append("thinking")
    return tuple(found)
