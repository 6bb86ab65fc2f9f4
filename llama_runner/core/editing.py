"""Reading and changing single settings by their dotted key, as `config get` and `config set` do."""

import difflib
import re
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from llama_runner.core.errors import ConfigError
from llama_runner.core.fields import Kind, Section, SettingInfo, all_settings
from llama_runner.core.settings import AppConfig
from llama_runner.core.validation import expectation, shown

S = TypeVar("S", bound=Section)

_BOOLEANS: Final = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_SETTINGS: Final = {info.key: info for info in all_settings(AppConfig)}


def get_setting(config: AppConfig, key: str) -> Any:
    """The value of `key`: of a setting, or a whole `Section`. Raises ConfigError for an unknown key."""
    value: Any = config
    for name in key.split("."):
        if not isinstance(value, Section) or name not in type(value).model_fields:
            raise _unknown(key)
        value = getattr(value, name)
    return value


def describe_setting(key: str) -> SettingInfo:
    """What there is to know about `key`. Raises ConfigError for an unknown one."""
    if (info := _SETTINGS.get(key)) is None:
        raise _unknown(key)
    return info


def parse_setting(key: str, text: str) -> Any:
    """The value that `text` means for `key`; not checked yet. Raises ConfigError for an unknown key."""
    return _read(describe_setting(key), text)


def set_setting(config: AppConfig, key: str, text: str) -> AppConfig:
    """`config` with `key` set to what `text` says. Raises ConfigError; nothing is clamped here."""
    return replace_setting(config, key, parse_setting(key, text))


def replace_setting(config: AppConfig, key: str, value: Any) -> AppConfig:
    """`config` with `key` set to `value`, a number, text, bool, tuple or None. Raises ConfigError."""
    info = describe_setting(key)
    try:
        return _replaced(config, key.split("."), value)
    except ValidationError as error:
        what = expectation(info, error.errors(include_url=False)[0])
        raise ConfigError(f"{key} must be {what}, not {shown(value)}.", "Nothing was changed.") from error


def _replaced(section: S, names: list[str], value: Any) -> S:
    head, *rest = names
    new = _replaced(getattr(section, head), rest, value) if rest else value
    return type(section).model_validate({**dict(section), head: new})


def _unknown(key: str) -> ConfigError:
    near = difflib.get_close_matches(key, _SETTINGS, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else 'See "config show" for all settings.'
    return ConfigError(f"There is no setting {shown(key)}.", hint)


def _read(info: SettingInfo, text: str) -> Any:
    """The value `text` stands for; text that stands for none is returned as it is and fails validation."""
    stripped = text.strip()
    if info.optional and stripped.lower() in {"", "null", "none"}:
        return None
    if info.kind is Kind.BOOLEAN:
        return _BOOLEANS.get(stripped.lower(), text)
    if info.kind in {Kind.PORTS, Kind.NUMBERS}:
        return tuple(_number(part) for part in re.split(r"[\s,]+", stripped.strip("[]")) if part)
    if info.kind in {Kind.NETWORKS, Kind.TEXTS}:
        return tuple(part for part in re.split(r"[\s,\"]+", stripped.strip("[]")) if part)
    return _number(text) if info.kind in {Kind.INTEGER, Kind.NUMBER} else text


def _number(text: str) -> int | float | str:
    stripped = text.strip()
    # Ten thousand digits are a mistake that int() would refuse in its own words.
    if re.fullmatch(r"[+-]?[0-9]{1,30}", stripped):
        return int(stripped)
    if re.fullmatch(r"[+-]?[0-9]{0,30}\.?[0-9]{1,30}([eE][+-]?[0-9]{1,3})?", stripped):
        return float(stripped)
    return text
