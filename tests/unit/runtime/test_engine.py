import os
import sys
from pathlib import Path

import pytest

from llama_runner.core.errors import EngineError
from llama_runner.core.settings import EnginePath, RuntimeSettings
from llama_runner.runtime import engine as engine_module
from llama_runner.runtime.engine import (
    EngineProbes,
    demo_engine,
    engine_version,
    find_engine,
    parse_flags,
    probe_engine,
    program_name,
)
from tests.fakes.fake_llama_server import fake_engine

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="engines here are shell scripts")


def _settings(path: Path | str) -> RuntimeSettings:
    return RuntimeSettings(engine_path=EnginePath(linux=str(path)))


def _script(path: Path, body: str) -> Path:
    path.write_text("#!/bin/sh\n" + body, encoding="utf-8")
    path.chmod(0o755)
    return path


def _nowhere(name: str) -> None:
    return None


def test_the_configured_engine_is_taken(tmp_path: Path) -> None:
    path = fake_engine(tmp_path)
    choice = find_engine(_settings(path), platform="linux", which=lambda name: "/usr/bin/llama-server")
    assert (choice.path, choice.origin, choice.note) == (path, "configured", "")


def test_a_missing_configured_engine_gives_way_to_one_on_path_and_says_so(tmp_path: Path) -> None:
    fake_engine(tmp_path)
    choice = find_engine(_settings("/gone/llama-server"), env={"PATH": str(tmp_path)}, platform="linux")
    assert choice.origin == "PATH"
    assert choice.path == tmp_path / "llama-server"
    assert "/gone/llama-server is not there" in choice.note


@pytest.mark.parametrize("folder", ["", ".", "bin"])
def test_one_that_lies_in_the_current_folder_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Path, folder: str
) -> None:
    """R7: what was downloaded where the program happens to be started is not the user's choice."""
    (tmp_path / "bin").mkdir()
    for place in (tmp_path, tmp_path / "bin"):
        fake_engine(place)
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join((folder, "/nowhere"))
    assert find_engine(_settings(""), env={"PATH": path}, platform="linux").origin == "demo package"
    choice = find_engine(_settings(""), env={"PATH": f"{path}{os.pathsep}{tmp_path}"}, platform="linux")
    assert choice.path == tmp_path / "llama-server"


def test_without_one_on_path_the_demo_engine_is_taken(engine: Path) -> None:
    choice = find_engine(_settings("/gone/llama-server"), platform="linux", which=_nowhere)
    assert (choice.path, choice.origin) == (engine, "demo package")
    assert "The demo engine is used." in choice.note


def test_demo_prefers_the_demo_engine(engine: Path, tmp_path: Path) -> None:
    assert find_engine(_settings(fake_engine(tmp_path)), demo=True, platform="linux").path == engine


def test_nothing_anywhere_is_an_error_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "DEMO_PACKAGE", "no-such-package-installed")
    assert demo_engine() is None or engine_module.packaged_file("no-such-package-installed", "x") is None
    with pytest.raises(EngineError, match=r"not at F:\\llm") as caught:
        find_engine(RuntimeSettings(), platform="win32", which=_nowhere)
    assert "engine_path" in caught.value.hint
    with pytest.raises(EngineError, match="No llama-server was found\\."):
        find_engine(_settings(""), platform="linux", which=_nowhere)


@pytest.mark.parametrize("kind", ["folder", "not executable"])
def test_a6_a_configured_path_that_is_no_program_is_an_error_not_a_reason_to_look_elsewhere(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "llama-server"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_text("x")
    with pytest.raises(EngineError, match="configured engine") as caught:
        find_engine(_settings(path), platform="linux", which=lambda name: "/bin/true")
    assert caught.value.hint


def test_the_program_is_called_by_its_name_on_each_system() -> None:
    assert program_name("win32") == "llama-server.exe"
    assert program_name("linux") == "llama-server"


async def test_the_real_engine_tells_version_and_options(engine: Path) -> None:
    found = await probe_engine(engine)
    assert found.version
    assert {"--model", "-m", "--no-repack", "--no-slots", "--cors-origins", "--offline"} <= found.flags
    assert "--webui" in found.flags
    assert await engine_version(engine) == found.version


async def test_a_changed_engine_is_asked_again(tmp_path: Path) -> None:
    path = fake_engine(tmp_path)
    probes = EngineProbes()
    first = await probes.info(path)
    assert await probes.info(path) is first
    os.utime(path, ns=(1, 1))
    assert await probes.info(path) is not first


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo hello", "is not a llama-server"),
        ("exec sleep 300", "did not answer within"),
        ("exec yes", "writes without end"),
    ],
)
async def test_a6_a_program_that_is_no_engine_is_told(
    tmp_path: Path, body: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_LIMIT_S", 1.0)
    with pytest.raises(EngineError, match=said) as caught:
        await probe_engine(_script(tmp_path / "engine", body))
    assert caught.value.hint


async def test_a6_a_program_that_hangs_when_asked_for_its_version_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_LIMIT_S", 1.0)
    helps = "case $1 in --help) echo '--model F'; echo '--port N';; *) exec sleep 300;; esac"
    with pytest.raises(EngineError, match="--version did not answer within"):
        await probe_engine(_script(tmp_path / "engine", helps))


async def test_a6_a_file_for_another_machine_cannot_be_started(tmp_path: Path) -> None:
    path = tmp_path / "llama-server"
    path.write_bytes(b"\x7fELF garbage")
    path.chmod(0o755)
    with pytest.raises(EngineError, match="cannot be started"):
        await probe_engine(path)
    with pytest.raises(EngineError, match="cannot be started"):
        await EngineProbes().info(tmp_path / "gone")


def test_flags_are_read_from_every_shape_of_help_line() -> None:
    text = (
        "usage: x [--not-this]\n"
        "-t,    --threads N                      number (default: -1)\n"
        "--perf, --no-perf                       whether --nor-this\n"
        "-fa,   --flash-attn [on|off|auto]       use\n"
        "--a-very-long-flag-name-indeed, --b X   text\n"
        "                                        --neither-this\n"
    )
    assert parse_flags(text) == {
        "-t",
        "--threads",
        "--perf",
        "--no-perf",
        "-fa",
        "--flash-attn",
        "--a-very-long-flag-name-indeed",
        "--b",
    }
