"""Settings that do not go together, and what there is to know about them."""

import pytest

from llama_runner.core.clashes import clashes
from llama_runner.core.fields import all_settings
from llama_runner.core.settings import AppConfig, ProxySettings, ServiceSettings


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
