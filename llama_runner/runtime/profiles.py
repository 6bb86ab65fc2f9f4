"""A model's named ways to be loaded, as models_config.json keeps them. Pure: settings in, settings out."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from llama_runner.core.errors import NotFoundError, UsageError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.settings import ModelEntry, ModelsConfig
from llama_runner.core.text import visible_controls
from llama_runner.runtime.catalogue import ModelFile, clean_id

# More than anybody tells apart.
MAX_PROFILES: Final = 64
_NAME: Final = re.compile(r"\w(?:[\w .+-]{0,62}[\w+])?")


@dataclass(frozen=True, slots=True)
class ModelProfiles:
    """What a person wrote down about loading one model.

    Attributes:
        default: The profile that counts when none is named.
        parameters: Options of every load; a profile counts before them.
    """

    model_id: str
    default: str | None
    profiles: Mapping[str, LoadOptions]
    parameters: LoadOptions


def entry_of(config: ModelsConfig, model: ModelFile, root: Path) -> tuple[str, ModelEntry] | None:
    """The model's entry and the name it is under; None for a model that was only found.

    Args:
        root: The models folder, where entries' paths begin.
    """
    path = _resolved(model.path)

    def of_file(names: Iterable[str]) -> str | None:
        return next((name for name in names if _resolved(root / config.models[name].path) == path), None)

    # Nearly always its own: looking at the paths of all others takes time.
    name = of_file(name for name in config.models if clean_id(name) == model.id) or of_file(config.models)
    return None if name is None else (name, config.models[name])


def profiles_of(model: ModelFile, entry: ModelEntry | None) -> ModelProfiles:
    """All there is."""
    if entry is None:
        return ModelProfiles(model.id, None, {}, LoadOptions())
    default = entry.default_profile if entry.default_profile in entry.profiles else None
    return ModelProfiles(model.id, default, entry.profiles, entry.parameters)


def profile_named(found: ModelProfiles, name: str) -> LoadOptions:
    """One of them. Raises NotFoundError with those there are."""
    if name in found.profiles:
        return found.profiles[name]
    known = ", ".join(found.profiles) or "none"
    raise NotFoundError(
        f"{found.model_id} has no profile {visible_controls(name, 80)}.",
        f"Its profiles: {known}.",
        tuple(found.profiles),
    )


def with_profile(
    config: ModelsConfig, model: ModelFile, root: Path, name: str, options: LoadOptions
) -> ModelsConfig:
    """`config` with a profile added or replaced; a model that was only found gets an entry.

    Raises UsageError: The name is none, or there are too many.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{visible_controls(name, 80) or 'An empty text'} cannot be the name of a profile.",
            "Take 1 to 64 letters, digits, spaces and . + - _ only.",
        )
    entry = _entry_or_new(config, model, root)[1]
    if name not in entry.profiles and len(entry.profiles) >= MAX_PROFILES:
        raise UsageError(f"{model.id} has {MAX_PROFILES} profiles already.", "Remove one of them first.")
    return _changed(config, model, root, {"profiles": {**entry.profiles, name: options}})


def without_profile(config: ModelsConfig, model: ModelFile, root: Path, name: str) -> ModelsConfig:
    """`config` with a profile less, the default too when it was that. Raises NotFoundError."""
    entry = _having(config, model, root, name)
    changes: dict[str, object] = {
        "profiles": {known: options for known, options in entry.profiles.items() if known != name}
    }
    if entry.default_profile == name:
        changes["default_profile"] = None
    return _changed(config, model, root, changes)


def with_default_profile(
    config: ModelsConfig, model: ModelFile, root: Path, name: str | None
) -> ModelsConfig:
    """`config` with another profile as the default; None for none. Raises NotFoundError."""
    if name is not None:
        _having(config, model, root, name)
    return _changed(config, model, root, {"default_profile": name})


def _having(config: ModelsConfig, model: ModelFile, root: Path, name: str) -> ModelEntry:
    entry = _entry_or_new(config, model, root)[1]
    profile_named(profiles_of(model, entry), name)
    return entry


def _entry_or_new(config: ModelsConfig, model: ModelFile, root: Path) -> tuple[str, ModelEntry]:
    found = entry_of(config, model, root)
    if found is not None:
        return found
    try:
        return model.id, ModelEntry(path=_spelt(model.path, root))
    except ValidationError as error:
        raise UsageError(
            f"The path of {model.id} cannot be written down.", "Rename its file or folder to plain letters."
        ) from error


def _changed(
    config: ModelsConfig, model: ModelFile, root: Path, changes: Mapping[str, object]
) -> ModelsConfig:
    name, entry = _entry_or_new(config, model, root)
    models = {**config.models, name: entry.model_copy(update=dict(changes))}
    return config.model_copy(update={"models": models})


def _spelt(path: Path, root: Path) -> str:
    """As a person would write it: below the models folder where it lies there."""
    for folder in (root, _resolved(root)):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return str(path)


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path
