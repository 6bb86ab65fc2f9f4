"""Values from a file into the settings schema, field by field: a bad one never discards the others."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from llama_runner.core.fields import (
    BadText,
    Kind,
    Section,
    SettingInfo,
    entry_type,
    plain_number,
    section_type,
    setting_info,
)
from llama_runner.core.jsonio import JsonValue
from llama_runner.core.text import visible_controls

S = TypeVar("S", bound=Section)

# Not settings, but welcome in the file: editors read the schema's address, the loader reads the version.
_FILE_KEYS: Final = frozenset({"$schema", "version"})
# Enough to recognise a value by, short enough for one line of a message.
_SHOWN_CHARS: Final = 60
# More entries than anybody names by hand; bounds the work a hostile file can cause.
MAX_ENTRIES: Final = 2000
# Enough to mend a file by; a file of nothing but mistakes must not flood the log.
MAX_PROBLEMS: Final = 100


class Severity(StrEnum):
    """How much a problem matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a configuration file that did not stop it from loading.

    Attributes:
        key: Dotted name of the setting, or the file's name.
        message: One sentence: what is wrong and what applies instead.
        hint: One sentence: what to do.
    """

    severity: Severity
    key: str
    message: str
    hint: str


class _Unusable(Exception):
    """An entry lacks what it cannot be without."""


def validate(model: type[S], raw: JsonValue, *, file_name: str) -> tuple[S, tuple[Problem, ...]]:
    """The settings in `raw`.

    Args:
        file_name: Where they came from, for the messages.

    Returns:
        The settings, with the default (or the nearest allowed value) where a value is bad, and a problem for
        each of those and for each unknown key. At most `MAX_PROBLEMS`.
    """
    reader = _Reader(file_name)
    value = reader.section(model, raw, "")
    return value, tuple(reader.problems[:MAX_PROBLEMS])


def shown(value: object) -> str:
    """A value as a message quotes it: JSON, cut."""
    return visible_controls(json.dumps(value, ensure_ascii=False, default=str), _SHOWN_CHARS)


def expectation(info: SettingInfo, error: ErrorDetails) -> str:
    """What completes "must be …" for this error."""
    cause = error.get("ctx", {}).get("error")
    return str(cause) if isinstance(cause, BadText) else info.expectation


class _Reader:
    def __init__(self, file_name: str) -> None:
        self._file_name = file_name
        self.problems: list[Problem] = []

    def section(self, model: type[S], raw: JsonValue, prefix: str) -> S:
        if not isinstance(raw, dict):
            name = prefix.removesuffix(".") or self._file_name
            self._add(Severity.ERROR, name, f"{name} must be an object in braces; using its defaults.")
            raw = {}
        self._tell_unknown(model, raw, prefix)
        values: dict[str, Any] = {}
        for name, field in model.model_fields.items():
            if name not in raw or name in _FILE_KEYS:
                continue
            if inner := section_type(field):
                values[name] = self.section(inner, raw[name], f"{prefix}{name}.")
            elif entry := entry_type(field):
                values[name] = self._entries(entry, raw[name], f"{prefix}{name}")
            else:
                values[name] = raw[name]
        return self._build(model, values, prefix)

    def _entries(self, model: type[S], raw: JsonValue, key: str) -> Mapping[str, S]:
        if not isinstance(raw, dict):
            self._add(Severity.ERROR, key, f"{key} must be an object in braces; using none.")
            return {}
        entries: dict[str, S] = {}
        for name, value in list(raw.items())[:MAX_ENTRIES]:
            label = f"{key}.{visible_controls(name)}"
            try:
                entries[name] = self.section(model, value, f"{label}.")
            except _Unusable:
                self._add(Severity.ERROR, label, f"{label} is left out.")
        return entries

    def _build(self, model: type[S], values: dict[str, Any], prefix: str) -> S:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            # One error per field is enough: the first names the field, and the field is replaced whole.
            first: dict[str, ErrorDetails] = {}
            for details in error.errors(include_url=False):
                first.setdefault(str(details["loc"][0]), details)
        for name, details in first.items():
            info = setting_info(prefix + name, model.model_fields[name])
            if info.default is None and not info.optional:
                missing = details["type"] == "missing"
                what = "is missing" if missing else f"must be {expectation(info, details)}"
                self._add(Severity.ERROR, info.key, f"{info.key} {what}.")
                raise _Unusable
            values[name] = self._instead(info, values[name], details)
        return model.model_validate(values)

    def _instead(self, info: SettingInfo, value: Any, details: ErrorDetails) -> Any:
        nearest = _nearest(info, value)
        used = info.default if nearest is None else nearest
        self._add(
            Severity.ERROR if nearest is None else Severity.WARNING,
            info.key,
            f"{info.key} must be {expectation(info, details)}; using {_used(used)}.",
        )
        return used

    def _tell_unknown(self, model: type[Section], raw: dict[str, JsonValue], prefix: str) -> None:
        for name in list(raw)[:MAX_ENTRIES]:
            if name not in model.model_fields and name not in _FILE_KEYS:
                key = prefix + visible_controls(name)
                self._add(Severity.NOTICE, key, f"{key} is not a setting; it is kept and has no effect.")

    def _add(self, severity: Severity, key: str, message: str) -> None:
        self.problems.append(Problem(severity, key, message, f"Correct it in {self._file_name}."))


def _nearest(info: SettingInfo, value: Any) -> float | None:
    if not info.clamp or isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    if info.kind is Kind.INTEGER and math.isfinite(value) and value != int(value):
        return None
    if info.minimum is None or info.maximum is None:
        return None
    if info.minimum <= value <= info.maximum:
        return None
    return info.minimum if value < info.minimum else info.maximum


def _used(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return plain_number(value)
    text = "nothing" if value is None else shown(value)
    return text if len(text) < _SHOWN_CHARS else "the default"
