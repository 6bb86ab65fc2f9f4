"""The whole product as a person meets it: window, service, engine and models are the real ones."""

import json
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.playing import CHAT, GONE_S, place_model, play, processes_of, start
from tests.e2e.screen import is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="no Xvfb or openbox: run scripts/test.py once")


@pytest.fixture
def two_models(home: Path, engine: Path, demo_model: Path) -> Path:
    """A home with the engine configured and two model files."""
    for name in ("alpha", "beta"):
        place_model(demo_model, home / "models" / name / f"{name}.gguf")
    config = home / "config" / "app_config.json"
    config.parent.mkdir()
    paths = {"engine_path": {"linux": str(engine)}, "models_dir": {"linux": str(home / "models")}}
    config.write_text(
        json.dumps({"version": 1, "runtime": paths, "service": {"control_port": 0}, "chat": CHAT})
    )
    return home


@pytest.mark.timeout(300)
def test_a_person_loads_chats_compares_measures_watches_and_closes(
    display: str, two_models: Path, pictures: Path
) -> None:
    report = play(display, "first_light", pictures, "--home", str(two_models))

    assert "Name three colours." in report["chat"]
    assert "tok/s" in report["chat"] and "first token" in report["chat"]
    assert len(report["arena"]) == 2
    assert all(answer.strip() != "Answer" for answer in report["arena_answers"])
    assert report["stress"]
    assert report["cpu_samples"] >= 3
    assert {"cpu_pct", "ram_used_bytes", "disk_read_bps", "net_recv_bps"} <= set(report["names"])
    saved = list((two_models / "data" / "runs").glob("*/run.json"))
    assert len(saved) == 1
    level = json.loads(saved[0].read_text())["levels"][0]
    assert level["concurrency"] == 4 and level["requests"]["ok"] == 8
    assert processes_of(two_models) == []


@pytest.mark.timeout(180)
def test_demo_opens_a_chat_with_the_model_loaded(display: str, any_port: Path, pictures: Path) -> None:
    report = play(display, "demo", pictures, "--demo", "--home", str(any_port))

    assert "tok/s" in report["chat"]
    assert processes_of(any_port) == []


@pytest.mark.timeout(180)
def test_closing_while_an_answer_streams_ends_everything(
    display: str, any_port: Path, pictures: Path
) -> None:
    report = play(display, "close_while_streaming", pictures, "--demo", "--home", str(any_port))

    assert len(report["chat"]) > 200
    assert processes_of(any_port) == []


@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform != "linux", reason="kill -9")
def test_a_killed_window_takes_its_service_and_engines_along(
    display: str, any_port: Path, pictures: Path
) -> None:
    process = start(display, "kill_me", pictures, "--demo", "--home", str(any_port))
    assert process.stdout is not None and process.stderr is not None
    try:
        assert process.stdout.readline() == "loaded\n"
        relatives = [p for p in processes_of(any_port) if p.pid != process.pid]
        assert len(relatives) >= 2, "a service and an engine"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()
    _, alive = psutil.wait_procs(relatives, GONE_S)
    assert alive == []
    assert processes_of(any_port) == []
