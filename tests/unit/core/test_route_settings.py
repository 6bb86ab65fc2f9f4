"""Routes and servers in the settings: what a person may write, and what a bad entry costs."""

from typing import Any

import pytest

from llama_runner.core.settings import AppConfig
from llama_runner.core.validation import validate


def read(proxy: Any) -> tuple[AppConfig, list[str]]:
    value, problems = validate(AppConfig, {"proxy": proxy}, file_name="app_config.json")
    return value, [problem.key for problem in problems]


@pytest.mark.parametrize(
    "step",
    ["qwen3", "llama3.2:3b", "hf.co/x/y:Q4", "qwen@q4_k_m", "m@10.0.0.1:11434", "m@https://box", "a@b@c:1"],
)
def test_a_step_is_a_models_name_with_or_without_a_server(step: str) -> None:
    config, problems = read({"routes": {"way": {"steps": [step]}}})
    assert config.proxy.routes["way"].steps == (step,)
    assert problems == []


@pytest.mark.parametrize("step", ["", " ", "@box:1", "a\nb", "x" * 5000, 1, None, {}])
def test_c5_a_bad_step_costs_its_route_and_nothing_else(step: Any) -> None:
    routes = {"bad": {"steps": ["m", step]}, "good": {"steps": ["m"]}}
    config, problems = read({"routes": routes, "openai_port": 4000})
    assert config.proxy.routes["good"].steps == ("m",)
    assert config.proxy.routes["bad"].steps == ()
    assert config.proxy.openai_port == 4000
    assert problems == ["proxy.routes.bad.steps"]


@pytest.mark.parametrize("routes", [[], "x", 7, {"a": []}, {"a": "m"}])
def test_c5_what_is_no_table_of_routes_is_none(routes: Any) -> None:
    config, problems = read({"routes": routes, "openai_port": 4000})
    assert all(not entry.steps for entry in config.proxy.routes.values())
    assert config.proxy.openai_port == 4000
    assert problems


@pytest.mark.parametrize(
    ("server", "fits"),
    [("http://10.0.0.1:11434", True), ("box:8080", True), ("", False), ("a b", False), ("user@box", False)],
)
def test_a_server_is_an_address(server: str, fits: bool) -> None:
    config, problems = read({"servers": [server]})
    assert (config.proxy.servers, problems) == (((server,), []) if fits else ((), ["proxy.servers"]))
