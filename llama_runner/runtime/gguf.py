"""Bounded reading of GGUF headers: hostile files cost milliseconds and never memory. Never reads weights.

Refuses what llama.cpp would refuse or crash on and says what the file really is. Templates are only hashed.
"""

import hashlib
import math
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from llama_runner.core.errors import ModelFileError
from llama_runner.core.format import size as format_size
from llama_runner.core.text import visible_controls
from llama_runner.runtime import gguf_format as fmt
from llama_runner.runtime.gguf_cursor import Cursor, Damaged
from llama_runner.runtime.gguf_shape import context_bytes_per_token

# Real models have 20 to 80 keys and at most some ten thousand tensors.
_MAX_KEYS: Final = 65_536
_MAX_TENSORS: Final = 65_536
# The format's own limit.
_MAX_KEY_BYTES: Final = 65_535
_MAX_NAME_BYTES: Final = 4 * 1024
# The longest chat templates seen are below 64 KiB; a longer one is not hashed.
_MAX_TEMPLATE_BYTES: Final = 4 * 1024 * 1024
_MAX_DIMENSIONS: Final = 4
# Lists with a number per layer are as long as a model is deep; vocabularies are not summed.
_MAX_SUMMED: Final = 1024
_MAX_COUNT: Final = 1 << 40
_MAX_ELEMENTS: Final = 1 << 62
_START_BYTES: Final = 512
# Magic, version and the two counts.
_SHORTEST_BYTES: Final = 24

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a model file says about itself; None where it does not, or says nonsense.

    Attributes:
        kind: "model", "mmproj", "adapter", "vocab": as `general.type`, or by its architecture.
        quantization: Of most weights, for example "Q4_K_M".
        chat_template_sha256: Of the template's bytes; the template itself is never kept.
        split_count: Files this model consists of, None when it is whole.
        parameter_count: Weights in this file.
        context_bytes_per_token: Memory that one token of context takes, as 16-bit floats.
        capabilities: In Ollama's words, inferred as Ollama does: completion or embedding, tools, thinking.
        warnings: What was odd but harmless.
    """

    architecture: str | None
    name: str | None
    quantization: str | None
    context_length: int | None
    block_count: int | None
    embedding_length: int | None
    n_tensors: int
    chat_template_sha256: str | None
    file_size_bytes: int
    kind: str = "model"
    split_count: int | None = None
    warnings: tuple[str, ...] = ()
    parameter_count: int | None = None
    context_bytes_per_token: int | None = None
    capabilities: tuple[str, ...] = ("completion",)


def read_gguf(path: Path) -> GgufHeader:
    """The header of a GGUF file. Blocking, bounded in time and memory.

    Raises:
        ModelFileError: Missing, unreadable, not GGUF (names what it is instead), damaged or incomplete.
    """
    try:
        # Before opening: opening a FIFO would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelFileError(f"{path} is not a file.", "Choose the GGUF file itself.")
        with path.open("rb", buffering=0) as file:
            return _read(file, path)
    except FileNotFoundError as error:
        raise ModelFileError(
            f"There is no file {path}.", "Check the path, or refresh the list of models."
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error
    except Damaged as error:
        raise ModelFileError(
            f"{path.name} is damaged: {error}.", "Download it again, or choose another file."
        ) from error


def _read(file: BinaryIO, path: Path) -> GgufHeader:
    size = os.fstat(file.fileno()).st_size
    _check_start(file, path)
    cursor = Cursor(file, size, at=len(fmt.MAGIC))
    _check_version(cursor.scalar("<I"), path)
    n_tensors, n_keys = cursor.scalar("<Q"), cursor.scalar("<Q")
    if n_keys > _MAX_KEYS:
        raise Damaged(f"it claims {n_keys} keys")
    if n_tensors > _MAX_TENSORS:
        raise Damaged(f"it claims {n_tensors} tensors")
    keys = _Keys()
    for _ in range(n_keys):
        keys.read_one(cursor)
    missing, n_weights = _tensors(cursor, n_tensors, _alignment(keys.values), size)
    if missing > 0:
        raise ModelFileError(
            f"{path.name} is incomplete: {format_size(missing)} are missing at its end.", "Download it again."
        )
    return _header(keys, n_tensors, n_weights, size)


def _check_start(file: BinaryIO, path: Path) -> None:
    start = file.read(_START_BYTES)
    if start.startswith(fmt.MAGIC) and len(start) >= _SHORTEST_BYTES:
        return
    what = f"only {len(start)} bytes long" if start.startswith(fmt.MAGIC) else fmt.really_is(start)
    told = f": it is {what}" if what else ""
    raise ModelFileError(
        f"{path.name} is not a GGUF file{told}.", "Choose a model file in GGUF format, or download it again."
    )


def _check_version(version: int, path: Path) -> None:
    if version in (2, 3):
        return
    if version in (2 << 24, 3 << 24):
        raise ModelFileError(
            f"{path.name} was made for big-endian machines.", "Download the little-endian version."
        )
    age = "too old" if version < 2 else "newer than this program knows"
    raise ModelFileError(
        f"{path.name} is GGUF version {version}, which is {age}.",
        "Download or convert the model in GGUF version 3.",
    )


class _Keys:
    """The keys worth keeping; all others are checked and passed."""

    def __init__(self) -> None:
        self.values: dict[str, Scalar] = {}
        self.template_sha256: str | None = None
        self.template_offers: tuple[str, ...] = ()
        # Of lists of integers: models whose layers differ give one number per layer.
        self.sums: dict[str, int] = {}
        self.warnings: list[str] = []
        self._seen: set[bytes] = set()

    def read_one(self, cursor: Cursor) -> None:
        """One key and its value."""
        length = cursor.length(_MAX_KEY_BYTES, "a key")
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
            total = _array(cursor)
            if total is not None and not repeated:
                self.sums[key] = total
            return
        value = self._value(cursor, kind, keep_template=not repeated and key == "tokenizer.chat_template")
        if value is not None and not repeated:
            self.values[key] = value

    def _value(self, cursor: Cursor, kind: int, *, keep_template: bool) -> Scalar | None:
        if kind == fmt.STRING:
            return self._text(cursor, keep_template=keep_template)
        form = fmt.SCALAR_FORMATS.get(kind)
        if form is None:
            raise Damaged(f"it has a value of unknown type {kind}")
        number = cursor.number(form)
        if kind == fmt.BOOL:
            if number not in (0, 1):
                raise Damaged(f"a yes-or-no value is {number}")
            return bool(number)
        return number

    def _text(self, cursor: Cursor, *, keep_template: bool) -> str | None:
        length = cursor.length(_MAX_COUNT, "a text")
        if keep_template and length <= _MAX_TEMPLATE_BYTES:
            template = cursor.take(length)
            self.template_sha256 = hashlib.sha256(template).hexdigest()
            self.template_offers = _offers(template)
            return None
        kept = cursor.take(min(length, _MAX_NAME_BYTES))
        cursor.skip(length - len(kept))
        return kept.decode("utf-8", errors="replace")


def _array(cursor: Cursor) -> int | None:
    """Pass a list; the sum of a short one of integers."""
    kind, count = cursor.scalar("<I"), cursor.scalar("<Q")
    if kind in fmt.INTEGERS and count <= _MAX_SUMMED:
        return sum(int(cursor.number(fmt.SCALAR_FORMATS[kind])) for _ in range(count))
    if kind == fmt.STRING:
        cursor.skip_strings(count)
    elif (size := fmt.SCALAR_BYTES.get(kind)) is not None and count <= _MAX_COUNT:
        cursor.skip(count * size)
    else:
        # Nested lists are not used by any model; llama.cpp refuses them too.
        raise Damaged(f"it has a list of {count} values of type {kind}")
    return None


def _alignment(values: Mapping[str, Scalar]) -> int:
    alignment = values.get("general.alignment", fmt.DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise Damaged(f"its alignment is {alignment}")
    return alignment


def _offers(template: bytes) -> tuple[str, ...]:
    """What a chat template shows that its model can do; the template is never run."""
    found = ["tools"] if b"tools" in template or b"tool_call" in template else []
    if b"<think>" in template and b"</think>" in template:
        found.append("thinking")
    return tuple(found)


def _tensors(cursor: Cursor, n_tensors: int, alignment: int, size: int) -> tuple[int, int]:
    """Bytes the tensors claim beyond the end of the file, 0 or less when all are there; and all weights."""
    end, n_weights = 0, 0
    for _ in range(n_tensors):
        tensor_end, elements = _tensor(cursor, alignment)
        end, n_weights = max(end, tensor_end), n_weights + elements
    data_start = -(-cursor.position // alignment) * alignment
    return (data_start + end - size if n_tensors else 0), n_weights


def _tensor(cursor: Cursor, alignment: int) -> tuple[int, int]:
    """Where one tensor's data ends, counted from the start of all data, and how many values it has."""
    cursor.skip(cursor.length(_MAX_KEY_BYTES, "a tensor's name"))
    n_dimensions = cursor.scalar("<I")
    if n_dimensions > _MAX_DIMENSIONS:
        raise Damaged(f"it has a tensor of {n_dimensions} dimensions")
    elements: int = math.prod(struct.unpack(f"<{n_dimensions}Q", cursor.take(8 * n_dimensions)))
    if elements > _MAX_ELEMENTS:
        raise Damaged(f"it claims a tensor of {elements} values")
    kind, offset = cursor.scalar("<I"), cursor.scalar("<Q")
    if offset % alignment:
        raise Damaged("a tensor is not aligned")
    # A type newer than this table: its size is unknown, its offset is not.
    per_block, block_bytes = fmt.TENSOR_BLOCKS.get(kind, (1, 0))
    return offset + -(-elements // per_block) * block_bytes, elements


def _header(keys: _Keys, n_tensors: int, n_weights: int, size: int) -> GgufHeader:
    values = keys.values
    architecture = _text_of(values, "general.architecture")
    file_type = values.get("general.file_type")
    return GgufHeader(
        architecture=architecture,
        name=_text_of(values, "general.name"),
        quantization=fmt.FILE_TYPES.get(file_type) if isinstance(file_type, int) else None,
        context_length=_count_of(values, f"{architecture}.context_length"),
        block_count=_count_of(values, f"{architecture}.block_count"),
        embedding_length=_count_of(values, f"{architecture}.embedding_length"),
        n_tensors=n_tensors,
        chat_template_sha256=keys.template_sha256,
        file_size_bytes=size,
        kind="mmproj" if architecture == "clip" else _text_of(values, "general.type") or "model",
        split_count=_count_of(values, "split.count"),
        warnings=tuple(keys.warnings[:_MAX_WARNINGS]),
        parameter_count=n_weights if 0 < n_weights < _MAX_COUNT * 1024 else None,
        context_bytes_per_token=context_bytes_per_token(values, keys.sums, architecture),
        capabilities=_capabilities(keys, architecture),
    )


def _capabilities(keys: _Keys, architecture: str | None) -> tuple[str, ...]:
    if f"{architecture}.pooling_type" in keys.values:
        return ("embedding",)
    return ("completion", *keys.template_offers)


# A file with more oddities than a person reads is not better described by all of them.
_MAX_WARNINGS: Final = 10


def _text_of(values: Mapping[str, Scalar], key: str) -> str | None:
    value = values.get(key)
    return visible_controls(value) or None if isinstance(value, str) else None


def _count_of(values: Mapping[str, Scalar], key: str) -> int | None:
    """A plausible positive count (G12), else None."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value < 1 << 31 else None
