"""`config`: the settings from the command line."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from llama_runner.cli.app import run
from llama_runner.core.errors import ExitCode


def run_command(*argv: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    code = run(argv, stdout=stdout, stderr=stderr)
    return code, stdout.getvalue(), stderr.getvalue()


def document(*argv: str, code: ExitCode = ExitCode.DONE) -> Any:
    got, stdout, stderr = run_command(*argv, "--json")
    assert got == code, stderr
    return json.loads(stdout)


def test_a_setting_that_was_set_is_got_back(home: Path) -> None:
    assert document("config", "get", "stress.concurrency") == {"key": "stress.concurrency", "value": 4}
    assert document("config", "set", "stress.concurrency", "8") == {
        "key": "stress.concurrency",
        "value": 8,
        "before": 4,
        "applies": "now",
    }
    assert run_command("config", "get", "stress.concurrency")[1] == "8\n"
    assert json.loads((home / "config" / "app_config.json").read_bytes())["stress"]["concurrency"] == 8


def test_a_value_out_of_range_changes_nothing(home: Path) -> None:
    """C5."""
    code, stdout, stderr = run_command("config", "set", "service.control_port", "65536")
    assert (code, stdout) == (ExitCode.USAGE, "")
    assert "service.control_port must be a whole number from 0 to 65535" in stderr
    assert not (home / "config" / "app_config.json").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.org"])
def test_the_control_api_cannot_be_opened_to_others(home: Path, host: str) -> None:
    """C6."""
    assert run_command("config", "set", "service.control_host", host)[0] == ExitCode.USAGE


def test_an_unknown_setting_names_a_near_one(home: Path) -> None:
    error = document("config", "get", "stress.concurency", code=ExitCode.USAGE)["error"]
    assert error["kind"] == "configuration"
    assert "stress.concurrency" in error["hint"]


def test_show_marks_what_was_changed(home: Path) -> None:
    run_command("config", "set", "monitor.interval_s", "2")
    stdout = run_command("config", "show")[1]
    assert "monitor.interval_s = 2.0 s  (changed)\n" in stdout
    assert "monitor.history_s = 600.0 s\n" in stdout
    shown = document("config", "show")
    assert shown["settings"]["monitor"]["interval_s"] == 2
    assert shown["models"]["models"] == {}


def test_validate_finds_nothing_in_what_is_shipped(home: Path) -> None:
    assert document("config", "validate") == {"valid": True, "problems": []}


def test_validate_reports_every_bad_field_and_changes_nothing(home: Path) -> None:
    """C5: one message per field."""
    (home / "config").mkdir()
    file = home / "config" / "app_config.json"
    file.write_text(
        json.dumps(
            {
                "version": 1,
                "service": {"control_port": True, "control_host": "0.0.0.0"},
                "stress": {"concurrency": -1, "colour": "red"},
            }
        )
    )
    before = file.read_bytes()
    found = document("config", "validate", code=ExitCode.USAGE)
    assert found["valid"] is False
    by_key = {problem["key"]: problem for problem in found["problems"]}
    assert by_key.keys() == {
        "service.control_port",
        "service.control_host",
        "stress.concurrency",
        "stress.colour",
    }
    assert by_key["service.control_port"]["severity"] == "error"
    assert by_key["stress.colour"]["severity"] == "notice"
    assert all(problem["message"] and problem["hint"] for problem in found["problems"])
    assert file.read_bytes() == before


def test_a_notice_alone_is_no_error(home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "app_config.json").write_text('{"version": 1, "colour": "red"}')
    found = document("config", "validate")
    assert (found["valid"], len(found["problems"])) == (True, 1)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{\x00", b"[]", b"null"])
def test_a_broken_file_is_named_and_left_alone(home: Path, content: bytes) -> None:
    """C1, C3."""
    (home / "config").mkdir()
    file = home / "config" / "app_config.json"
    file.write_bytes(content)
    found = document("config", "validate", code=ExitCode.USAGE)
    assert "app_config.json" in found["problems"][0]["message"]
    assert file.read_bytes() == content


def test_a_backup_brings_back_what_was_changed_since(home: Path) -> None:
    run_command("config", "set", "stress.requests", "64")
    (kept,) = document("config", "backup")["backups"]
    run_command("config", "set", "stress.requests", "128")
    restored = document("config", "restore", Path(kept).name, "--yes")
    assert restored["restored"] == kept
    assert document("config", "get", "stress.requests")["value"] == 64
    # What was there before the restore is a backup itself: the newest one undoes it.
    document("config", "restore", "--yes")
    assert document("config", "get", "stress.requests")["value"] == 128


def test_restoring_what_is_not_a_backup_changes_nothing(home: Path) -> None:
    """I2: a name is looked up, never made a path."""
    run_command("config", "set", "stress.requests", "64")
    before = (home / "config" / "app_config.json").read_bytes()
    for name in ("../app_config.json", "/etc/passwd", "app_config.json", ""):
        code, _, stderr = run_command("config", "restore", name)
        assert code == ExitCode.FAILED
        assert "no such backup" in stderr or "no backup yet" in stderr
    assert (home / "config" / "app_config.json").read_bytes() == before


def test_a_damaged_backup_is_not_restored(home: Path) -> None:
    run_command("config", "set", "stress.requests", "64")
    (kept,) = document("config", "backup")["backups"]
    Path(kept).write_bytes(b"{")
    code, _, stderr = run_command("config", "restore", Path(kept).name, "--yes")
    assert code == ExitCode.USAGE
    assert "cannot be used" in stderr
    assert document("config", "get", "stress.requests")["value"] == 64


def test_a_restore_asks_first(home: Path) -> None:
    run_command("config", "set", "stress.requests", "64")
    run_command("config", "backup")
    before = (home / "config" / "app_config.json").read_bytes()
    code, _, stderr = run_command("config", "restore")
    assert code == ExitCode.USAGE and "--yes" in stderr
    assert "kept as a backup" in stderr
    assert (home / "config" / "app_config.json").read_bytes() == before


def test_backups_by_hand_are_ten_in_all_like_the_others(home: Path) -> None:
    run_command("config", "set", "stress.requests", "64")
    for _ in range(12):
        run_command("config", "backup")
    assert len(list((home / "config" / "backups").iterdir())) == 10


def test_a_broken_file_survives_a_restore_over_it(home: Path) -> None:
    """C1: whatever stood there can be found again."""
    run_command("config", "set", "stress.requests", "64")
    run_command("config", "backup")
    file = home / "config" / "app_config.json"
    file.write_bytes(b"{ almost")
    document("config", "restore", "--yes")
    assert document("config", "get", "stress.requests")["value"] == 64
    assert b"{ almost" in [path.read_bytes() for path in (home / "config" / "backups").iterdir()]


@pytest.mark.parametrize(
    ("key", "value", "applies", "said"),
    [
        ("monitor.interval_s", "2", "start", "next start"),
        ("runtime.load_stall_s", "60", "load", "next load"),
        ("chat.idle_timeout_s", "60", "now", ""),
    ],
)
def test_what_does_not_count_at_once_says_so(
    home: Path, key: str, value: str, applies: str, said: str
) -> None:
    assert said in run_command("config", "set", key, value)[2]
    assert document("config", "set", key, value)["applies"] == applies


def test_c5_one_port_for_two_listeners_is_told(home: Path) -> None:
    run_command("config", "set", "proxy.openai_enabled", "on")
    run_command("config", "set", "proxy.openai_port", "8035")
    (problem,) = document("config", "validate")["problems"]
    assert (problem["severity"], problem["key"]) == ("warning", "proxy.openai_port")
    assert "service.control_port" in problem["message"]


def test_nothing_to_back_up_is_no_error(home: Path) -> None:
    assert document("config", "backup") == {"backups": []}
    assert run_command("config", "restore")[0] == ExitCode.FAILED
