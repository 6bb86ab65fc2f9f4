import os
import stat
import sys
from pathlib import Path

import pytest

from llama_runner.core import paths
from llama_runner.core.errors import ConfigError, StorageError
from llama_runner.core.paths import Home, create_folders, current_home, find_checkout, find_home, home_at

LINUX = {"HOME": "/home/ann"}


def find(
    env: dict[str, str],
    *,
    override: Path | None = None,
    checkout: Path | None = None,
    frozen: bool = False,
    platform: str = "linux",
) -> Home:
    return find_home(env, override=override, checkout=checkout, frozen=frozen, platform=platform)


def test_the_command_line_wins_over_everything() -> None:
    env = LINUX | {"LLAMA_RUNNER_HOME": "/other"}
    home = find(env, override=Path("/mine"), checkout=Path("/src"))
    assert home == home_at(Path("/mine"))
    assert home.run_dir == Path("/mine/data/run")
    assert home.logs_dir == Path("/mine/logs")


def test_the_variable_wins_over_checkout_and_package_and_empty_means_unset() -> None:
    env = LINUX | {"LLAMA_RUNNER_HOME": "/other"}
    assert find(env, checkout=Path("/src")).root == Path("/other")
    assert find(env, frozen=True, checkout=Path("/src")).root == Path("/other")
    assert find({"LLAMA_RUNNER_HOME": ""}, checkout=Path("/src")).root == Path("/src")


def test_a_checkout_keeps_its_files_and_the_packaged_application_never_beside_itself() -> None:
    assert find(LINUX, checkout=Path("/src")).config_dir == Path("/src/config")
    packaged = find(LINUX, checkout=Path("/opt/app"), frozen=True)
    assert packaged.config_dir == Path("/home/ann/.config/llama-runner")


def test_installed_on_linux_the_users_own_folders_are_used() -> None:
    assert find(LINUX) == Home(
        root=Path("/home/ann/.local/share/llama-runner"),
        config_dir=Path("/home/ann/.config/llama-runner"),
        logs_dir=Path("/home/ann/.local/state/llama-runner/logs"),
        data_dir=Path("/home/ann/.local/share/llama-runner"),
        run_dir=Path("/home/ann/.local/share/llama-runner/run"),
    )


def test_xdg_variables_are_followed_unless_relative() -> None:
    env = LINUX | {"XDG_CONFIG_HOME": "/x/c", "XDG_STATE_HOME": "/x/s", "XDG_DATA_HOME": "data"}
    home = find(env)
    assert home.config_dir == Path("/x/c/llama-runner")
    assert home.logs_dir == Path("/x/s/llama-runner/logs")
    assert home.data_dir == Path("/home/ann/.local/share/llama-runner")


@pytest.mark.parametrize(
    "env", [{"LOCALAPPDATA": r"C:\Users\ann\AppData\Local"}, {"USERPROFILE": r"C:\Users\ann"}]
)
def test_installed_on_windows_local_app_data_is_used(env: dict[str, str]) -> None:
    home = find(env, platform="win32")
    parts = str(home.root).replace("\\", "/").split("/")
    assert parts == ["C:", "Users", "ann", "AppData", "Local", "llama-runner"]
    assert home.config_dir == home.root / "config"


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_a7_without_any_home_the_error_names_the_way_out(platform: str) -> None:
    with pytest.raises(ConfigError, match="LLAMA_RUNNER_HOME"):
        find({}, platform=platform)


def test_the_names_of_the_configuration_files() -> None:
    home = home_at(Path("/h"))
    assert home.app_config_file == Path("/h/config/app_config.json")
    assert home.models_config_file == Path("/h/config/models_config.json")


def test_a_checkout_is_known_by_its_files(tmp_path: Path) -> None:
    module = tmp_path / "llama_runner" / "core" / "paths.py"
    assert find_checkout(module) is None
    (tmp_path / "main.py").touch()
    assert find_checkout(module) is None
    (tmp_path / "pyproject.toml").touch()
    assert find_checkout(module) == tmp_path
    assert find_checkout(Path(paths.__file__)) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="permission bits")
def test_new_folders_are_private_and_existing_ones_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    home = home_at(tmp_path / "a" / "b" / "c")
    create_folders(home)
    create_folders(home)
    for folder in (*home.folders, tmp_path / "a" / "b"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


def test_a_file_in_the_place_of_a_folder_is_reported_with_advice(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(StorageError, match=r"logs cannot be created.*--home"):
        create_folders(home_at(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        create_folders(home_at(tmp_path / "file" / "below"))


def test_the_current_home_is_absolute_and_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = current_home(Path("relative"))
    assert home == home_at(tmp_path / "relative")
    assert all(folder.is_dir() for folder in home.folders)


def test_the_current_home_follows_the_environment(home: Path) -> None:
    assert current_home().root == home
    assert os.environ["LLAMA_RUNNER_HOME"] == str(home)
