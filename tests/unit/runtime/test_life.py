"""A child's life when the one it belongs to fails."""

import sys
from pathlib import Path

import psutil
import pytest

from llama_runner.runtime.instance import Instance, InstanceState
from tests.fakes.fake_llama_server import fake_engine
from tests.integration.runtime_support import open_manager, until_state

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fake engine is a POSIX script")


async def test_a_child_whose_start_cannot_be_noted_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its spawn and its place in the books nothing may let go of it."""

    def failing(self: Instance, pid: int) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(Instance, "on_spawned", failing)
    before = set(psutil.Process().children())
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine")) as manager:
        await manager.load("a")
        assert (await until_state(manager, InstanceState.FAILED)).pid is None
        assert set(psutil.Process().children()) == before
