"""Managers on real or fake engines, with everything below a test's own folder."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from llama_runner.core.clock import SystemClock
from llama_runner.core.config import load_models_config
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import create_folders, home_at
from llama_runner.core.settings import AppConfig, EnginePath, ModelsDir, RuntimeSettings
from llama_runner.net.client import open_http
from llama_runner.net.ports import pick_free_port
from llama_runner.runtime.gpu import GpuMemory
from llama_runner.runtime.instance import InstanceSnapshot, InstanceState, Timings
from llama_runner.runtime.manager import RuntimeManager
from tests.fakes.gguf_files import good_file

# A hundredth of the real ones: a hung child is noticed within a second.
FAST = Timings(health_every_s=0.1, health_timeout_s=0.2, misses_degraded=3, misses_hung=12)
ONE_THREAD = LoadOptions(context_length=512, threads=1, parallel=1)


def put_models(folder: Path, *names: str) -> Path:
    """A models folder with header-only models, enough for a fake engine."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.gguf").write_bytes(good_file())
    return folder


@asynccontextmanager
async def open_manager(
    tmp_path: Path,
    engine: Path,
    *,
    models: Path | None = None,
    timings: Timings = FAST,
    pick_port: Callable[[], int] = pick_free_port,
    gpu: GpuMemory | None = None,
    told: list[str] | None = None,
    **runtime: Any,
) -> AsyncIterator[RuntimeManager]:
    """A manager whose children are gone when the block ends.

    Args:
        told: Gets its notices.
    """
    folder = models or put_models(tmp_path / "models", "a", "b", "c")
    config = AppConfig(
        runtime=RuntimeSettings(
            engine_path=EnginePath(linux=str(engine)), models_dir=ModelsDir(linux=str(folder)), **runtime
        )
    )
    home = home_at(tmp_path / "home")
    create_folders(home)
    async with open_http() as http:
        manager = RuntimeManager(
            config=lambda: config,
            models_config=lambda: load_models_config(home).value,
            home=home,
            http=http,
            clock=SystemClock(),
            pick_port=pick_port,
            timings=timings,
            gpu=gpu,
            notice=([] if told is None else told).append,
        )
        try:
            yield manager
        finally:
            await manager.close()


async def until_state(
    manager: RuntimeManager, state: InstanceState, *, limit_s: float = 45
) -> InstanceSnapshot:
    """The first instance once it is in `state`, followed through `wait_change` as the service does."""
    revision = -1
    for _ in range(1000):
        found = manager.instances()
        if found and found[0].state is state:
            return found[0]
        after = await manager.wait_change(revision, limit_s)
        assert after > revision, f"still {found} after {limit_s} s"
        revision = after
    raise AssertionError(f"never {state}")
