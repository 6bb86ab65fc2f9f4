"""Settings that follow their files."""

import os
from pathlib import Path

import pytest

from llama_runner.core.config import save_app_config, set_setting
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.core.settings import AppConfig
from llama_runner.service.live_config import NO_OVERRIDES, LiveConfig, Overrides, with_overrides


@pytest.fixture
def folders(tmp_path: Path) -> Home:
    home = home_at(tmp_path / "home")
    create_folders(home)
    return home


def test_a_saved_change_is_seen_by_the_next_call(folders: Home) -> None:
    problems: list[str] = []
    config = LiveConfig(folders, NO_OVERRIDES, on_problem=problems.append)
    assert config.app().runtime.stop_grace_s == 5
    save_app_config(folders, set_setting(config.app(), "runtime.stop_grace_s", "2.5"))
    assert config.app().runtime.stop_grace_s == 2.5
    assert problems == []


def test_a_file_that_breaks_while_running_is_told_and_changes_nothing(folders: Home) -> None:
    """F35, C1: told once, not with every look; what was read before it broke stays."""
    problems: list[str] = []
    save_app_config(folders, set_setting(AppConfig(), "runtime.stop_grace_s", "2.5"))
    config = LiveConfig(folders, NO_OVERRIDES, on_problem=problems.append)
    before = config.app()
    folders.app_config_file.write_bytes(b'{"runtime": ')
    assert config.app() == before
    config.app()
    assert len(problems) == 1
    assert "app_config.json" in problems[0]


def test_a_file_that_goes_away_leaves_defaults(folders: Home) -> None:
    """F35."""
    save_app_config(folders, set_setting(AppConfig(), "runtime.stop_grace_s", "2"))
    config = LiveConfig(folders, NO_OVERRIDES, on_problem=lambda text: None)
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
