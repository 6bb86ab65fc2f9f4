"""Where this program keeps its files: one home with config, logs, data and run folders.

The rule is pure (`find_home`); only `current_home` touches the disk. Nothing else may build these paths.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llama_runner.core.errors import ConfigError, StorageError

HOME_VARIABLE: Final = "LLAMA_RUNNER_HOME"
FOLDER_NAME: Final = "llama-runner"
# Settings may hold addresses of private machines and logs hold what was done: nobody else's business.
PRIVATE_FOLDER_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of one home. Two programs with the same `root` share settings and one service.

    Attributes:
        run_dir: Files that live as long as a process: the run file and locks.
    """

    root: Path
    config_dir: Path
    logs_dir: Path
    data_dir: Path
    run_dir: Path

    @property
    def app_config_file(self) -> Path:
        """The settings."""
        return self.config_dir / "app_config.json"

    @property
    def models_config_file(self) -> Path:
        """The models the user named, with their parameters."""
        return self.config_dir / "models_config.json"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that must exist, parents first."""
        return (self.root, self.config_dir, self.logs_dir, self.data_dir, self.run_dir)


def home_at(root: Path) -> Home:
    """The home with everything below `root`."""
    return Home(root, root / "config", root / "logs", root / "data", root / "data" / "run")


def find_home(
    env: Mapping[str, str], *, override: Path | None, checkout: Path | None, frozen: bool, platform: str
) -> Home:
    """Which home applies; touches nothing.

    Args:
        override: What the user gave with `--home`; wins over everything.
        checkout: Root of the source tree this program runs from, None when it is installed.
        frozen: Whether this is the packaged application; it never writes beside itself.
        platform: As `sys.platform` spells it.

    Raises:
        ConfigError: The environment names no folder of the user.
    """
    if override is not None:
        return home_at(override)
    if env.get(HOME_VARIABLE):
        return home_at(Path(env[HOME_VARIABLE]))
    if checkout is not None and not frozen:
        return home_at(checkout)
    return _windows_home(env) if platform == "win32" else _xdg_home(env)


def _no_user_folder(variable: str) -> ConfigError:
    return ConfigError(
        f"The environment names no folder for your files ({variable} is not set).",
        f"Set {HOME_VARIABLE} or use --home to say where they belong.",
    )


def _windows_home(env: Mapping[str, str]) -> Home:
    if local := env.get("LOCALAPPDATA"):
        return home_at(Path(local) / FOLDER_NAME)
    if profile := env.get("USERPROFILE"):
        return home_at(Path(profile) / "AppData" / "Local" / FOLDER_NAME)
    raise _no_user_folder("LOCALAPPDATA")


def _xdg_home(env: Mapping[str, str]) -> Home:
    def base(variable: str, *default: str) -> Path:
        # The XDG rules say that a relative path in these variables is to be ignored.
        if (value := env.get(variable, "")).startswith("/"):
            return Path(value) / FOLDER_NAME
        if not env.get("HOME"):
            raise _no_user_folder("HOME")
        return Path(env["HOME"], *default) / FOLDER_NAME

    data = base("XDG_DATA_HOME", ".local", "share")
    return Home(
        root=data,
        config_dir=base("XDG_CONFIG_HOME", ".config"),
        logs_dir=base("XDG_STATE_HOME", ".local", "state") / "logs",
        data_dir=data,
        run_dir=data / "run",
    )


def find_checkout(package_file: Path) -> Path | None:
    """Root of the source tree of `llama_runner/core/<package_file>`, None when installed."""
    root = package_file.resolve().parents[2]
    return root if (root / "main.py").is_file() and (root / "pyproject.toml").is_file() else None


def create_folders(home: Home) -> None:
    """Make the folders that are missing, private to the user. Raises StorageError."""
    for folder in home.folders:
        try:
            make_private_folder(folder)
        except OSError as error:
            raise StorageError(
                f"The folder {folder} cannot be created: {error.strerror or error}.",
                f"Choose another place with --home or {HOME_VARIABLE}.",
            ) from error


def make_private_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it, each private to the user. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=PRIVATE_FOLDER_MODE, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")


def current_home(override: Path | None = None) -> Home:
    """The home of this process, with its folders made.

    Raises:
        ConfigError: No folder of the user is known.
        StorageError: A folder cannot be created.
    """
    home = find_home(
        os.environ,
        override=override,
        checkout=find_checkout(Path(__file__)),
        frozen=bool(getattr(sys, "frozen", False)),
        platform=sys.platform,
    )
    # Made absolute once, so that a later change of the working folder moves nothing.
    home = Home(
        *(
            path.absolute()
            for path in (home.root, home.config_dir, home.logs_dir, home.data_dir, home.run_dir)
        )
    )
    create_folders(home)
    return home
