"""What the worst files cost: at most half a second and 64 MiB each (G3 to G6, G13, G14, G16)."""

import struct
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from llama_runner.core.errors import ModelFileError
from llama_runner.runtime.gguf import read_gguf
from tests.fakes.gguf_files import (
    ARRAY,
    I32,
    STRING,
    U8,
    U32,
    U64,
    array,
    good_file,
    header,
    key,
    tensor,
    text,
)

MIB: Final = 1 << 20
# The promise on a quiet machine; a slow one gets four times as long before the test says so.
LIMIT_S: Final = 0.5
PATIENCE: Final = 4


def _many_keys() -> bytes:
    return header([key(f"{n:04}" + "k" * 4000, U32, n) for n in range(4096)])


def _many_texts() -> bytes:
    return header([key(f"general.{n:04}", STRING, "😀" * 1000) for n in range(4096)])


def _many_lists() -> bytes:
    one = array(U8, 1024, bytes(1024))
    return header([key(f"{n}.attention.head_count_kv", ARRAY, one) for n in range(4096)])


def _long_sums() -> bytes:
    one = array(I32, 10_000, bytes(40_000))
    return header([key(f"{n}.attention.head_count_kv", ARRAY, one) for n in range(1000)])


def _many_tensors() -> bytes:
    tensors = [tensor(f"blk.{n}.attn_q.weight", (1, 1, 1, 1), offset=32 * n) for n in range(32_768)]
    return header(tensors=tensors, data=bytes(32 * 32_768))


def _many_strings() -> bytes:
    return header(
        [
            key("tokens", ARRAY, array(STRING, 1 << 20, bytes(8 << 20))),
            key("merges", ARRAY, array(STRING, 1 << 19, bytes(4 << 20))),
        ]
    )


def _long_strings() -> bytes:
    return header([key("tokens", ARRAY, array(STRING, 40, (struct.pack("<Q", MIB) + bytes(MIB)) * 40))])


def _seventy_billion() -> bytes:
    """The header of Llama 3 70B: 128,256 tokens, 280,147 merges, 723 tensors."""
    tokens = array(STRING, 128_256, b"".join(text(f"token{n}") for n in range(128_256)))
    merges = array(STRING, 280_147, b"".join(text(f"a{n} b{n}") for n in range(280_147)))
    return header(
        [
            key("general.architecture", STRING, "llama"),
            key("tokenizer.ggml.tokens", ARRAY, tokens),
            key("tokenizer.ggml.token_type", ARRAY, array(I32, 128_256, bytes(4 * 128_256))),
            key("tokenizer.ggml.merges", ARRAY, merges),
            key("tokenizer.chat_template", STRING, "{{ messages }}" * 400),
        ],
        [tensor(f"blk.{n}.attn_q.weight", (64,), offset=256 * n) for n in range(723)],
        data=bytes(256 * 723),
    )


FILES: Final[dict[str, Callable[[], bytes]]] = {
    "many keys with long names": _many_keys,
    "many texts": _many_texts,
    "many lists": _many_lists,
    "long lists": _long_sums,
    "many tensors": _many_tensors,
    "many strings": _many_strings,
    "long strings": _long_strings,
    "a huge name": lambda: header([key("general.name", STRING, "x" * 10_000_000)]),
    "a huge template": lambda: good_file(key("tokenizer.chat_template", STRING, "x" * 50_000_000)),
    "a list that lies": lambda: header([key("t", ARRAY, array(U64, 1 << 62))]),
    "a large real header": _seventy_billion,
}


def _look(path: Path) -> None:
    with suppress(ModelFileError):
        read_gguf(path)


# Those of which something is kept; of all others a window of a megabyte is.
KEPT: Final = ("many keys with long names", "many texts", "many lists", "many tensors", "a huge template")


@pytest.mark.parametrize("name", KEPT)
def test_no_file_takes_more_than_64_mib(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(FILES[name]())
    tracemalloc.start()
    try:
        _look(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 64 * MIB


@pytest.mark.timing
@pytest.mark.parametrize("name", FILES)
def test_no_file_takes_long(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(FILES[name]())
    began = time.perf_counter()
    _look(path)
    assert time.perf_counter() - began < LIMIT_S * PATIENCE


def test_g16_texts_far_apart_in_a_sparse_file_are_given_up(tmp_path: Path) -> None:
    """A million of them, each a megabyte from the last, would otherwise be a terabyte of reading."""
    path = tmp_path / "x.gguf"
    start = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("tokens") + struct.pack("<IIQ", ARRAY, STRING, 100)
    with path.open("wb") as file:
        file.write(start)
        for n in range(100):
            file.seek(len(start) + n * (2 * MIB + 8))
            file.write(struct.pack("<Q", 2 * MIB))
        file.truncate(len(start) + 101 * (2 * MIB + 8))
    with pytest.raises(ModelFileError, match="longer than 48 MiB"):
        read_gguf(path)


def test_g16_a_terabyte_of_nothing_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    content = header([key("general.architecture", STRING, "llama")], [tensor("t", (1 << 37, 2))])
    with path.open("wb") as file:
        file.write(content)
        try:
            file.truncate(len(content) + (4 << 38))
        except OSError as error:
            pytest.skip(f"this file system has no such files: {error.strerror}")
    assert read_gguf(path).parameter_count == 1 << 38
