"""What the doctor sees, and what it advises."""

import os
import socket
from pathlib import Path, PureWindowsPath

import pytest

from llama_runner.control.runfile import RunFile, write_run_file
from llama_runner.core.config import Problem, Severity
from llama_runner.core.paths import current_home
from llama_runner.core.settings import AppConfig
from llama_runner.runtime.catalogue import ModelFile
from llama_runner.system import screen_libraries
from llama_runner.system.identity import identity
from llama_runner.workspace import checks
from llama_runner.workspace.checks import Check, Status
from llama_runner.workspace.doctor import DoctorReport, examine


def _find(report: DoctorReport, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


async def test_a_fresh_home_is_fine_but_for_what_the_user_must_bring(home: Path) -> None:
    report = await examine(None, demo=False, env={"DISPLAY": ":0"}, platform="linux")

    assert report.status is not Status.ERROR
    assert report.home == current_home()
    assert _find(report, "settings").status is Status.OK


@pytest.mark.parametrize("text", ["{", '{"version": 1, "service": {"control_port": true}}', "[]"])
async def test_a_broken_configuration_is_a_warning_that_names_it(home: Path, text: str) -> None:
    """C1, C5: a broken file, a value of the wrong type."""
    (home / "config").mkdir()
    (home / "config" / "app_config.json").write_text(text)

    found = _find(await examine(None, demo=False, env={}), "settings")

    assert found.status is Status.WARNING
    assert found.fix


async def test_a_home_that_cannot_be_made_is_an_error_with_advice(tmp_path: Path) -> None:
    """A7: read-only home."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    report = await examine(blocked / "home", demo=False, env={})

    assert report.status is Status.ERROR
    assert "--home" in _find(report, "folders").fix
    assert report.home is None


async def test_a_missing_engine_is_a_warning_that_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llama_runner.runtime.engine.demo_engine", lambda: None)

    check = await checks.check_engine(AppConfig(), demo=False, env={"PATH": ""}, platform="linux")

    assert check.status is Status.WARNING
    assert "--demo" in check.fix


async def test_the_demo_engine_answers_with_its_version(engine: Path) -> None:
    check = await checks.check_engine(AppConfig(), demo=True, env={"PATH": ""}, platform="linux")

    assert check.status is Status.OK
    assert str(engine) in check.detail


async def test_a_busy_control_port_is_told_with_its_holder(home: Path) -> None:
    """F12: a busy port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = AppConfig.model_validate({"service": {"control_port": port}})

        check = await checks.check_control_port(current_home(), config)

    assert check.status is Status.WARNING
    assert f"Port {port} is in use by" in check.detail
    assert "(pid " in check.detail


async def test_a_free_control_port_is_fine(home: Path) -> None:
    config = AppConfig.model_validate({"service": {"control_port": 0}})

    assert (await checks.check_control_port(current_home(), config)).status is Status.OK


def test_pyside_6_12_on_python_3_11_is_an_error() -> None:
    assert checks.check_python((3, 11, 7), (6, 12, 0)).status is Status.ERROR
    assert checks.check_python((3, 12, 1), (6, 12, 0)).status is Status.OK
    assert checks.check_python((3, 11, 7), (6, 11, 3)).status is Status.OK


def test_missing_packages_are_named() -> None:
    found = checks.check_packages({"qasync": None, "numpy": "2.0"})

    assert [check.status for check in found] == [Status.ERROR]
    assert "qasync" in found[0].detail
    assert checks.check_packages({"numpy": "2.0"}) == []


def test_root_is_warned() -> None:
    """A8: run as root."""
    assert checks.check_user(is_root=True).status is Status.WARNING
    assert checks.check_user(is_root=False).status is Status.OK


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"])
def test_a_variable_that_brings_in_other_code_is_named(name: str) -> None:
    """A7."""
    check = checks.check_environment({name: "/somewhere"})

    assert check.status is Status.WARNING
    assert name in check.detail


def test_variables_that_are_not_used_are_no_trouble() -> None:
    """A7."""
    env = {"HTTP_PROXY": "http://proxy:1", "QT_PLUGIN_PATH": "/other"}

    assert checks.check_environment(env).status is Status.OK


def test_no_display_is_a_warning_with_the_way_around_it() -> None:
    assert "--headless" in checks.check_display({}, "linux").fix


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    assert checks.check_folder("logs folder", tmp_path).status is Status.OK
    assert checks.check_folder("logs folder", tmp_path / "missing").status is Status.ERROR


def test_a_configured_models_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    configured = str(PureWindowsPath("F:\\llm\\llama\\models"))

    check = checks.check_models(tmp_path, configured=configured, models=())

    assert check.status is Status.WARNING
    assert configured in check.detail


def test_a_corrected_setting_is_only_a_notice() -> None:
    """C9: a value outside its bounds was taken to the nearest one."""
    problem = Problem(Severity.NOTICE, "monitor.interval_s", "0 is too small; 0.1 applies.", "Change it.")

    assert [check.status for check in checks.check_settings((problem,))] == [Status.OK]


def test_the_demo_is_optional() -> None:
    assert checks.check_demo(None, None).status is Status.OK
    assert "--demo" in checks.check_demo(None, Path("model.gguf")).fix


def _model(name: str, problem: str | None) -> ModelFile:
    return ModelFile(name, Path(name), None, None, problem, "models folder")


def test_models_that_cannot_be_used_are_told_with_the_first_reason(tmp_path: Path) -> None:
    """G1: a file that is no model."""
    models = (
        _model("good", None),
        _model("bad", "bad.gguf is an HTML page."),
        _model("worse", "It is empty."),
    )

    check = checks.check_models(tmp_path, configured="", models=models)

    assert check.status is Status.WARNING
    assert check.detail.endswith("1 usable model. Not usable: bad.gguf is an HTML page.")
    assert check.fix == "`llama-runner models` names 1 more."


def test_libraries_that_a_window_lacks_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "missing_screen_libraries", lambda: {"libEGL.so.1": "libegl1"})

    check = checks.check_display({"DISPLAY": ":0"}, "linux")

    assert check.status is Status.WARNING
    assert check.fix.endswith("apt-get install libegl1")
    assert checks.check_display({}, "win32").status is Status.OK


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F31: little room left."""
    monkeypatch.setattr(checks, "LOW_DISK_BYTES", 1 << 62)

    assert checks.check_folder("data folder", tmp_path).status is Status.WARNING


async def test_a_running_service_is_found_by_its_run_file(home: Path) -> None:
    place = current_home()
    me = identity(os.getpid())
    assert me is not None
    write_run_file(place, RunFile(me.pid, me.create_time, "http://127.0.0.1:9", "token", "0.1.0"))

    check = await checks.check_control_port(place, AppConfig())

    assert check.status is Status.OK
    assert f"http://127.0.0.1:9 (pid {me.pid})" in check.detail


def test_a_screen_library_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = {"libno-such-thing.so.9": "libno-such-thing9"}
    monkeypatch.setattr(screen_libraries, "SCREEN_LIBRARIES", libraries)

    assert screen_libraries.missing_screen_libraries() == libraries
