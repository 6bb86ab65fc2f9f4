"""Routes and engines added, changed and taken out of the settings; what may not be is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from llama_runner.core.errors import LlamaRunnerError, NotFoundError, UsageError
from llama_runner.core.serving_edits import (
    MAX_ROUTE_NAME_CHARS,
    MAX_ROUTE_STEPS,
    check_new_engine_name,
    check_route_name,
    check_route_steps,
    using_engine,
    with_engine,
    with_route,
    without_engine,
    without_route,
)
from llama_runner.core.settings import AppConfig


def test_a_route_is_added_replaced_and_taken_out_beside_the_others() -> None:
    config = with_route(with_route(AppConfig(), "a", ["m"]), "b", ["m", "m@box:1"])
    config = with_route(config, "a", ["n"])
    assert {name: entry.steps for name, entry in config.proxy.routes.items()} == {
        "a": ("n",),
        "b": ("m", "m@box:1"),
    }
    assert tuple(without_route(config, "a").proxy.routes) == ("b",)


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        (lambda: check_route_name("  "), UsageError),
        (lambda: check_route_name("a\nb"), UsageError),
        (lambda: check_route_name("x" * (MAX_ROUTE_NAME_CHARS + 1)), UsageError),
        (lambda: check_route_steps(["m"] * (MAX_ROUTE_STEPS + 1)), UsageError),
        (lambda: check_route_steps(["@box:1"]), UsageError),
        (lambda: without_route(AppConfig(), "none"), NotFoundError),
        (lambda: check_new_engine_name("../x"), UsageError),
        (lambda: check_new_engine_name("default"), UsageError),
        (lambda: with_engine(AppConfig(), "x", "not/full", None, platform="linux"), UsageError),
        (lambda: with_engine(AppConfig(), "x", "\\\\nas\\e.exe", None, platform="win32"), UsageError),
        (lambda: without_engine(AppConfig(), "x"), NotFoundError),
        (lambda: using_engine(AppConfig(), "x"), NotFoundError),
    ],
)
def test_what_may_not_be_is_refused(refused: Callable[[], Any], kind: type[LlamaRunnerError]) -> None:
    with pytest.raises(kind):
        refused()


def test_what_is_just_within_the_bounds_is_taken() -> None:
    name = "x" * MAX_ROUTE_NAME_CHARS
    config = with_route(AppConfig(), name, ["m"] * MAX_ROUTE_STEPS)
    assert len(config.proxy.routes[name].steps) == MAX_ROUTE_STEPS


def test_an_engine_keeps_its_path_on_the_other_system() -> None:
    config = with_engine(AppConfig(), "mine", "C:\\e\\llama-server.exe", None, platform="win32")
    config = with_engine(config, "mine", "/e/llama-server", False, platform="linux")
    entry = config.runtime.engines["mine"]
    assert (entry.windows, entry.linux) == ("C:\\e\\llama-server.exe", "/e/llama-server")
    assert entry.supports_tools is False


def test_an_engine_that_is_taken_out_is_not_used_any_more() -> None:
    config = AppConfig()
    for name in ("a", "b"):
        config = with_engine(config, name, f"/{name}", None, platform="linux")
    used = using_engine(config, "a")
    assert used.runtime.engine == "a"
    assert without_engine(used, "b").runtime.engine == "a"
    assert without_engine(used, "a").runtime.engine is None
    assert tuple(without_engine(used, "a").runtime.engines) == ("b",)
    assert using_engine(used, "default").runtime.engine is None
