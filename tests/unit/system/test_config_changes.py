"""Settings changed by several programs at once: none takes back what another one wrote."""

import subprocess
import sys
from pathlib import Path

import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.core.config import Loaded, load_app_config, load_models_config
from llama_runner.core.errors import ConfigError, StorageError
from llama_runner.core.paths import Home, home_at
from llama_runner.core.settings import ModelEntry, ModelsConfig
from llama_runner.system import locks
from llama_runner.system.config_changes import (
    change_app_config,
    edit_app_config,
    restore,
    update_models_config,
)
from llama_runner.system.locks import FileLock

ROOT = Path(__file__).resolve().parents[3]
# Waits for the word, so that both are in the middle of it at once, then names models one by one.
CHANGER = """
import sys
from pathlib import Path
from llama_runner.core.paths import home_at
from llama_runner.core.settings import ModelEntry
from llama_runner.system.config_changes import update_models_config

home, name, count = home_at(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for index in range(count):
    entry = {f"{name}-{index}": ModelEntry(path=f"/models/{name}.gguf")}
    update_models_config(
        home, lambda now: now.value.model_copy(update={"models": {**now.value.models, **entry}})
    )
"""


@pytest.fixture
def place(tmp_path: Path) -> Home:
    return home_at(tmp_path / "h")


def test_a_change_touches_what_it_names_and_says_what_was_there(place: Home) -> None:
    change_app_config(place, {"stress.concurrency": 7, "discovery.ports": [8080, 1234]})
    before, after = change_app_config(place, {"stress.requests": 9})
    assert (before.stress.requests, after.stress.requests) == (32, 9)
    now = load_app_config(place).value
    assert now == after
    assert (now.stress.concurrency, now.stress.requests, now.discovery.ports) == (7, 9, (8080, 1234))


@pytest.mark.parametrize(
    "bad", [{"stress.requests": 0}, {"stress.requests": "9"}, {"nonsense": 1}, {"stress": {}}, {"version": 2}]
)
def test_one_bad_change_and_none_is_made(place: Home, bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        change_app_config(place, {"stress.concurrency": 7, **bad})
    assert not place.app_config_file.exists()


def test_a_broken_file_is_not_added_to_but_single_settings_replace_it(place: Home) -> None:
    place.config_dir.mkdir(parents=True)
    place.app_config_file.write_text("{ almost")
    with pytest.raises(ConfigError, match="cannot be used"):
        edit_app_config(place, lambda config: config)
    assert place.app_config_file.read_text() == "{ almost"
    change_app_config(place, {"stress.concurrency": 7})
    before, after = edit_app_config(place, lambda config: config.model_copy())
    assert before == after and after.stress.concurrency == 7


def test_a_change_that_raises_changes_nothing_and_lets_go(place: Home) -> None:
    def refuse(_: Loaded[ModelsConfig]) -> ModelsConfig:
        raise ConfigError("No.", "Nothing was changed.")

    with pytest.raises(ConfigError, match="No"):
        update_models_config(place, refuse)
    assert not place.models_config_file.exists()
    entry = ModelEntry(path="/models/a.gguf")
    assert update_models_config(place, lambda _: ModelsConfig(models={"a": entry})).models == {"a": entry}


def test_two_programs_that_change_the_same_file_at_once_lose_nothing(place: Home) -> None:
    count = 20
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", CHANGER, str(place.config_dir.parent), name, str(count)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in ("here", "there")
    ]  # fmt: skip
    for program in programs:
        assert program.stdout is not None and program.stdout.readline() == "ready\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    for program in programs:
        program.communicate(timeout=60)
        assert program.returncode == 0

    expected = {f"{name}-{index}" for name in ("here", "there") for index in range(count)}
    assert set(load_models_config(place).value.models) == expected


def test_a_file_that_another_program_does_not_let_go_is_not_written(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_app_config(place, {"stress.concurrency": 7})
    change_app_config(place, {"stress.concurrency": 8})
    before = place.app_config_file.read_bytes()
    backup = next((place.config_dir / "backups").iterdir())
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_S", 0.05)

    with FileLock(place.app_config_file.with_name(".app_config.json.lock")) as theirs:
        assert theirs.acquire()
        with pytest.raises(StorageError, match="in use"):
            change_app_config(place, {"stress.concurrency": 9})
        with pytest.raises(StorageError, match="in use"):
            restore(place.app_config_file, backup, SystemClock())
    assert place.app_config_file.read_bytes() == before

    restore(place.app_config_file, backup, SystemClock())
    assert load_app_config(place).value.stress.concurrency == 7


def test_two_homes_that_share_a_file_by_a_link_share_its_lock(
    place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = home_at(tmp_path / "other")
    change_app_config(other, {"stress.concurrency": 7})
    place.config_dir.mkdir(parents=True)
    place.app_config_file.symlink_to(other.app_config_file)
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_S", 0.05)

    with FileLock(other.app_config_file.with_name(".app_config.json.lock")) as theirs:
        assert theirs.acquire()
        with pytest.raises(StorageError, match="in use"):
            change_app_config(place, {"stress.concurrency": 9})
