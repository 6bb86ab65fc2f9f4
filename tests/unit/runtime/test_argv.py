from pathlib import Path

import pytest

from llama_runner.core.errors import UsageError
from llama_runner.core.settings import ModelParameters
from llama_runner.runtime.argv import DENIED_FLAGS, LoadOptions, build_argv, merged_options, refuse_denied

ALL = frozenset(
    {
        "--offline",
        "--no-slots",
        "--no-ui",
        "--no-webui",
        "--cors-origins",
        "--sse-ping-interval",
        "--log-colors",
    }
    | {"--no-repack"}
)


def _argv(
    flags: frozenset[str] = ALL, options: LoadOptions | None = None, *, repack: bool = True
) -> list[str]:
    launch = build_argv(
        Path("/e/llama-server"),
        flags,
        Path("/m/x.gguf"),
        options or LoadOptions(),
        port=4711,
        alias="x",
        api_key="secret-key",
        repack=repack,
    )
    return list(launch.argv)


def test_the_child_listens_on_loopback_only_and_offers_no_page() -> None:
    assert _argv() == [
        "/e/llama-server",
        *("--model", "/m/x.gguf", "--host", "127.0.0.1", "--port", "4711", "--alias", "x"),
        *("--offline", "--no-slots", "--no-ui"),
        *("--cors-origins", "http://127.0.0.1:4711", "--sse-ping-interval", "2", "--log-colors", "off"),
    ]


def test_an_engine_that_lacks_an_option_is_not_given_it() -> None:
    assert _argv(frozenset()) == [
        "/e/llama-server",
        *("--model", "/m/x.gguf", "--host", "127.0.0.1", "--port", "4711", "--alias", "x"),
    ]
    assert "--no-webui" in _argv(frozenset({"--no-webui"}))


def test_only_what_was_asked_for_is_passed_on() -> None:
    assert _argv(frozenset(), LoadOptions(context_length=2048, gpu_layers=0, threads=3, parallel=2))[9:] == [
        *("--ctx-size", "2048", "--n-gpu-layers", "0", "--threads", "3", "--parallel", "2")
    ]


def test_repacking_is_switched_off_only_where_the_engine_can() -> None:
    assert "--no-repack" in _argv(repack=False)
    assert "--no-repack" not in _argv()
    assert "--no-repack" not in _argv(frozenset(), repack=False)


def test_the_key_travels_by_environment_and_shows_in_no_repr() -> None:
    launch = build_argv(Path("/e"), ALL, Path("/m"), LoadOptions(), port=1, alias="x", api_key="secret-key")
    assert launch.env == {"LLAMA_API_KEY": "secret-key", "LLAMA_SERVER_ROUTER_PORT": "1"}
    assert "secret-key" not in " ".join(launch.argv)
    assert "secret-key" not in repr(launch)


@pytest.mark.parametrize("flag", sorted(DENIED_FLAGS))
def test_a5_denied_options_are_refused_in_every_spelling(flag: str) -> None:
    for argument in (flag, f"{flag}=x"):
        with pytest.raises(UsageError, match="not allowed"):
            refuse_denied(["/e", argument])


@pytest.mark.parametrize(
    "argument", ["--hf-repo-draft", "-hf", "-hfr", "--mcp-anything", "--lookup-cache-x=1"]
)
def test_a5_whole_families_of_options_are_refused(argument: str) -> None:
    with pytest.raises(UsageError):
        refuse_denied(["/e", argument])


def test_what_was_asked_for_wins_over_the_models_own_entry() -> None:
    merged = merged_options(LoadOptions(threads=1), ModelParameters(threads=8, context_length=4096))
    assert merged == LoadOptions(context_length=4096, threads=1)


@pytest.mark.parametrize(
    "options", [LoadOptions(context_length=0), LoadOptions(threads=-1), LoadOptions(parallel=10_000)]
)
def test_options_out_of_bounds_are_named(options: LoadOptions) -> None:
    with pytest.raises(UsageError, match=r"The load option (context_length|threads|parallel) cannot be"):
        merged_options(options, ModelParameters())
