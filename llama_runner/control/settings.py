"""The settings as they travel through the control API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """Something wrong in a configuration file that did not stop it from loading.

    Attributes:
        key: Dotted name of the setting, or the file's name.
        message: What is wrong and what applies instead, one sentence.
        hint: What to do, one sentence.
    """

    file: str
    severity: Literal["error", "warning", "notice"]
    key: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class SettingsState:
    """The settings the service works with.

    Attributes:
        settings: By section, as in app_config.json; what the command line says is in place.
        problems: What is wrong in the two configuration files now.
        writable: Whether they may be changed; False for a file of a newer version or one that cannot be read.
    """

    settings: Mapping[str, Any]
    problems: tuple[SettingProblem, ...]
    writable: bool


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """Body of a change: new values by dotted name. All of them are made, or none."""

    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """One setting after a change.

    Attributes:
        applies: "now", with the next "load" of a model, or with the next "start" of the program.
    """

    key: str
    before: Any
    value: Any
    applies: Literal["now", "load", "start"]


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """What a change did, and the settings after it."""

    changed: tuple[ChangedSetting, ...]
    state: SettingsState
