from dataclasses import replace
from pathlib import Path

import pytest

from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.cards import fit
from llama_runner.runtime.catalogue import ModelFile
from llama_runner.runtime.gguf import GgufHeader
from llama_runner.runtime.memory import estimate
from llama_runner.runtime.pairing import Companion

GIB = 1 << 30
# 128 KiB a token: the whole context of 128 Ki tokens takes 16 GiB, 4 Ki tokens half a GiB.
HEADER = GgufHeader(
    architecture="llama",
    name="Eight",
    quantization="Q4_K_M",
    context_length=128 * 1024,
    block_count=32,
    embedding_length=4096,
    n_tensors=291,
    chat_template_sha256=None,
    file_size_bytes=5 * GIB,
    context_bytes_per_token=128 * 1024,
)
MODEL = ModelFile("eight", Path("/m.gguf"), 5 * GIB, HEADER, None, "models folder")


@pytest.mark.parametrize(
    ("room_gib", "mark"),
    [(32, "fits"), (22, "fits"), (21, "tight"), (6, "tight"), (5.5, "too large"), (0, "too large")],
)
def test_a_model_fits_tightly_when_only_a_shorter_context_does(room_gib: float, mark: str) -> None:
    found = fit(MODEL, round(room_gib * GIB))
    assert found is not None
    assert found.mark == mark
    assert found.need_bytes == estimate(HEADER, 5 * GIB, LoadOptions()).total_bytes
    assert found.room_bytes == round(room_gib * GIB)


def test_the_context_that_the_user_chose_is_not_made_shorter() -> None:
    chosen = replace(MODEL, parameters=LoadOptions(context_length=32 * 1024))
    for room_gib, mark in ((10, "fits"), (8, "too large")):
        found = fit(chosen, room_gib * GIB)
        assert found is not None
        assert found.mark == mark


def test_the_projector_counts() -> None:
    projector = Companion(Path("/mmproj.gguf"), replace(HEADER, kind="mmproj", file_size_bytes=2 * GIB))
    alone, seeing = fit(MODEL, GIB), fit(replace(MODEL, projector=projector), GIB)
    assert alone is not None
    assert seeing is not None
    assert seeing.need_bytes == alone.need_bytes + 2 * GIB


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert fit(MODEL, None) is None
    assert fit(replace(MODEL, header=None), GIB) is None
    assert fit(replace(MODEL, size_bytes=None), GIB) is None
