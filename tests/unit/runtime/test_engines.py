"""Several engines side by side, with the real one and with what is none."""

import sys
from pathlib import Path

import pytest

from llama_runner.core.errors import EngineError, NotFoundError
from llama_runner.core.load_options import FLAGS, LoadOptions
from llama_runner.core.settings import NamedEngine, RuntimeSettings
from llama_runner.runtime.engine import EngineInfo, EngineProbes
from llama_runner.runtime.engines import (
    can_call_tools,
    choose_engine,
    engine_name,
    lacking,
    names,
    report,
)
from tests.fakes.fake_llama_server import fake_engine


def named(path: Path | str, **more: bool) -> NamedEngine:
    return NamedEngine(windows=str(path) if sys.platform == "win32" else "", linux=str(path), **more)


def test_options_name_an_engine_before_the_settings_do() -> None:
    settings = RuntimeSettings(engine="ik")
    assert engine_name(settings, LoadOptions(engine="new")) == "new"
    assert engine_name(settings, LoadOptions(engine="default")) == "default"
    assert engine_name(settings, LoadOptions()) == "ik"
    assert engine_name(RuntimeSettings(), LoadOptions()) == "default"
    assert engine_name(settings, LoadOptions(), demo=True) == "default"


def test_a_named_engine_is_taken_and_never_replaced_by_another(tmp_path: Path, engine: Path) -> None:
    settings = RuntimeSettings(
        engines={"real": named(engine), "gone": named(tmp_path / "x"), "empty": NamedEngine()}
    )
    assert choose_engine(settings, "real").path == engine
    assert choose_engine(settings, "real").origin == "configured"
    for name, said in (("gone", "not at"), ("empty", "not given for this system")):
        with pytest.raises(EngineError, match=said):
            choose_engine(settings, name)
    with pytest.raises(NotFoundError, match="no engine other") as error:
        choose_engine(settings, "other")
    assert "real" in error.value.hint


def test_each_system_has_its_own_path(engine: Path) -> None:
    settings = RuntimeSettings(engines={"a": NamedEngine(windows="C:\\x.exe", linux=str(engine))})
    assert choose_engine(settings, "a", platform="linux").path == engine
    with pytest.raises(EngineError, match=r"C:\\x\.exe"):
        choose_engine(settings, "a", platform="win32")


def test_the_demo_engine_has_a_name(engine: Path) -> None:
    assert choose_engine(RuntimeSettings(), "demo").path.resolve() == engine


@pytest.mark.skipif(sys.platform == "win32", reason="a script as an engine")
async def test_engines_are_reported_side_by_side(tmp_path: Path, engine: Path) -> None:
    fake = fake_engine(tmp_path / "fake")
    (tmp_path / "none").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "none").chmod(0o755)
    settings = RuntimeSettings(
        engine="real",
        engines={"real": named(engine), "old": named(fake), "none": named(tmp_path / "none")},
    )
    assert names(settings) == ("default", "real", "old", "none")
    probes = EngineProbes()
    real, old, none = [await report(settings, name, probes) for name in ("real", "old", "none")]
    assert (real.used, real.supports_tools, real.lacks, real.problem) == (True, True, (), None)
    assert old.version == "0.0.0-fake (build 0, commit 0000000)"
    assert (old.used, old.supports_tools) == (False, False)
    assert "flash_attention" in old.lacks and "context_length" not in old.lacks
    assert none.problem is not None and "not a llama-server" in none.problem
    assert (await report(settings, "other", probes)).problem == "There is no engine other."


def test_what_the_settings_say_of_tools_counts_before_what_help_says() -> None:
    info = EngineInfo(Path("/e"), None, frozenset({"--jinja"}))
    mute = EngineInfo(Path("/e"), None, frozenset())
    assert can_call_tools(info, None) and not can_call_tools(mute, None)
    assert not can_call_tools(info, NamedEngine(supports_tools=False))
    assert can_call_tools(mute, NamedEngine(supports_tools=True))


def test_what_an_engine_lacks_are_options_by_our_names() -> None:
    assert lacking({flag.name for flag in FLAGS.values()}) == ()
    assert lacking({flag.name for flag in FLAGS.values()} - {"--threads"}) == ("threads",)
