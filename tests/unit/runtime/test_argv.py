import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llama_runner.core.errors import UsageError
from llama_runner.core.load_options import FLAGS, LoadOptions, kinds_of, parse_options
from llama_runner.runtime.argv import (
    DENIED_FLAGS,
    build_argv,
    option_arguments,
    refuse_denied,
    split_scale,
    wanted_options,
)
from llama_runner.runtime.catalogue import ModelFile
from llama_runner.runtime.engine import parse_flags
from llama_runner.runtime.gguf import GgufHeader

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
    | {"--metrics", "--lora-scaled"}
    | {name for flag in FLAGS.values() for name in (flag.name, flag.off)}
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
        *("--offline", "--no-slots", "--metrics", "--no-ui"),
        *("--cors-origins", "http://127.0.0.1:4711", "--sse-ping-interval", "2", "--log-colors", "off"),
    ]


def test_an_engine_that_lacks_an_option_is_not_given_it() -> None:
    assert _argv(frozenset()) == [
        "/e/llama-server",
        *("--model", "/m/x.gguf", "--host", "127.0.0.1", "--port", "4711", "--alias", "x"),
    ]
    assert "--no-webui" in _argv(frozenset({"--no-webui"}))


def test_only_what_was_asked_for_is_passed_on() -> None:
    known = frozenset({"--ctx-size", "--n-gpu-layers", "--threads", "--parallel"})
    options = LoadOptions(context_length=2048, gpu_layers=0, threads=3, parallel=2)
    assert _argv(known, options)[9:] == [
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


def _model(**header: Any) -> ModelFile:
    plain = GgufHeader("llama", "x", "Q4_0", 512, 1, 64, 0, None, 10)
    parameters = LoadOptions(threads=8, context_length=4096)
    return ModelFile("m", Path("/m"), 10, replace(plain, **header), None, "configured", parameters=parameters)


def test_what_was_asked_for_wins_over_the_models_own_entry() -> None:
    assert wanted_options(LoadOptions(threads=1), _model()) == LoadOptions(context_length=4096, threads=1)


def test_a_model_made_for_embeddings_serves_them() -> None:
    found = wanted_options(LoadOptions(), _model(capabilities=("embedding",)))
    assert (found.embedding, found.batch_size, found.ubatch_size, found.rerank) == (True, 4096, 4096, None)
    assert wanted_options(LoadOptions(), _model(capabilities=("embedding", "rerank"))).rerank is True
    assert (
        wanted_options(LoadOptions(embedding=False), _model(capabilities=("embedding",))).batch_size is None
    )


@pytest.mark.parametrize(
    "values",
    [
        {"context_length": 0},
        {"threads": -1},
        {"parallel": 10_000},
        {"cache_type_k": "q9"},
        {"chat_template": "/etc/passwd"},
        {"chat_template": "{{ x }}"},
        {"device": "--rpc"},
        {"tensor_split": ["a"]},
        {"tools": "all"},
    ],
)
def test_options_out_of_bounds_are_named(values: dict[str, object]) -> None:
    """C8, R7."""
    with pytest.raises(UsageError, match=next(iter(values))):
        parse_options(values)


def test_every_option_reaches_the_engine_as_it_wants_it() -> None:
    options = LoadOptions(
        tensor_split=(3, 1.5), warmup=False, cpu_moe=True, embedding=False, rope_scale=2, flash_attention="on"
    )
    assert option_arguments(options, ALL, engine="e") == [
        "--rope-scale",
        "2",
        "--flash-attn",
        "on",
        "--tensor-split",
        "3,1.5",
        "--cpu-moe",
        "--no-warmup",
    ]


def test_adapters_and_their_strength() -> None:
    options = LoadOptions(
        loras=("/m/a.gguf", "/m/b.gguf:0.5", "/m/c.gguf"), engine="ik", projector="/m/p.gguf"
    )
    assert option_arguments(options, ALL, engine="e") == [
        *("--mmproj", "/m/p.gguf"),
        *("--lora", "/m/a.gguf,/m/c.gguf", "--lora-scaled", "/m/b.gguf:0.5"),
    ]
    assert option_arguments(LoadOptions(loras=()), ALL, engine="e") == []
    with pytest.raises(UsageError, match="no --lora-scaled"):
        option_arguments(options, ALL - {"--lora-scaled"}, engine="e")


@pytest.mark.parametrize(
    ("lora", "expected"),
    [
        ("a.gguf", ("a.gguf", None)),
        ("a.gguf:0.5", ("a.gguf", 0.5)),
        ("a.gguf:-1", ("a.gguf", -1.0)),
        (r"C:\m\a.gguf", (r"C:\m\a.gguf", None)),
        (r"C:\m\a.gguf:2", (r"C:\m\a.gguf", 2.0)),
        ("a.gguf:1e9", ("a.gguf:1e9", None)),
    ],
)
def test_a_strength_is_told_from_a_drive(lora: str, expected: tuple[str, float | None]) -> None:
    assert split_scale(lora) == expected


def test_windows_paths_cannot_carry_a_strength() -> None:
    """The engine cuts such an argument at every colon."""
    plain = LoadOptions(loras=(r"C:\m\a.gguf",))
    assert option_arguments(plain, ALL, engine="e") == ["--lora", r"C:\m\a.gguf"]
    with pytest.raises(UsageError, match="colon"):
        option_arguments(LoadOptions(loras=(r"C:\m\a.gguf:0.5",)), ALL, engine="e")


def test_workers_pass_the_second_wall_as_an_option_only() -> None:
    """R7, I9: `--rpc` stays denied for everything but the checked option."""
    argv = _argv(options=LoadOptions(rpc_workers=("10.0.0.2:50052", "box:1"), threads=2))
    assert argv[-2:] == ["--rpc", "10.0.0.2:50052,box:1"]
    assert argv.count("--rpc") == 1
    assert argv[argv.index("--threads") + 1] == "2"


def test_an_option_that_this_engine_lacks_is_said() -> None:
    with pytest.raises(UsageError, match="no --flash-attn"):
        option_arguments(LoadOptions(flash_attention="on"), frozenset({"--model"}), engine="e")


def test_the_catalogue_is_that_of_a_real_llama_server(engine: Path) -> None:
    """Every option is in its --help, and its choices are among those the help names."""
    help_text = subprocess.run([engine, "--help"], capture_output=True, text=True, check=True).stdout
    known = parse_flags(help_text)
    for name, flag in FLAGS.items():
        if not flag.name:
            continue
        assert flag.name in known, name
        assert not flag.off or flag.off in known, name
        (entry,) = re.findall(
            rf"^(?:-[^\n]*?[ ,])?{flag.name}[ ,\n](?:.*\n)(?:[ ]+.*\n)*", help_text, re.MULTILINE
        )[:1]
        for choice in (kind for kind in kinds_of(name) if isinstance(kind, str)):
            assert re.search(rf"\b{re.escape(choice)}\b", entry), (name, choice)
