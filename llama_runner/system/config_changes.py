"""Changes of the two configuration files, one program at a time: what another one wrote meanwhile stays.

The window, a command and the service may all change settings at once. Each reads the file, changes what it
means to change and writes it while it holds the file's lock.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llama_runner.core import backups
from llama_runner.core.backups import make_folder
from llama_runner.core.clock import Clock
from llama_runner.core.config import (
    Loaded,
    load_app_config,
    load_models_config,
    save_app_config,
    save_models_config,
)
from llama_runner.core.editing import replace_setting
from llama_runner.core.errors import ConfigError
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig, ModelsConfig
from llama_runner.system.locks import exclusive


def update_app_config(
    home: Home, change: Callable[[Loaded[AppConfig]], AppConfig]
) -> tuple[AppConfig, AppConfig]:
    """Make what `change` returns the settings; it is given them as they are in the file now. Blocks.

    Returns:
        The settings before and after.

    Raises:
        ConfigError: The file was written by a newer version. Nothing was changed, as when `change` raises.
        StorageError: The file cannot be read or written, or another program does not let go of it; the old
            one is untouched.
    """
    with _alone(home.app_config_file):
        loaded = load_app_config(home)
        after = change(loaded)
        save_app_config(home, after)
    return loaded.value, after


def edit_app_config(home: Home, edit: Callable[[AppConfig], AppConfig]) -> tuple[AppConfig, AppConfig]:
    """Add to the settings, or take out of them; as `update_app_config`. Blocks.

    Raises:
        ConfigError: Nothing of the file can be used either: what is added to would be lost.
    """

    def change(loaded: Loaded[AppConfig]) -> AppConfig:
        if loaded.unusable:
            raise ConfigError(loaded.problems[0].message, "Mend the file first; nothing was saved.")
        return edit(loaded.value)

    return update_app_config(home, change)


def change_app_config(home: Home, changes: Mapping[str, Any]) -> tuple[AppConfig, AppConfig]:
    """Give single settings new values, by dotted key: all of them or none; the rest stays as it is. Blocks.

    A file that cannot be used is replaced; it is kept as a backup.

    Raises:
        ConfigError: A key or a value is wrong. Else as `update_app_config`, whose return this is.
    """

    def change(loaded: Loaded[AppConfig]) -> AppConfig:
        value = loaded.value
        for key, new in changes.items():
            value = replace_setting(value, key, new)
        return value

    return update_app_config(home, change)


def update_models_config(home: Home, change: Callable[[Loaded[ModelsConfig]], ModelsConfig]) -> ModelsConfig:
    """Make what `change` returns the named models, as `update_app_config` does. Returns them. Blocks."""
    with _alone(home.models_config_file):
        after = change(load_models_config(home))
        save_models_config(home, after)
    return after


def restore(path: Path, backup: Path, clock: Clock) -> None:
    """Put a backup in the place of the configuration file `path`, as `core.backups.restore` does. Blocks."""
    with _alone(path):
        backups.restore(path, backup, clock)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    make_folder(path.parent)
    # Two homes may share a file by a link; then they share its lock.
    target = Path(os.path.realpath(path))
    with exclusive(path, target.with_name(f".{target.name}.lock")):
        yield
