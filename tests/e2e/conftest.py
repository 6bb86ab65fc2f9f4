"""What every test of the real window gets."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.playing import CHAT
from tests.e2e.screen import virtual_screen


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A virtual screen for all tests of a module."""
    with virtual_screen() as name:
        yield name


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: kept where LLAMA_RUNNER_PICTURES says, else thrown away with the test."""
    folder = Path(os.environ.get("LLAMA_RUNNER_PICTURES") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def any_port(home: Path) -> Path:
    """A home whose service takes a free port."""
    config = home / "config" / "app_config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"version": 1, "service": {"control_port": 0}, "chat": CHAT}))
    return home
