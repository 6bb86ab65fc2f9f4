import errno
import itertools
import json
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llama_runner.core import config as configuration
from llama_runner.core.config import (
    Severity,
    backups_of,
    load_app_config,
    load_models_config,
    save_app_config,
    save_models_config,
    set_setting,
)
from llama_runner.core.errors import ConfigError, StorageError
from llama_runner.core.files import write_atomic
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.core.settings import AppConfig, ModelEntry, ModelsConfig
from tests.unit.core.faults import FailingDisk, HandClock

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file types and modes")
not_root = pytest.mark.skipif(sys.platform != "win32" and os.geteuid() == 0, reason="root may do anything")


@pytest.fixture
def place(tmp_path: Path) -> Home:
    home = home_at(tmp_path / "h")
    create_folders(home)
    return home


def put(place: Home, value: Any) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value, indent=1).encode()
    place.app_config_file.write_bytes(data)
    return data


def stored(place: Home) -> Any:
    return json.loads(place.app_config_file.read_bytes())


def corrupt_copies(place: Home) -> list[Path]:
    return sorted(place.config_dir.glob("*.corrupt-*"))


GOLDEN = json.dumps(AppConfig().model_dump(mode="json") | {"note": "mine"}, indent=2).encode()


def test_without_a_file_the_defaults_apply_and_none_is_written(place: Home) -> None:
    loaded = load_app_config(place)
    assert (loaded.value, loaded.problems, loaded.writable) == (AppConfig(), (), True)
    assert load_models_config(place).value == ModelsConfig()
    assert list(place.config_dir.iterdir()) == []


def test_what_was_saved_is_loaded_again(place: Home) -> None:
    value = set_setting(AppConfig(), "stress.concurrency", "8")
    save_app_config(place, value)
    loaded = load_app_config(place)
    assert loaded.value == value and not loaded.problems
    assert set(stored(place)) == set(AppConfig.model_fields)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xef\xbb\xbf" + GOLDEN,
        GOLDEN.decode().encode("utf-16"),
        '{"ui": {"language": "é"}}'.encode("latin-1"),
        b"\x00" * 64,
        b"[" * 10_000,
        b'{"a":' * 10_000,
    ],
    ids=["empty", "one byte", "BOM", "UTF-16", "latin-1", "NUL", "nested lists", "nested objects"],
)
def test_c1_c3_a_file_that_is_no_json_is_kept_and_the_defaults_apply(place: Home, data: bytes) -> None:
    put(place, data)
    loaded = load_app_config(place, clock=HandClock())
    assert loaded.value == AppConfig() and loaded.writable
    (problem,) = loaded.problems
    assert problem.severity is Severity.ERROR and problem.key == "app_config.json"
    assert "cannot be used" in problem.message and str(place.app_config_file) in problem.message
    (copy,) = corrupt_copies(place)
    assert copy.name == "app_config.json.corrupt-20260131T120001000000Z"
    assert copy.name in problem.hint
    assert copy.read_bytes() == data == place.app_config_file.read_bytes()


def test_c1_starting_again_and_again_keeps_one_copy(place: Home) -> None:
    clock = HandClock()
    for _ in range(3):
        put(place, b"broken")
        load_app_config(place, clock=clock)
        clock.advance(1)
    assert len(corrupt_copies(place)) == 1
    put(place, b"broken otherwise")
    load_app_config(place, clock=clock)
    assert len(corrupt_copies(place)) == 2


def test_c1_a_copy_that_cannot_be_kept_is_admitted(place: Home) -> None:
    put(place, b"broken")
    blocked = place.config_dir / "app_config.json.corrupt-20260131T120001000000Z"
    blocked.mkdir()
    loaded = load_app_config(place, clock=HandClock())
    assert "no copy could be kept" in loaded.problems[0].hint
    assert loaded.value == AppConfig()


def test_c1_saving_over_a_broken_file_keeps_it_as_a_backup(place: Home) -> None:
    put(place, b"broken")
    save_app_config(place, AppConfig())
    assert load_app_config(place).problems == ()
    (backup,) = backups_of(place.app_config_file)
    assert backup.read_bytes() == b"broken"


def test_c2_a_file_cut_anywhere_gives_the_defaults_never_half_of_it(place: Home) -> None:
    changed = set_setting(AppConfig(), "service.control_port", "9000")
    save_app_config(place, changed)
    golden = place.app_config_file.read_bytes()
    for length in range(0, len(golden.rstrip()), 64):
        put(place, golden[:length])
        loaded = load_app_config(place)
        assert loaded.value == AppConfig(), length
        assert loaded.problems[0].severity is Severity.ERROR


@pytest.mark.parametrize("data", [[], "text", 5, None])
def test_c3_json_of_the_wrong_shape_is_named_and_stays_until_saved(place: Home, data: Any) -> None:
    written = put(place, data)
    loaded = load_app_config(place)
    assert loaded.value == AppConfig()
    assert "app_config.json must be an object" in loaded.problems[0].message
    assert place.app_config_file.read_bytes() == written
    save_app_config(place, loaded.value)
    assert stored(place) == AppConfig().model_dump(mode="json")


def test_c4_unknown_keys_survive_saving(place: Home) -> None:
    put(place, {"$schema": "./x", "mine": [1], "chat": {"later": {"a": 1}, "idle_timeout_s": 60}})
    loaded = load_app_config(place)
    assert {problem.key for problem in loaded.problems} == {"mine", "chat.later"}
    save_app_config(place, set_setting(loaded.value, "chat.idle_timeout_s", "90"))
    after = stored(place)
    assert after["$schema"] == "./x" and after["mine"] == [1]
    assert after["chat"]["later"] == {"a": 1} and after["chat"]["idle_timeout_s"] == 90


def test_c4_a_newer_file_is_read_but_never_written(place: Home) -> None:
    data = put(place, {"version": 2, "chat": {"idle_timeout_s": 60}, "new_section": {}})
    loaded = load_app_config(place)
    assert loaded.value.chat.idle_timeout_s == 60
    assert not loaded.writable
    assert loaded.problems[0].key == "version" and "newer" in loaded.problems[0].message
    with pytest.raises(ConfigError, match="newer version"):
        save_app_config(place, loaded.value)
    assert place.app_config_file.read_bytes() == data
    assert backups_of(place.app_config_file) == ()


def test_c4_an_older_file_is_migrated_step_by_step(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(raw: dict[str, Any]) -> dict[str, Any]:
        return {"chat": {"idle_timeout_s": raw["chat"]["timeout"]}}

    monkeypatch.setattr(configuration, "MIGRATIONS", {0: rename})
    put(place, {"version": 0, "chat": {"timeout": 33}})
    loaded = load_app_config(place)
    assert loaded.value.chat.idle_timeout_s == 33 and loaded.writable
    assert loaded.problems[0].severity is Severity.NOTICE
    save_app_config(place, loaded.value)
    assert stored(place)["version"] == 1 and stored(place)["chat"]["idle_timeout_s"] == 33


def test_c4_an_older_file_without_changes_of_form_is_read_as_it_is(place: Home) -> None:
    put(place, {"version": 0, "chat": {"idle_timeout_s": 33}})
    assert load_app_config(place).value.chat.idle_timeout_s == 33


@pytest.mark.parametrize("version", ["1", True, 1.0, -1, None, []])
def test_c4_an_odd_version_is_named_and_the_rest_still_loads(place: Home, version: Any) -> None:
    put(place, {"version": version, "chat": {"idle_timeout_s": 33}})
    loaded = load_app_config(place)
    assert loaded.value.chat.idle_timeout_s == 33 and loaded.writable
    assert loaded.problems[0].message == "version must be a whole number from 0 to 1; using 1."
    save_app_config(place, loaded.value)
    assert stored(place)["version"] == 1


def test_c5_bad_values_stay_in_the_file_until_they_are_changed(place: Home) -> None:
    """The engine path and the models folder are the user's: no save of something else may touch them."""
    put(
        place,
        {
            "service": {"control_port": True},
            "chat": {"idle_timeout_s": 1e308},
            "runtime": {"engine_path": {"windows": "\\\\nas\\llama-server.exe"}},
            "ui": "nonsense",
            "arena": "nonsense",
        },
    )
    loaded = load_app_config(place)
    assert len(loaded.problems) == 5
    save_app_config(place, set_setting(loaded.value, "ui.theme", "dark"))
    after = stored(place)
    assert after["service"]["control_port"] is True
    assert after["chat"]["idle_timeout_s"] == 1e308
    assert after["runtime"]["engine_path"]["windows"] == "\\\\nas\\llama-server.exe"
    assert after["arena"] == "nonsense"
    assert after["ui"] == {"theme": "dark", "language": "system"}
    save_app_config(place, set_setting(load_app_config(place).value, "service.control_port", "9000"))
    assert stored(place)["service"]["control_port"] == 9000


def test_c9_not_a_number_in_the_file_costs_one_setting(place: Home) -> None:
    put(place, b'{"chat": {"idle_timeout_s": NaN}, "stress": {"concurrency": 7}, "mine": NaN}')
    loaded = load_app_config(place)
    assert loaded.value.chat.idle_timeout_s == 120 and loaded.value.stress.concurrency == 7
    save_app_config(place, loaded.value)
    assert stored(place)["mine"] is None


def test_c10_a_file_of_two_gigabytes_is_not_read(place: Home) -> None:
    with place.app_config_file.open("wb") as file:
        file.truncate(2 << 30)
    loaded = load_app_config(place)
    assert loaded.value == AppConfig() and not loaded.writable
    assert "larger than" in loaded.problems[0].message
    with pytest.raises(StorageError):
        save_app_config(place, AppConfig())
    assert place.app_config_file.stat().st_size == 2 << 30


@posix_only
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_c7_something_else_in_the_place_of_the_file_does_not_block(
    place: Home, make: Callable[[Path], None]
) -> None:
    make(place.app_config_file)
    loaded = load_app_config(place)
    assert loaded.value == AppConfig() and not loaded.writable
    assert "is not a file" in loaded.problems[0].message


@posix_only
def test_c10_a_file_that_everybody_may_write_is_closed_with_a_warning(place: Home) -> None:
    put(place, {})
    place.app_config_file.chmod(0o666)
    (problem,) = load_app_config(place).problems
    assert problem.severity is Severity.WARNING and "every user" in problem.message
    assert stat.S_IMODE(place.app_config_file.stat().st_mode) == 0o644
    assert load_app_config(place).problems == ()


@posix_only
def test_c10_a_mode_that_cannot_be_mended_is_admitted(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    put(place, {})
    place.app_config_file.chmod(0o666)
    monkeypatch.setattr(Path, "chmod", refuse)
    (problem,) = load_app_config(place).problems
    assert "could not be mended" in problem.message


def test_windows_modes_say_nothing(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, {})
    place.app_config_file.chmod(0o666)
    monkeypatch.setattr(configuration, "_MODES_MEAN_SOMETHING", False)
    assert load_app_config(place).problems == ()


@not_root
def test_c10_a_file_that_may_not_be_read_is_left_alone(place: Home) -> None:
    put(place, {})
    place.app_config_file.chmod(0)
    loaded = load_app_config(place)
    assert not loaded.writable and "cannot be read" in loaded.problems[0].message


@not_root
def test_c10_a_file_that_the_user_closed_is_read_but_never_replaced(place: Home) -> None:
    data = put(place, {"stress": {"concurrency": 7}})
    place.app_config_file.chmod(0o400)
    loaded = load_app_config(place)
    assert loaded.value.stress.concurrency == 7 and not loaded.writable
    assert "read-only" in loaded.problems[0].message
    with pytest.raises(StorageError, match="read-only"):
        save_app_config(place, set_setting(loaded.value, "stress.concurrency", "8"))
    assert place.app_config_file.read_bytes() == data


def test_c10_a_file_that_cannot_be_written_is_told(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the tests run as root, who may do anything."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    data = put(place, {"stress": {"concurrency": 7}})
    assert not load_app_config(place).writable
    with pytest.raises(StorageError, match="read-only"):
        save_app_config(place, AppConfig())
    assert place.app_config_file.read_bytes() == data


def test_c10_a_file_that_is_replaced_while_it_is_read_is_one_or_the_other(place: Home) -> None:
    long, short = {"stress": {"concurrency": 7}, "mine": "x" * 200_000}, {"stress": {"concurrency": 9}}
    versions = [json.dumps(version).encode() for version in (long, short)]
    stop = threading.Event()

    def replace_again_and_again() -> None:
        for version in itertools.cycle(versions):
            if stop.is_set():
                return
            write_atomic(place.app_config_file, version)

    put(place, short)
    writer = threading.Thread(target=replace_again_and_again)
    writer.start()
    try:
        for _ in range(100):
            loaded = load_app_config(place)
            assert loaded.value.stress.concurrency in (7, 9)
            assert not loaded.unusable
    finally:
        stop.set()
        writer.join()
    assert corrupt_copies(place) == []


def test_f31_a_save_that_fails_at_any_call_leaves_a_whole_file(place: Home) -> None:
    before, after = AppConfig(), set_setting(AppConfig(), "stress.concurrency", "8")
    save_app_config(place, before)
    for fail_at in range(1, 200):
        disk = FailingDisk(fail_at, lambda: OSError(errno.ENOSPC, "No space left on device"))
        try:
            save_app_config(place, after, disk=disk)
        except StorageError:
            loaded = load_app_config(place)
            assert loaded.value in (before, after) and not loaded.problems
            save_app_config(place, before)
        else:
            break
    assert fail_at > 10
    assert load_app_config(place).value == after


def test_each_save_keeps_the_file_before_it_and_ten_in_all(place: Home) -> None:
    clock = HandClock()
    for number in range(1, 15):
        save_app_config(place, set_setting(AppConfig(), "stress.concurrency", str(number)), clock=clock)
        clock.advance(1)
    backups = backups_of(place.app_config_file)
    kept = [json.loads(path.read_bytes())["stress"]["concurrency"] for path in backups]
    assert kept == [13, 12, 11, 10, 9, 8, 7, 6, 5, 4]


def test_saving_what_is_there_already_changes_nothing(place: Home) -> None:
    save_app_config(place, AppConfig())
    before = place.app_config_file.stat().st_mtime_ns
    save_app_config(place, AppConfig())
    assert place.app_config_file.stat().st_mtime_ns == before
    assert backups_of(place.app_config_file) == ()


def test_a_missing_folder_is_made_and_one_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    home = home_at(tmp_path / "new")
    save_app_config(home, AppConfig())
    assert home.app_config_file.is_file()
    (home.config_dir / "backups").touch()
    with pytest.raises(StorageError, match="cannot be created"):
        save_app_config(home, set_setting(AppConfig(), "stress.concurrency", "8"))


def entry(path: str, **more: Any) -> ModelEntry:
    return ModelEntry(path=path, **more)


def test_models_can_be_added_changed_and_removed_and_the_unreadable_stay(place: Home) -> None:
    place.models_config_file.write_text(
        json.dumps(
            {
                "default_model": "a",
                "models": {
                    "a": {"path": "a.gguf", "note": "mine"},
                    "b": {"path": "b.gguf"},
                    "bad": {"path": 5, "note": "to be mended"},
                },
            }
        )
    )
    loaded = load_models_config(place)
    assert set(loaded.value.models) == {"a", "b"}
    changed = {"a": entry("a.gguf", display_name="A"), "c": entry("c.gguf")}
    save_models_config(place, loaded.value.model_copy(update={"models": changed}))
    after = json.loads(place.models_config_file.read_bytes())
    assert set(after["models"]) == {"a", "c", "bad"}
    assert after["models"]["a"]["note"] == "mine" and after["models"]["a"]["display_name"] == "A"
    assert after["models"]["bad"] == {"path": 5, "note": "to be mended"}
    assert load_models_config(place).value.models == changed


@pytest.mark.parametrize("raw", [{}, {"models": None}, {"models": []}])
def test_a_table_of_models_that_is_none_is_replaced_once_there_are_models(place: Home, raw: Any) -> None:
    place.models_config_file.write_text(json.dumps(raw))
    save_models_config(place, ModelsConfig())
    kept = json.loads(place.models_config_file.read_bytes())["models"]
    assert kept == (raw.get("models") if raw.get("models") is not None else {})
    save_models_config(place, ModelsConfig(models={"a": entry("a.gguf")}))
    assert load_models_config(place).value.models == {"a": entry("a.gguf")}


def test_the_shipped_files_hold_every_default_without_a_problem(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    home = home_at(tmp_path)
    create_folders(home)
    for name in ("app_config.json", "models_config.json"):
        (home.config_dir / name).write_bytes((root / "config" / name).read_bytes())
    assert load_app_config(home).problems == ()
    assert load_models_config(home).problems == ()
