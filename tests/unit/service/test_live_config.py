"""Settings that follow their files."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llama_runner.core.config import save_app_config, set_setting
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.core.settings import AppConfig
from llama_runner.service.live_config import NO_OVERRIDES, LiveConfig, Overrides, with_overrides
from llama_runner.system.config_changes import change_app_config


@pytest.fixture
def folders(tmp_path: Path) -> Home:
    home = home_at(tmp_path / "home")
    create_folders(home)
    return home


@dataclass
class Board:
    """What is shown."""

    shown: list[str] = field(default_factory=list)
    count: int = 0

    def notice(self, text: str) -> None:
        self.count += 1
        self.shown.append(text)

    def withdraw(self, text: str) -> None:
        self.shown.remove(text)


def test_a_saved_change_is_seen_by_the_next_call(folders: Home) -> None:
    board = Board()
    config = LiveConfig(folders, NO_OVERRIDES, notices=board)
    assert config.app().runtime.stop_grace_s == 5
    save_app_config(folders, set_setting(config.app(), "runtime.stop_grace_s", "2.5"))
    assert config.app().runtime.stop_grace_s == 2.5
    assert board.count == 0


def test_a_file_that_breaks_while_running_is_told_and_changes_nothing(folders: Home) -> None:
    """F35, C1: told once, not with every look; what was read before it broke stays."""
    board = Board()
    save_app_config(folders, set_setting(AppConfig(), "runtime.stop_grace_s", "2.5"))
    config = LiveConfig(folders, NO_OVERRIDES, notices=board)
    before = config.app()
    folders.app_config_file.write_bytes(b'{"runtime": ')
    assert config.app() == before
    config.app()
    assert board.count == 1
    assert "app_config.json" in board.shown[0]
    save_app_config(folders, before)
    assert config.app() == before
    assert board.shown == []


def test_a_bad_value_is_told_until_it_is_mended(folders: Home) -> None:
    """C5, F35."""
    board = Board()
    config = LiveConfig(folders, NO_OVERRIDES, notices=board)
    folders.app_config_file.write_text('{"stress": {"requests": 0}, "chat": {"idle_timeout_s": "long"}}')
    config.app()
    assert {text.partition(" ")[0] for text in board.shown} == {"stress.requests", "chat.idle_timeout_s"}
    folders.app_config_file.write_text('{"stress": {"requests": 0}}')
    config.app()
    assert [text.partition(" ")[0] for text in board.shown] == ["stress.requests"]
    assert board.count == 2


def test_what_counts_from_the_next_start_says_so_until_it_is_taken_back(folders: Home) -> None:
    board = Board()
    config = LiveConfig(folders, NO_OVERRIDES, notices=board)
    change_app_config(folders, {"service.control_port": 9000, "ui.theme": "dark", "logging.level": "DEBUG"})
    config.app()
    assert board.shown == ["Changed for the next start of the service: service.control_port, logging.level."]
    change_app_config(folders, {"service.control_port": 8035, "logging.level": "INFO"})
    config.app()
    assert board.shown == []


def test_a_file_that_goes_away_leaves_defaults(folders: Home) -> None:
    """F35."""
    save_app_config(folders, set_setting(AppConfig(), "runtime.stop_grace_s", "2"))
    config = LiveConfig(folders, NO_OVERRIDES, notices=Board())
    assert config.app().runtime.stop_grace_s == 2
    os.unlink(folders.app_config_file)
    assert config.app() == AppConfig()


def test_the_command_line_wins_over_the_file_on_its_own_system_only(tmp_path: Path) -> None:
    wishes = Overrides(models_dir=tmp_path / "models", engine=tmp_path / "llama-server")
    on_linux = with_overrides(AppConfig(), wishes, "linux").runtime
    assert on_linux.models_dir.linux == str(tmp_path / "models")
    assert on_linux.models_dir.windows == AppConfig().runtime.models_dir.windows
    on_windows = with_overrides(AppConfig(), wishes, "win32").runtime
    assert on_windows.engine_path.windows == str(tmp_path / "llama-server")
    assert on_windows.engine_path.linux == ""
    assert with_overrides(AppConfig(), NO_OVERRIDES, "linux") == AppConfig()
