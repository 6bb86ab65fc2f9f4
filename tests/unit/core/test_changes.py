"""Single settings changed in the file, and settings that do not go together."""

from pathlib import Path

import pytest

from llama_runner.core.clashes import clashes
from llama_runner.core.config import change_app_config, load_app_config
from llama_runner.core.errors import ConfigError
from llama_runner.core.fields import all_settings
from llama_runner.core.paths import Home, home_at
from llama_runner.core.settings import AppConfig, ProxySettings, ServiceSettings


@pytest.fixture
def place(tmp_path: Path) -> Home:
    return home_at(tmp_path / "h")


def test_a_change_touches_what_it_names_and_says_what_was_there(place: Home) -> None:
    change_app_config(place, {"stress.concurrency": 7, "discovery.ports": [8080, 1234]})
    before, after = change_app_config(place, {"stress.requests": 9})
    assert (before.stress.requests, after.stress.requests) == (32, 9)
    now = load_app_config(place).value
    assert now == after
    assert (now.stress.concurrency, now.stress.requests, now.discovery.ports) == (7, 9, (8080, 1234))


@pytest.mark.parametrize(
    "bad", [{"stress.requests": 0}, {"stress.requests": "9"}, {"nonsense": 1}, {"stress": {}}, {"version": 2}]
)
def test_one_bad_change_and_none_is_made(place: Home, bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        change_app_config(place, {"stress.concurrency": 7, **bad})
    assert not place.app_config_file.exists()


def config(control: int, openai: int | None, ollama: int | None) -> AppConfig:
    return AppConfig(
        service=ServiceSettings(control_port=control),
        proxy=ProxySettings(
            openai_enabled=openai is not None,
            openai_port=1234 if openai is None else openai,
            ollama_enabled=ollama is not None,
            ollama_port=11434 if ollama is None else ollama,
        ),
    )


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (config(8035, 1234, 11434), []),
        (config(1234, None, None), []),
        (config(0, 0, 0), []),
        (config(1234, 1234, None), ["proxy.openai_port"]),
        (config(9, 1234, 1234), ["proxy.ollama_port"]),
        (config(9, 9, 9), ["proxy.openai_port", "proxy.ollama_port"]),
    ],
)
def test_c5_listeners_that_want_the_same_port_are_named(value: AppConfig, keys: list[str]) -> None:
    found = clashes(value, file_name="app_config.json")
    assert [problem.key for problem in found] == keys


def test_settings_that_name_places_of_this_machine_are_known_by_what_they_take() -> None:
    """I14: the control API leaves them to the person at the machine."""
    paths = {info.key for info in all_settings(AppConfig, entries=True) if info.is_path}
    assert {"runtime.engine_path.linux", "runtime.models_dir.windows", "runtime.engines.ID.linux"} <= paths
    assert not {"stress.requests", "chat.system_prompt", "service.control_host"} & paths


def test_what_counts_later_is_said_in_the_schema_too() -> None:
    later = {info.key: info.applies for info in all_settings(AppConfig) if info.applies != "now"}
    assert later["service.control_port"] == "start" and later["runtime.engine_path.linux"] == "load"
    assert AppConfig.model_json_schema()["$defs"]["ServiceSettings"]["properties"]["control_port"]["applies"]
