"""Files that earlier versions wrote: read whole, brought up to date with the next save, nothing lost (C4).

`golden` holds one file of each kind and format. They are never edited: a change of the format adds files.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from llama_runner.core.config import (
    Severity,
    backups_of,
    load_app_config,
    load_models_config,
    save_app_config,
    save_models_config,
)
from llama_runner.core.editing import replace_setting
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.core.settings import CONFIG_VERSION

GOLDEN: Final = Path(__file__).with_name("golden")
VERSIONS: Final = range(CONFIG_VERSION + 1)


@pytest.fixture
def place(tmp_path: Path) -> Home:
    home = home_at(tmp_path / "h")
    create_folders(home)
    return home


def golden(name: str, version: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GOLDEN / f"{name}.v{version}.json").read_bytes())
    return document


def leaves(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no object, under its dotted name."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@pytest.mark.parametrize("version", VERSIONS)
def test_c4_settings_of_every_format_are_read_whole_and_saved_in_todays(place: Home, version: int) -> None:
    old = golden("app_config", version)
    place.app_config_file.write_text(json.dumps(old))
    loaded = load_app_config(place)
    assert [p for p in loaded.problems if p.severity is not Severity.NOTICE] == []
    assert loaded.writable
    wanted = golden("app_config", CONFIG_VERSION)
    read = dict(leaves(loaded.value.model_dump(mode="json")))
    for key, value in leaves(wanted):
        if key not in ("$schema", "version", "mine"):
            assert read[key] == value, key

    save_app_config(place, replace_setting(loaded.value, "stress.requests", 65))
    saved = dict(leaves(json.loads(place.app_config_file.read_bytes())))
    assert (saved["version"], saved["mine"], saved["stress.requests"]) == (CONFIG_VERSION, "kept", 65)
    assert load_app_config(place).value == loaded.value.model_copy(
        update={"stress": loaded.value.stress.model_copy(update={"requests": 65})}
    )
    assert [json.loads(path.read_bytes()) for path in backups_of(place.app_config_file)] == [old]


@pytest.mark.parametrize("version", VERSIONS)
def test_c4_models_of_every_format_are_read_whole_and_saved_in_todays(place: Home, version: int) -> None:
    old = golden("models_config", version)
    place.models_config_file.write_text(json.dumps(old))
    loaded = load_models_config(place)
    assert [p for p in loaded.problems if p.severity is not Severity.NOTICE] == []
    read = dict(leaves(loaded.value.model_dump(mode="json")))
    for key, value in leaves(golden("models_config", CONFIG_VERSION)):
        if key not in ("version", "models.small.note"):
            assert read[key] == value, key

    save_models_config(place, loaded.value.model_copy(update={"default_model": "far"}))
    saved = dict(leaves(json.loads(place.models_config_file.read_bytes())))
    assert (saved["version"], saved["default_model"]) == (CONFIG_VERSION, "far")
    assert saved["models.small.note"] == "kept"
    assert load_models_config(place).value.models == loaded.value.models
