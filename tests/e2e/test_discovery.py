"""The discovery tab as a person meets it for the first time, in the real window, by keyboard alone."""

import json
from pathlib import Path

import pytest

from llama_runner.net.ports import pick_free_port
from tests.e2e.newcomer import KEY
from tests.e2e.playing import play, processes_of
from tests.e2e.screen import is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="no Xvfb or openbox: run scripts/test.py once")


@pytest.mark.timeout(180)
def test_a_newcomer_finds_adds_unlocks_and_uses_servers(display: str, home: Path, pictures: Path) -> None:
    """D11, D12, R9, R11: what the window says at each wrong turn, and where it leads in the end."""
    port = pick_free_port()
    config = home / "config" / "app_config.json"
    config.parent.mkdir()
    settings = {"version": 1, "service": {"control_port": 0}, "discovery": {"ports": [port]}}
    config.write_text(json.dumps(settings))

    report = play(display, "newcomer", pictures, "--home", str(home))

    assert "Give it as http://host:port" in report["wrong"]["http:/127.0.0.1:8080"]
    assert "not a number from 1 to 65535" in report["wrong"]["http://127.0.0.1:808080"]
    assert report["wrong"]["closed"].startswith("Nothing listens at http://127.0.0.1:1")
    assert "API key" in report["key"]
    assert "elsewhere" in report["elsewhere"]
    assert report["target"] == f"http://127.0.0.1:{port}"
    kept = "".join(file.read_text(errors="replace") for file in home.rglob("*") if file.is_file())
    assert KEY not in kept, "it was to be kept in memory only"
    assert processes_of(home) == []
