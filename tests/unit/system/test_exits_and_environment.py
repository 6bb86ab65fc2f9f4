import ctypes
import sys
from pathlib import Path

import pytest

from llama_runner.system import job_objects
from llama_runner.system.display import has_display
from llama_runner.system.environment import scrubbed_environment, self_command
from llama_runner.system.exits import describe_exit, is_illegal_instruction, is_killed


@pytest.mark.parametrize(
    ("returncode", "platform", "expected"),
    [
        (0, "linux", "exit code 0"),
        (1, "linux", "exit code 1"),
        (-11, "linux", "signal 11 (SIGSEGV)"),
        (-9, "linux", "signal 9 (SIGKILL)"),
        (132, "linux", "signal 4 (SIGILL)"),
        (255, "linux", "signal 127"),
        (1, "win32", "exit code 1"),
        (132, "win32", "exit code 132"),
        (0xC0000005, "win32", "0xC0000005 (access violation)"),
        (-1073741819, "win32", "0xC0000005 (access violation)"),
        (0xC0000135, "win32", "0xC0000135 (a DLL is missing)"),
        (0xC0000999, "win32", "0xC0000999"),
    ],
)
def test_an_exit_is_named_as_people_can_look_it_up(returncode: int, platform: str, expected: str) -> None:
    assert describe_exit(returncode, platform) == expected


@pytest.mark.parametrize(
    ("returncode", "platform", "expected"),
    [
        (-4, "linux", True),
        (132, "linux", True),
        (0xC000001D, "win32", True),
        (-1073741795, "win32", True),
        (-11, "linux", False),
        (1, "win32", False),
    ],
)
def test_an_illegal_instruction_is_recognised_on_both_systems(
    returncode: int, platform: str, expected: bool
) -> None:
    assert is_illegal_instruction(returncode, platform) is expected


def test_only_posix_knows_being_killed() -> None:
    assert is_killed(-9, "linux")
    assert is_killed(137, "linux")
    assert not is_killed(137, "win32")
    assert not is_killed(-15, "linux")


def test_keys_proxies_preloads_and_engine_options_do_not_reach_a_child() -> None:
    """A5: LLAMA_ARG_TOOLS alone would give a child a shell."""
    env = {
        "PATH": "/usr/bin",
        "HOME": "/home/u",
        "CUDA_VISIBLE_DEVICES": "1",
        "LD_LIBRARY_PATH": "/opt/cuda/lib64",
        "LLAMA_ARG_TOOLS": "all",
        "LLAMA_API_KEY": "theirs",
        "LLAMA_ARG_HOST": "0.0.0.0",
        "HF_TOKEN": "hf_x",
        "OPENAI_API_KEY": "sk-x",
        "LD_PRELOAD": "/tmp/evil.so",
        "http_proxy": "http://proxy",
        "LANG": "de_DE.UTF-8",
    }
    assert scrubbed_environment(env, "linux") == {
        "PATH": "/usr/bin",
        "HOME": "/home/u",
        "CUDA_VISIBLE_DEVICES": "1",
        "LD_LIBRARY_PATH": "/opt/cuda/lib64",
        "LC_ALL": "C.UTF-8",
    }


def test_a_packaged_program_gives_its_children_the_users_own_library_path() -> None:
    env = {"LD_LIBRARY_PATH": "/opt/app/_internal:/usr/lib", "LD_LIBRARY_PATH_ORIG": "/usr/lib"}
    assert scrubbed_environment(env, "linux", frozen=True)["LD_LIBRARY_PATH"] == "/usr/lib"
    del env["LD_LIBRARY_PATH_ORIG"]
    assert "LD_LIBRARY_PATH" not in scrubbed_environment(env, "linux", frozen=True)


def test_windows_names_are_compared_without_case() -> None:
    env = {"SystemRoot": "C:\\Windows", "Path": "C:\\x", "llama_arg_tools": "all", "HF_TOKEN": "x"}
    assert scrubbed_environment(env, "win32") == {"SystemRoot": "C:\\Windows", "Path": "C:\\x"}


def test_this_program_starts_again_through_its_entry_point() -> None:
    command = self_command()
    assert command[0] == sys.executable
    assert Path(command[1]).name == "main.py" or command[1:] == ["-m", "llama_runner"]


def test_a_packaged_program_starts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert self_command() == [sys.executable]


def test_without_the_source_tree_the_module_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("llama_runner.__file__", str(tmp_path / "llama_runner" / "__init__.py"))
    assert self_command() == [sys.executable, "-m", "llama_runner"]


@pytest.mark.parametrize(
    ("env", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"QT_QPA_PLATFORM": "offscreen"}, "linux", True),
        ({}, "win32", True),
        ({}, "darwin", True),
    ],
)
def test_a_display_is_recognised(env: dict[str, str], platform: str, expected: bool) -> None:
    assert has_display(env, platform) is expected


def test_windows_structures_have_the_layout_of_the_headers() -> None:
    """Sizes from winnt.h on 64-bit Windows."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("64-bit layout")
    assert ctypes.sizeof(job_objects.BasicLimits) == 64
    assert ctypes.sizeof(job_objects.IoCounters) == 48
    assert ctypes.sizeof(job_objects.ExtendedLimits) == 144


def test_a_job_kills_its_processes_only_when_they_shall_die_with_us() -> None:
    with_us = job_objects.job_limits(die_with_parent=True).BasicLimitInformation.LimitFlags
    alone = job_objects.job_limits(die_with_parent=False).BasicLimitInformation.LimitFlags
    assert with_us & job_objects.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
    assert not alone & job_objects.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE


def test_a_windows_child_has_a_group_and_no_console_window() -> None:
    assert job_objects.creation_flags() == 0x08000200
