"""What goes to graphics cards, and who leaves for it. Numbers in, plans out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.gguf import GgufHeader
from llama_runner.runtime.gpu import Card, usable
from llama_runner.runtime.memory import (
    BASE_BYTES,
    GPU_BASE_BYTES,
    GPU_MARGIN_BYTES,
    MemoryNeed,
    Resident,
    estimate,
    layers_that_fit,
    plan_room,
)

GIB = 1024**3
# 31 blocks and the output: 32 layers of 1 GiB, 1 MiB of context a token.
HEADER = replace(
    GgufHeader("llama", "x", "Q4_0", 4096, 31, 1024, 0, None, 32 * GIB), context_bytes_per_token=1024**2
)
SIZE = 32 * GIB


def need(**options: object) -> MemoryNeed:
    return estimate(HEADER, SIZE, LoadOptions(context_length=1024, **options), gpu=True)  # type: ignore[arg-type]


def test_layers_on_the_card_take_their_share_of_weights_and_context() -> None:
    half = need(gpu_layers=16)
    assert (half.vram_weights_bytes, half.vram_context_bytes) == (16 * GIB, GIB // 2)
    assert half.weights_bytes == SIZE and half.context_bytes == GIB
    assert half.ram_bytes + half.vram_bytes == half.total_bytes
    assert half.vram_work_bytes == half.work_bytes - BASE_BYTES > GPU_BASE_BYTES
    assert need(gpu_layers=999).vram_weights_bytes == SIZE


@pytest.mark.parametrize("options", [{}, {"gpu_layers": 0}])
def test_without_layers_on_the_card_nothing_goes_there(options: dict[str, int]) -> None:
    assert need(**options).vram_bytes == 0
    assert estimate(HEADER, SIZE, LoadOptions(gpu_layers=99), gpu=False).vram_bytes == 0


def test_the_context_may_stay_in_main_memory() -> None:
    assert need(gpu_layers=32, context_on_gpu=False).vram_context_bytes == 0


@pytest.mark.parametrize(
    ("options", "on_cards"),
    [
        ({"gpu_layers": 32}, 32),
        ({"gpu_layers": 32, "cpu_moe": True}, 1),
        # One block's experts are 1 GiB: of 31 blocks the first ten keep theirs.
        ({"gpu_layers": 32, "cpu_moe_layers": 10}, 22),
        # The last 15 blocks and the output are on the card; the first ten were not there anyway.
        ({"gpu_layers": 16, "cpu_moe_layers": 10}, 16),
        ({"gpu_layers": 16, "cpu_moe_layers": 20}, 11),
        ({"gpu_layers": 0, "cpu_moe": True}, 0),
    ],
)
def test_experts_may_stay_in_main_memory(options: dict[str, int], on_cards: int) -> None:
    experts = replace(HEADER, expert_bytes=31 * GIB)
    found = estimate(experts, SIZE, LoadOptions(context_length=1024, **options), gpu=True)  # type: ignore[arg-type]
    assert round(found.vram_weights_bytes / GIB) == on_cards
    assert found.weights_bytes == SIZE


def test_as_many_layers_as_fit_beside_the_engines_margin() -> None:
    options = LoadOptions(context_length=1024)
    full = need(gpu_layers=32).vram_bytes + GPU_MARGIN_BYTES
    assert layers_that_fit(HEADER, SIZE, options, full) == 32
    assert layers_that_fit(HEADER, SIZE, options, full - 1) == 31
    assert layers_that_fit(HEADER, SIZE, options, GPU_MARGIN_BYTES) == 0
    assert layers_that_fit(None, SIZE, options, full) == 0


def test_measured_figures_count_before_estimates() -> None:
    measured = replace(need(gpu_layers=16), measured_bytes=7, measured_vram_bytes=11)
    assert (measured.ram_bytes, measured.vram_bytes, measured.total_bytes) == (7, 11, 18)


def test_what_goes_with_a_model_is_added() -> None:
    whole = need(gpu_layers=32).plus(MemoryNeed(100, 10, 1, vram_weights_bytes=100))
    assert whole.weights_bytes == SIZE + 100
    assert whole.vram_weights_bytes == SIZE + 100
    assert whole.ram_bytes == need(gpu_layers=32).ram_bytes + 11


def on_card(name: str, ram: int, vram: int, *, idle_s: float = 0.0, pinned: bool = False) -> Resident:
    return Resident(name, name, ram * GIB, 0, idle_s, pinned, vram_bytes=vram * GIB)


def test_nobody_leaves_who_holds_nothing_of_what_is_missing() -> None:
    residents = [on_card("in main memory", 8, 0, idle_s=100), on_card("on the card", 1, 8, idle_s=1)]
    plan = plan_room(0, GIB, residents, need_vram_bytes=8 * GIB, free_vram_bytes=GIB)
    assert [one.id for one in plan.evict] == ["on the card"] and plan.fits
    assert [one.id for one in plan_room(8 * GIB, GIB, residents).evict] == ["in main memory"]


def test_a_limit_counts_for_both_kinds_of_memory_together() -> None:
    residents = [on_card("a", 1, 3)]
    roomy = {"need_vram_bytes": 2 * GIB, "free_vram_bytes": 99 * GIB}
    assert plan_room(2 * GIB, 99 * GIB, residents, left_bytes=4 * GIB, **roomy).evict == ()
    plan = plan_room(2 * GIB, 99 * GIB, residents, left_bytes=3 * GIB, **roomy)
    assert [one.id for one in plan.evict] == ["a"]
    assert not plan_room(9 * GIB, 99 * GIB, residents, left_bytes=3 * GIB, **roomy).fits


@given(
    st.tuples(st.integers(0, 20), st.integers(0, 20)),
    st.tuples(st.integers(0, 20), st.integers(0, 20)),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=8),
    st.none() | st.integers(-10, 40),
)
def test_a_plan_for_two_kinds_of_memory_is_always_sound(
    wanted: tuple[int, int], free: tuple[int, int], loaded: list[tuple[int, int, bool]], left: int | None
) -> None:
    residents = [on_card(str(n), ram, vram, pinned=pinned) for n, (ram, vram, pinned) in enumerate(loaded)]
    plan = plan_room(
        wanted[0] * GIB,
        free[0] * GIB,
        residents,
        need_vram_bytes=wanted[1] * GIB,
        free_vram_bytes=free[1] * GIB,
        left_bytes=None if left is None else left * GIB,
    )
    assert {one.id for one in plan.evict} | {one.id for one in plan.keep} == {one.id for one in residents}
    assert not any(one.pinned for one in plan.evict)

    def fits_without(leaving: list[Resident]) -> bool:
        ram, vram = sum(one.bytes for one in leaving), sum(one.vram_bytes for one in leaving)
        return (
            wanted[0] * GIB <= free[0] * GIB + ram
            and wanted[1] * GIB <= free[1] * GIB + vram
            and (left is None or sum(wanted) * GIB <= left * GIB + ram + vram)
        )

    assert plan.fits == fits_without([one for one in residents if not one.pinned])
    assert not plan.fits or fits_without(list(plan.evict))
    # None of them too many: without the last one it would not fit.
    assert not plan.evict or not fits_without(list(plan.evict[:-1]))


def test_the_cards_a_model_may_spread_over() -> None:
    cards = (Card("a", 8, 8), Card("b", 8, 8))
    assert usable(cards, LoadOptions()) == cards
    assert usable(cards, LoadOptions(device="none")) == ()
    assert usable(cards, LoadOptions(gpu_layers=0)) == ()
    assert usable(cards, LoadOptions(split_mode="none")) == cards[:1]
    assert usable(cards, LoadOptions(split_mode="none", main_gpu=1)) == cards[1:]
    assert usable(cards, LoadOptions(split_mode="none", main_gpu=7)) == ()
