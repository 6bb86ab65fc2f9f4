from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.gguf import read_gguf
from llama_runner.runtime.gguf_shape import context_bytes_per_token
from llama_runner.runtime.memory import Resident, estimate, plan_room

GIB = 1024**3


def resident(
    name: str, gib: float, *, in_flight: int = 0, idle_s: float | None = 0.0, pinned: bool = False
) -> Resident:
    return Resident(name, name, int(gib * GIB), in_flight, None if in_flight else idle_s, pinned)


def test_the_estimate_of_a_real_model_is_what_the_engine_reports(demo_model: Path) -> None:
    """b10434 prints at 8192 and 2048 tokens: model 92 MiB, context 180 and 45 MiB, compute 21 and 15."""
    header = read_gguf(demo_model)
    for tokens, context_mib in ((8192, 180), (2048, 45)):
        need = estimate(header, header.file_size_bytes, LoadOptions(context_length=tokens))
        assert need.context_bytes == context_mib * 1024**2
        assert need.weights_bytes == header.file_size_bytes
    assert header.capabilities == ("completion",)
    assert header.parameter_count == 134_515_008


def test_smaller_types_of_keys_and_values_need_less(demo_model: Path) -> None:
    header = read_gguf(demo_model)
    full = estimate(header, 1, LoadOptions(context_length=8192)).context_bytes
    small = LoadOptions(context_length=8192, cache_type_k="q8_0", cache_type_v="q8_0")
    assert estimate(header, 1, small).context_bytes == round(full * 34 / 64)


@pytest.mark.parametrize(
    ("values", "sums", "expected"),
    [
        # 32 layers, 8 KV heads of 128: Llama 3.1 8B takes 128 KiB a token.
        (
            {
                "block_count": 32,
                "embedding_length": 4096,
                "attention.head_count": 32,
                "attention.head_count_kv": 8,
            },
            {},
            131_072,
        ),
        # No KV heads given: as many as heads.
        ({"block_count": 2, "embedding_length": 64, "attention.head_count": 4}, {}, 2 * 4 * 32 * 2),
        # Head sizes of their own.
        (
            {
                "block_count": 1,
                "embedding_length": 64,
                "attention.head_count": 4,
                "attention.head_count_kv": 1,
                "attention.key_length": 256,
                "attention.value_length": 128,
            },
            {},
            (256 + 128) * 2,
        ),
        # Layers that differ.
        (
            {"block_count": 4, "embedding_length": 64, "attention.head_count": 4},
            {"attention.head_count_kv": 6},
            6 * 32 * 2,
        ),
        # Latent attention.
        ({"block_count": 10, "attention.kv_lora_rank": 512, "rope.dimension_count": 64}, {}, 10 * 576 * 2),
        # G12.
        ({"block_count": -1, "embedding_length": 64, "attention.head_count": 4}, {}, None),
        ({"block_count": 4, "embedding_length": 64, "attention.head_count": 0}, {}, None),
        ({"block_count": 2**31, "embedding_length": 64, "attention.head_count": 4}, {}, None),
        ({}, {}, None),
    ],
)
def test_bytes_of_context_per_token(
    values: dict[str, int], sums: dict[str, int], expected: int | None
) -> None:
    named = {f"x.{name}": value for name, value in values.items()}
    assert context_bytes_per_token(named, {f"x.{n}": v for n, v in sums.items()}, "x") == expected


def test_nobody_leaves_when_there_is_room() -> None:
    plan = plan_room(GIB, GIB, [resident("a", 4)])
    assert plan.fits and plan.evict == () and [one.id for one in plan.keep] == ["a"]


def test_what_was_used_longest_ago_leaves_first() -> None:
    residents = [resident("new", 2, idle_s=1), resident("old", 2, idle_s=100), resident("mid", 2, idle_s=50)]
    plan = plan_room(4 * GIB, GIB, residents)
    assert [one.id for one in plan.evict] == ["old", "mid"]
    assert [one.id for one in plan.keep] == ["new"]


def test_the_idle_leave_before_those_that_work() -> None:
    plan = plan_room(2 * GIB, 0, [resident("busy", 4, in_flight=1), resident("idle", 2)])
    assert [one.id for one in plan.evict] == ["idle"]


def test_the_pinned_never_leave_and_nobody_leaves_in_vain() -> None:
    residents = [resident("pinned", 8, pinned=True), resident("small", 1)]
    plan = plan_room(4 * GIB, 0, residents)
    assert not plan.fits and plan.evict == () and len(plan.keep) == 2


@given(
    st.integers(0, 20),
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.floats(0, 1e6), st.booleans()), max_size=8),
)
def test_a_plan_is_always_sound(need: int, free: int, loaded: list[tuple[int, int, float, bool]]) -> None:
    residents = [
        resident(str(n), gib, in_flight=flying, idle_s=idle, pinned=pinned)
        for n, (gib, flying, idle, pinned) in enumerate(loaded)
    ]
    plan = plan_room(need * GIB, free * GIB, residents)
    assert {one.id for one in plan.evict} | {one.id for one in plan.keep} == {one.id for one in residents}
    assert not any(one.pinned for one in plan.evict)
    freed = sum(one.bytes for one in plan.evict)
    movable = sum(one.bytes for one in residents if not one.pinned)
    assert plan.fits == (need * GIB <= free * GIB + movable)
    if plan.evict:
        # None of them too many: without the last one it would not fit.
        assert free * GIB + freed - plan.evict[-1].bytes < need * GIB <= free * GIB + freed
