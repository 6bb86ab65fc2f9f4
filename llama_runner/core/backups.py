"""The latest versions of a configuration file, kept beside it: one before each change, and on request."""

import contextlib
import re
from pathlib import Path
from typing import Final

from llama_runner.core.clock import Clock
from llama_runner.core.errors import ConfigError, StorageError
from llama_runner.core.files import Disk, read_bounded, write_atomic
from llama_runner.core.jsonio import JsonRejected, parse_json
from llama_runner.core.paths import make_private_folder

# C10: ten thousand times the size of a real file.
MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
BACKUPS_KEPT: Final = 10


def backups_of(path: Path) -> tuple[Path, ...]:
    """The backups of a configuration file, newest first."""
    name = re.compile(rf"{re.escape(path.stem)}-\d{{8}}T\d{{12}}Z{re.escape(path.suffix)}")
    folder = path.parent / "backups"
    found = [entry for entry in folder.glob("*") if name.fullmatch(entry.name)]
    return tuple(sorted(found, key=lambda entry: entry.name, reverse=True))


def back_up(path: Path, clock: Clock) -> Path | None:
    """Keep a copy of the file as it is, usable or not; None when there is none. Raises StorageError."""
    data = read_bounded(path, max_bytes=MAX_CONFIG_BYTES)
    return None if data is None else keep_version(path, data, clock)


def keep_version(path: Path, data: bytes, clock: Clock, disk: Disk | None = None) -> Path:
    """Keep `data`, a version of `path`; the oldest versions beyond `BACKUPS_KEPT` go. Raises StorageError."""
    folder = path.parent / "backups"
    make_folder(folder)
    copy = folder / f"{path.stem}-{clock.utc():%Y%m%dT%H%M%S%f}Z{path.suffix}"
    write_atomic(copy, data, disk=disk)
    for backup in backups_of(path)[BACKUPS_KEPT:]:
        # Held open by a scanner, perhaps; the next save tries again.
        with contextlib.suppress(OSError):
            backup.unlink()
    return copy


def restore(path: Path, backup: Path, clock: Clock) -> None:
    """Put a backup in the place of `path`; what is there now becomes a backup itself.

    Raises:
        ConfigError: The backup is damaged; nothing was changed.
        StorageError: It cannot be read, or the file cannot be written; the old file is untouched.
    """
    data = read_bounded(backup, max_bytes=MAX_CONFIG_BYTES) or b""
    try:
        parse_json(data, max_bytes=MAX_CONFIG_BYTES, allow_nonfinite=True)
    except JsonRejected as error:
        raise ConfigError(f"{backup.name} cannot be used: {error}.", "Choose another backup.") from error
    back_up(path, clock)
    write_atomic(path, data)


def make_folder(folder: Path) -> None:
    """Create a folder of the user's own. Raises StorageError."""
    try:
        make_private_folder(folder)
    except OSError as error:
        raise StorageError(
            f"The folder {folder} cannot be created: {error.strerror or error}.", "Check its permissions."
        ) from error
