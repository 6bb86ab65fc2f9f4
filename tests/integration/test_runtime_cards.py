"""Graphics cards in the plan of a real manager, with a driver of our own that tells what a test wants.

The engines are processes, the models have headers only: what they hold of the cards is what the driver says.
"""

from pathlib import Path

import pytest

from llama_runner.core.errors import EngineError
from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.gpu import Card
from llama_runner.runtime.manager import RuntimeManager
from llama_runner.runtime.memory import GPU_BASE_BYTES, GPU_MARGIN_BYTES, MIB
from tests.fakes.fake_llama_server import fake_engine
from tests.integration.runtime_support import open_manager

GIB = 1024 * MIB
# Of the header-only model: two blocks and the output.
LAYERS = 3
# Enough for one of them beside the engine's margin.
ROOM_FOR_ONE = GPU_MARGIN_BYTES + 2 * GPU_BASE_BYTES - 50 * MIB


class Driver:
    """Two programs never hold the same memory: what models hold is not free."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.used_by: dict[int, int] = {}
        self.looks = 0

    def read(self) -> tuple[Card, ...]:
        self.looks += 1
        free = self.total_bytes - sum(self.used_by.values())
        return (Card("Test card", self.total_bytes, free, dict(self.used_by)),)


async def load(manager: RuntimeManager, model: str, driver: Driver, held_bytes: int) -> None:
    """Load a model, and have it hold so much of the card."""
    ready = await manager.ensure_ready(model)
    assert ready.pid is not None
    driver.used_by[ready.pid] = held_bytes


async def test_all_layers_go_to_a_card_that_has_room(tmp_path: Path) -> None:
    driver = Driver(8 * GIB)
    async with open_manager(tmp_path, fake_engine(tmp_path / "e"), gpu=driver) as manager:
        plan = await manager.plan("a")
        assert (plan.gpu_layers, plan.layers) == (LAYERS, LAYERS)
        assert plan.need.vram_bytes > GPU_BASE_BYTES and plan.room.free_vram_bytes == 8 * GIB
        assert "--n-gpu-layers" not in plan.command
        cpu = await manager.plan("a", LoadOptions(gpu_layers=0))
        assert (cpu.need.vram_bytes, cpu.gpu_layers, cpu.warnings) == (0, None, ())


async def test_what_it_holds_is_told_and_remembered_for_the_next_time(tmp_path: Path) -> None:
    driver = Driver(8 * GIB)
    engine = fake_engine(tmp_path / "e")
    async with open_manager(tmp_path, engine, gpu=driver) as manager:
        await load(manager, "a", driver, 3 * GIB)
        (other,) = (await manager.plan("b")).room.keep
        assert other.vram_bytes == 3 * GIB
        (seen,) = manager.instances()
        assert (seen.vram_bytes, seen.gpu_layers, seen.engine) == (3 * GIB, LAYERS, "default")
        await manager.unload("a")
        driver.used_by.clear()
    async with open_manager(tmp_path, engine, gpu=driver) as manager:
        plan = await manager.plan("a")
        assert plan.need.measured_vram_bytes == 3 * GIB
        assert plan.need.vram_bytes == 3 * GIB
        # Another number of layers is another load.
        assert (await manager.plan("a", LoadOptions(gpu_layers=1))).need.measured_vram_bytes is None


async def test_the_idle_leave_the_card_when_another_would_fit_whole(tmp_path: Path) -> None:
    driver = Driver(ROOM_FOR_ONE)
    async with open_manager(tmp_path, fake_engine(tmp_path / "e"), gpu=driver) as manager:
        await load(manager, "a", driver, ROOM_FOR_ONE - 10 * MIB)
        await load(manager, "b", driver, 0)
        assert [one.model_id for one in manager.instances()] == ["b"]


async def test_beside_a_pinned_model_as_many_layers_as_fit(tmp_path: Path) -> None:
    driver = Driver(ROOM_FOR_ONE)
    async with open_manager(tmp_path, fake_engine(tmp_path / "e"), gpu=driver) as manager:
        await load(manager, "a", driver, ROOM_FOR_ONE - 10 * MIB)
        manager.pin("a", True)
        plan = await manager.plan("b")
        assert plan.room.fits and plan.gpu_layers == 0 and plan.need.vram_bytes == 0
        assert "room for 0 of its 3 layers" in " ".join(plan.warnings)
        assert (await manager.ensure_ready("b")).pid is not None
        assert [one.model_id for one in manager.instances()] == ["a", "b"]


async def test_layers_that_were_asked_for_and_have_no_room_are_refused_with_advice(tmp_path: Path) -> None:
    driver = Driver(ROOM_FOR_ONE)
    async with open_manager(tmp_path, fake_engine(tmp_path / "e"), gpu=driver) as manager:
        await load(manager, "a", driver, ROOM_FOR_ONE - 10 * MIB)
        manager.pin("a", True)
        with pytest.raises(EngineError, match="of the graphics cards") as error:
            await manager.load("b", LoadOptions(gpu_layers=99))
        assert "Unpin or unload a" in error.value.hint and "fewer GPU layers" in error.value.hint


async def test_without_a_card_nobody_looks_for_one_again(tmp_path: Path) -> None:
    class NoDriver(Driver):
        def read(self) -> tuple[Card, ...]:
            self.looks += 1
            return ()

    driver = NoDriver(0)
    async with open_manager(tmp_path, fake_engine(tmp_path / "e"), gpu=driver) as manager:
        for _ in range(3):
            plan = await manager.plan("a", LoadOptions(gpu_layers=99))
        assert (plan.gpu_layers, plan.need.vram_bytes, driver.looks) == (None, 0, 1)


async def test_models_that_are_still_loading_count_with_what_they_will_hold(tmp_path: Path) -> None:
    driver = Driver(ROOM_FOR_ONE)
    slow = fake_engine(tmp_path / "e", {"ready_after_s": None})
    async with open_manager(tmp_path, slow, gpu=driver) as manager:
        await manager.load("a")
        manager.pin("a", True)
        plan = await manager.plan("b")
        assert plan.room.free_vram_bytes < GPU_MARGIN_BYTES + GPU_BASE_BYTES
        assert plan.gpu_layers == 0
