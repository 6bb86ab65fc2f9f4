"""The two configuration files: loaded whatever their state, saved whole, never losing what the user wrote."""

import contextlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from llama_runner.core.backups import MAX_CONFIG_BYTES, backups_of, keep_version, make_folder
from llama_runner.core.clashes import clashes
from llama_runner.core.clock import Clock, SystemClock
from llama_runner.core.editing import get_setting, replace_setting, set_setting
from llama_runner.core.errors import ConfigError, StorageError
from llama_runner.core.fields import Section, entry_type, section_type
from llama_runner.core.files import Disk, read_bounded, write_atomic, write_new
from llama_runner.core.jsonio import JsonRejected, JsonValue, dump_json, parse_json
from llama_runner.core.paths import Home
from llama_runner.core.settings import CONFIG_VERSION, AppConfig, ModelsConfig
from llama_runner.core.validation import Problem, Severity, validate

__all__ = [
    "MAX_CONFIG_BYTES",
    "Loaded",
    "Problem",
    "Severity",
    "backups_of",
    "get_setting",
    "load_app_config",
    "load_models_config",
    "replace_setting",
    "save_app_config",
    "save_models_config",
    "set_setting",
]

# Windows shows every file as writable by all; there the user's profile protects it.
_MODES_MEAN_SOMETHING: Final = os.name == "posix"

S = TypeVar("S", bound=Section)
_Object = dict[str, JsonValue]
Migration = Callable[[_Object], _Object]
# From a version to the next. A version without a step here is read as it is.
MIGRATIONS: Final[Mapping[int, Migration]] = {}


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """A configuration as it applies.

    Attributes:
        problems: What was wrong with the file, in the order of the file.
        writable: Whether saving is allowed; False for a file of a newer version or one that cannot be read.
        unusable: Whether nothing of the file could be used; saving replaces all of it.
    """

    value: S
    problems: tuple[Problem, ...]
    writable: bool
    unusable: bool = False


@dataclass(frozen=True, slots=True)
class _File(Generic[S]):
    """One configuration file: where it is, what is in it, how old versions are brought up to date."""

    path: Path
    model: type[S]
    migrations: Mapping[int, Migration]


def load_app_config(home: Home, *, clock: Clock | None = None) -> Loaded[AppConfig]:
    """The settings; defaults when there is no file. Never raises."""
    return _load(_File(home.app_config_file, AppConfig, MIGRATIONS), clock or SystemClock())


def load_models_config(home: Home, *, clock: Clock | None = None) -> Loaded[ModelsConfig]:
    """The models the user named; none when there is no file. Never raises."""
    return _load(_File(home.models_config_file, ModelsConfig, MIGRATIONS), clock or SystemClock())


def save_app_config(
    home: Home, value: AppConfig, *, clock: Clock | None = None, disk: Disk | None = None
) -> None:
    """Make `value` the settings.

    Only what differs from the file as it is now is changed in it: unknown keys, and bad values that `value`
    leaves at what they were read as, stay as the user wrote them. The old file goes to `config/backups`.
    Who changes what is there goes through `system.config_changes`: between reading and this, another program
    may have written.

    Raises:
        ConfigError: The file was written by a newer version.
        StorageError: It cannot be read or written; the old file is untouched.
    """
    _save(_File(home.app_config_file, AppConfig, MIGRATIONS), value, clock or SystemClock(), disk)


def save_models_config(
    home: Home, value: ModelsConfig, *, clock: Clock | None = None, disk: Disk | None = None
) -> None:
    """Make `value` the named models, as `save_app_config` does."""
    _save(_File(home.models_config_file, ModelsConfig, MIGRATIONS), value, clock or SystemClock(), disk)


def _load(file: _File[S], clock: Clock) -> Loaded[S]:
    name = file.path.name
    try:
        data = read_bounded(file.path, max_bytes=MAX_CONFIG_BYTES)
    except StorageError as error:
        hint = f"{error.hint} Until then the defaults apply."
        return Loaded(file.model(), (Problem(Severity.ERROR, name, error.message, hint),), writable=False)
    if data is None:
        return Loaded(file.model(), (), writable=True)
    problems = _close_to_others(file.path)
    try:
        raw = parse_json(data, max_bytes=MAX_CONFIG_BYTES, allow_nonfinite=True)
    except JsonRejected as error:
        problem = Problem(
            Severity.ERROR,
            name,
            f"{file.path} cannot be used: {error}. The defaults apply.",
            f"Correct or delete it; {_quarantine(file.path, data, clock)}.",
        )
        return Loaded(file.model(), (problem, *problems), writable=True, unusable=True)
    raw, version_problems, newer = _migrated(raw, file)
    closed = _closed_to_us(file.path)
    value, found = validate(file.model, raw, file_name=name)
    together = clashes(value, file_name=name) if isinstance(value, AppConfig) else ()
    return Loaded(
        value,
        (*version_problems, *closed, *found, *together, *problems),
        writable=not (newer or closed),
        unusable=not isinstance(raw, dict),
    )


def _migrated(raw: JsonValue, file: _File[S]) -> tuple[JsonValue, tuple[Problem, ...], bool]:
    """`raw` in today's form, what there is to say about its version, and whether it is from the future."""
    if not isinstance(raw, dict):
        return raw, (), False
    version, name = raw.get("version", CONFIG_VERSION), file.path.name
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        message = f"version must be a whole number from 0 to {CONFIG_VERSION}; using {CONFIG_VERSION}."
        return raw, (Problem(Severity.ERROR, "version", message, f"Correct it in {name}."),), False
    if version > CONFIG_VERSION:
        message = (
            f"{name} was written by a newer version of this program (format {version}); it is only read."
        )
        hint = "Update this program to change settings, or move the file away to start anew."
        return raw, (Problem(Severity.WARNING, "version", message, hint),), True
    if version == CONFIG_VERSION:
        return raw, (), False
    for step in range(version, CONFIG_VERSION):
        raw = file.migrations.get(step, dict)(raw)
    message = f"{name} has the older format {version}; it is brought up to date with the next save."
    return raw, (Problem(Severity.NOTICE, "version", message, "Nothing to do."),), False


def _quarantine(path: Path, data: bytes, clock: Clock) -> str:
    """Keep a copy of a file that cannot be used, once; what to tell about it."""
    for kept in sorted(path.parent.glob(f"{path.name}.corrupt-*")):
        with contextlib.suppress(StorageError):
            if read_bounded(kept, max_bytes=MAX_CONFIG_BYTES) == data:
                return f"a copy is kept as {kept.name}"
    copy = path.with_name(f"{path.name}.corrupt-{clock.utc():%Y%m%dT%H%M%S%f}Z")
    try:
        write_new(copy, data)
    except StorageError as error:
        return f"no copy could be kept ({error.message.rstrip('.')})"
    return f"a copy is kept as {copy.name}"


def _closed_to_us(path: Path) -> tuple[Problem, ...]:
    """What to say when the user took away their own right to write the file: no rename gets around it."""
    if os.access(path, os.W_OK):
        return ()
    message = f"{path} is read-only, so nothing in it can be changed."
    return (Problem(Severity.NOTICE, path.name, message, "Make it writable to change it here."),)


def _close_to_others(path: Path) -> tuple[Problem, ...]:
    """Take away the right of all others to write the file, if they have it (C10)."""
    if not _MODES_MEAN_SOMETHING:
        return ()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & stat.S_IWOTH:
            return ()
        path.chmod(mode & ~(stat.S_IWOTH | stat.S_IWGRP))
    except OSError as error:
        message = (
            f"{path} can be changed by every user of this machine, and that could not be mended: {error}."
        )
        return (Problem(Severity.WARNING, path.name, message, "Make it writable by you alone."),)
    message = f"{path} could be changed by every user of this machine; now only by you."
    return (Problem(Severity.WARNING, path.name, message, "Check that its content is yours."),)


def _save(file: _File[S], value: S, clock: Clock, disk: Disk | None) -> None:
    old = read_bounded(file.path, max_bytes=MAX_CONFIG_BYTES)
    raw: JsonValue = {}
    with contextlib.suppress(JsonRejected):
        raw = parse_json(old or b"{}", max_bytes=MAX_CONFIG_BYTES, allow_nonfinite=True)
    raw, problems, newer = _migrated(raw, file)
    if newer:
        raise ConfigError(problems[0].message, problems[0].hint)
    if old is not None and (closed := _closed_to_us(file.path)):
        raise StorageError(closed[0].message, closed[0].hint)
    before, _ = validate(file.model, raw, file_name=file.path.name)
    merged = merge(raw if isinstance(raw, dict) else {}, before, value) | {"version": CONFIG_VERSION}
    new = dump_json(merged, indent=2)
    if new == old:
        return
    if old is not None:
        keep_version(file.path, old, clock, disk)
    make_folder(file.path.parent)
    write_atomic(file.path, new, disk=disk)


def merge(raw: _Object, before: Section, after: Section) -> _Object:
    """`raw` with what changed from `before`, as it was read, to `after`.

    Whatever is equal in both stays as it is in `raw`, be it unknown, bad or clamped; what `raw` lacks is
    added.
    """
    merged = dict(raw)
    for name, field in type(after).model_fields.items():
        old, new = getattr(before, name), getattr(after, name)
        if section_type(field):
            merged[name] = _merge_section(raw.get(name), old, new)
        elif entry_type(field):
            merged[name] = _merge_entries(raw.get(name), old, new)
        elif old != new or name not in raw:
            merged[name] = after.model_dump(mode="json", include={name})[name]
    return merged


def _merge_section(raw: JsonValue, before: Section, after: Section) -> JsonValue:
    if isinstance(raw, dict):
        return merge(raw, before, after)
    # Something else stands where a section belongs: it stays until the section is changed.
    return raw if raw is not None and before == after else after.model_dump(mode="json")


def _merge_entries(raw: JsonValue, before: Mapping[str, Section], after: Mapping[str, Section]) -> JsonValue:
    if not isinstance(raw, dict):
        return raw if raw is not None and before == after else _dump_entries(after)
    # Entries that could not be read are in neither mapping and stay.
    merged = {name: value for name, value in raw.items() if name in after or name not in before}
    for name, entry in after.items():
        merged[name] = _merge_section(raw.get(name), before.get(name, entry), entry)
    return merged


def _dump_entries(entries: Mapping[str, Section]) -> _Object:
    return {name: entry.model_dump(mode="json") for name, entry in entries.items()}
