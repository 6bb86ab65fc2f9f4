"""F13: what is left out of a load that ran out of memory."""

from dataclasses import replace

import pytest

from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.diagnosis import Cause
from llama_runner.runtime.gguf import GgufHeader
from llama_runner.runtime.smaller import smaller

HEADER = GgufHeader("llama", "x", "Q4_0", 131072, 1, 32, 0, None, 10)


@pytest.mark.parametrize(
    ("cause", "asked", "left"),
    [
        (Cause.MEMORY, {"context_length": 8192}, {"context_length": 4096}),
        (Cause.MEMORY, {}, {"context_length": 8192}),
        (Cause.MEMORY, {"gpu_layers": 10}, {"gpu_layers": 10, "context_length": 8192}),
        (Cause.GPU_MEMORY, {}, {"gpu_layers": 16}),
        (Cause.GPU_MEMORY, {"gpu_layers": 1}, {"gpu_layers": 0}),
        (Cause.GPU_MEMORY, {"gpu_layers": 9999}, {"gpu_layers": 16}),
        (Cause.GPU_MEMORY, {"gpu_layers": 0}, {"gpu_layers": 0, "context_length": 8192}),
    ],
)
def test_layers_leave_the_card_first_and_the_context_is_halved(
    cause: Cause, asked: dict[str, int], left: dict[str, int]
) -> None:
    header = replace(HEADER, block_count=32)
    found = smaller(LoadOptions.model_validate(asked), header, cause)
    assert found is not None
    assert found[0].model_dump(exclude_none=True) == left
    assert found[1].endswith(".")


@pytest.mark.parametrize("header", [None, replace(HEADER, context_length=None, block_count=None)])
def test_what_nothing_is_known_of_is_not_tried_again(header: GgufHeader | None) -> None:
    assert smaller(LoadOptions(), header, Cause.GPU_MEMORY) is None
    assert smaller(LoadOptions(context_length=600), header, Cause.MEMORY) is None
