"""Bounded reading of GGUF headers: hostile files cost milliseconds and never memory. Never reads weights.

Refuses what llama.cpp would refuse or crash on and says what the file really is. Templates are only hashed.
"""

import math
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

from llama_runner.core.errors import ModelFileError
from llama_runner.core.format import size as format_size
from llama_runner.core.text import visible_controls
from llama_runner.runtime import gguf_format as fmt
from llama_runner.runtime.gguf_cursor import Cursor, Damaged
from llama_runner.runtime.gguf_keys import MAX_NAME_BYTES, Keys, Scalar
from llama_runner.runtime.gguf_shape import context_bytes_per_token

# Real models have 20 to 80 keys, and at most 14,000 tensors where each expert has its own. More would only
# cost time and memory: at these caps the whole header takes a quarter of a second.
_MAX_KEYS: Final = 4_096
_MAX_TENSORS: Final = 32_768
_MAX_DIMENSIONS: Final = 4
_MAX_PARAMETERS: Final = 1 << 50
_MAX_ELEMENTS: Final = 1 << 62
_START_BYTES: Final = 512
# Magic, version and the two counts.
_SHORTEST_BYTES: Final = 24

_USUAL_NAME_BYTES: Final = 64
# In the names of the weights that llama.cpp's --cpu-moe keeps in main memory: blk.0.ffn_up_exps.weight.
_EXPERTS: Final = b"exps"
# `<architecture>.pooling_type` of models that rank documents by a question.
_POOLING_RANK: Final = 4
# The architecture of everything that turns pictures or sound into tokens.
_PROJECTOR: Final = "clip"


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
        capabilities: In Ollama's words, inferred as Ollama does: completion or embedding, tools, thinking,
            insert; rerank; of a projector what it adds to its model: vision, audio.
        base_name: Of the family, such as "Llama-3.2"; `size_label` follows it in most names.
        expert_bytes: Of the experts that a token chooses among; they may stay in main memory.
        base_model: What it was made from, by name; of an adapter the model it goes with.
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
    base_name: str | None = None
    size_label: str | None = None
    base_model: str | None = None
    license: str | None = None
    expert_bytes: int = 0


def read_gguf(path: Path) -> GgufHeader:
    """The header of a GGUF file. Blocking, bounded in time and memory.

    Raises:
        ModelFileError: Missing, unreadable, not GGUF (names what it is instead), damaged or incomplete.
    """
    try:
        # Before opening: opening a FIFO would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelFileError(f"{_shown(path)} is not a file.", "Choose the GGUF file itself.")
        with path.open("rb", buffering=0) as file:
            return _read(file, path)
    except FileNotFoundError as error:
        raise ModelFileError(
            f"There is no file {_shown(path)}.", "Check the path, or refresh the list of models."
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{_shown(path)} cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error
    except Damaged as error:
        raise ModelFileError(
            f"{_shown(path.name)} is damaged: {error}.", "Download it again, or choose another file."
        ) from error


def _shown(name: object) -> str:
    """The name of a file is whatever somebody gave it."""
    return visible_controls(str(name), 1024)


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
    keys = Keys()
    for _ in range(n_keys):
        keys.read_one(cursor)
    tensors = _tensors(cursor, n_tensors, _alignment(keys.values))
    missing = tensors.end - size if n_tensors else 0
    if missing > 0:
        raise ModelFileError(
            f"{_shown(path.name)} is incomplete: {format_size(missing)} are missing at its end.",
            "Download it again.",
        )
    return _header(keys, n_tensors, tensors, size)


def _check_start(file: BinaryIO, path: Path) -> None:
    start = file.read(_START_BYTES)
    if start.startswith(fmt.MAGIC) and len(start) >= _SHORTEST_BYTES:
        return
    what = f"only {len(start)} bytes long" if start.startswith(fmt.MAGIC) else fmt.really_is(start)
    told = f": it is {what}" if what else ""
    raise ModelFileError(
        f"{_shown(path.name)} is not a GGUF file{told}.",
        "Choose a model file in GGUF format, or download it again.",
    )


def _check_version(version: int, path: Path) -> None:
    if version in (2, 3):
        return
    if version in (2 << 24, 3 << 24):
        raise ModelFileError(
            f"{_shown(path.name)} was made for big-endian machines.", "Download the little-endian version."
        )
    age = "too old" if version < 2 else "newer than this program knows"
    raise ModelFileError(
        f"{_shown(path.name)} is GGUF version {version}, which is {age}.",
        "Download or convert the model in GGUF version 3.",
    )


def _alignment(values: Mapping[str, Scalar]) -> int:
    alignment = values.get("general.alignment", fmt.DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise Damaged(f"its alignment is {alignment}")
    return alignment


@dataclass(frozen=True, slots=True)
class _Tensors:
    """All tensors of a file.

    Attributes:
        end: Where the data of the last one ends, in bytes from the file's start.
        n_weights: Values in all of them.
    """

    end: int
    n_weights: int
    expert_bytes: int


def _tensors(cursor: Cursor, n_tensors: int, alignment: int) -> _Tensors:
    extents: list[tuple[int, int]] = []
    n_weights = expert_bytes = 0
    for _ in range(n_tensors):
        start, end, elements, is_expert = _tensor(cursor, alignment)
        extents.append((start, end))
        n_weights += elements
        expert_bytes += end - start if is_expert else 0
    extents.sort()
    # G11: where two share bytes, llama.cpp refuses to load.
    if any(end > following for (_, end), (following, _) in pairwise(extents)):
        raise Damaged("two tensors overlap")
    data_start = -(-cursor.position // alignment) * alignment
    last = max((end for _, end in extents), default=0)
    return _Tensors(data_start + last, n_weights, expert_bytes)


def _tensor(cursor: Cursor, alignment: int) -> tuple[int, int, int, bool]:
    """Where one tensor's data starts and ends from all data's start, its values, whether they are experts."""
    length = cursor.length(MAX_NAME_BYTES, "a tensor's name")
    # llama.cpp's names end within 64 bytes; longer ones are passed over unread.
    name = cursor.take(length) if length <= _USUAL_NAME_BYTES else b""
    cursor.skip(length - len(name))
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
    end = offset + -(-elements // per_block) * block_bytes
    return offset, end, elements, _EXPERTS in name


def _header(keys: Keys, n_tensors: int, tensors: _Tensors, size: int) -> GgufHeader:
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
        kind=_kind(values, architecture),
        split_count=_count_of(values, "split.count"),
        warnings=tuple(keys.warnings[:_MAX_WARNINGS]),
        parameter_count=tensors.n_weights if 0 < tensors.n_weights < _MAX_PARAMETERS else None,
        context_bytes_per_token=context_bytes_per_token(values, keys.sums, architecture),
        capabilities=_capabilities(keys, architecture),
        base_name=_text_of(values, "general.basename"),
        size_label=_text_of(values, "general.size_label"),
        base_model=_text_of(values, "general.base_model.0.name"),
        license=_text_of(values, "general.license"),
        expert_bytes=tensors.expert_bytes,
    )


def _kind(values: Mapping[str, Scalar], architecture: str | None) -> str:
    return "mmproj" if architecture == _PROJECTOR else _text_of(values, "general.type") or "model"


def _capabilities(keys: Keys, architecture: str | None) -> tuple[str, ...]:
    if architecture == _PROJECTOR:
        return _senses(keys.values)
    pooling = keys.values.get(f"{architecture}.pooling_type")
    if pooling is not None:
        return ("embedding", "rerank") if pooling == _POOLING_RANK else ("embedding",)
    return ("completion", *keys.template_offers, *(("insert",) if keys.fills_in else ()))


def _senses(values: Mapping[str, Scalar]) -> tuple[str, ...]:
    """What a projector makes a model understand; older files say nothing and mean pictures."""
    senses = [
        sense
        for sense, key in (("vision", "clip.has_vision_encoder"), ("audio", "clip.has_audio_encoder"))
        if values.get(key) is True
    ]
    return tuple(senses) or ("vision",)


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
