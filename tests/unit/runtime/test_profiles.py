"""Profiles in the configuration of models: settings in, settings out."""

from pathlib import Path

import pytest

from llama_runner.core.errors import NotFoundError, UsageError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.settings import ModelEntry, ModelsConfig
from llama_runner.runtime.catalogue import ModelFile
from llama_runner.runtime.profiles import (
    MAX_PROFILES,
    entry_of,
    profiles_of,
    with_default_profile,
    with_profile,
    without_profile,
)

FAST, LONG = LoadOptions(context_length=512), LoadOptions(context_length=8192)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "m.gguf").touch()
    return tmp_path


def model(root: Path, name: str = "m") -> ModelFile:
    return ModelFile(name, root / "sub" / "m.gguf", 1, None, None, "models folder")


def test_a_model_that_was_only_found_gets_an_entry_with_its_path_as_a_person_would_write_it(
    root: Path,
) -> None:
    config = with_profile(ModelsConfig(), model(root), root, "fast", FAST)
    assert config.models == {"m": ModelEntry(path="sub/m.gguf", profiles={"fast": FAST})}
    elsewhere = ModelFile("x", root.parent / "x.gguf", 1, None, None, "models folder")
    config = with_profile(config, elsewhere, root, "fast", FAST)
    assert config.models["x"].path == str(root.parent / "x.gguf")


def test_profiles_are_added_to_the_entry_that_is_there_whatever_its_name(root: Path) -> None:
    entry = ModelEntry(path="sub/m.gguf", display_name="Mine", parameters=LoadOptions(threads=3))
    config = with_profile(ModelsConfig(models={"my m!": entry}), model(root, "my-m"), root, "fast", FAST)
    assert list(config.models) == ["my m!"]
    found = profiles_of(model(root, "my-m"), config.models["my m!"])
    assert (found.profiles, found.parameters, found.default) == ({"fast": FAST}, LoadOptions(threads=3), None)


def test_of_two_entries_with_one_file_the_name_decides(root: Path) -> None:
    one, two = (ModelEntry(path="sub/m.gguf", display_name=name) for name in ("one", "two"))
    config = ModelsConfig(models={"a": one, "b": two})
    assert entry_of(config, model(root, "b"), root) == ("b", two)
    assert entry_of(config, model(root, "c"), root) == ("a", one)
    assert entry_of(config, ModelFile("a", root / "z.gguf", 1, None, None, "configured"), root) is None


def test_the_default_goes_with_its_profile(root: Path) -> None:
    config = with_profile(ModelsConfig(), model(root), root, "fast", FAST)
    config = with_profile(config, model(root), root, "long", LONG)
    config = with_default_profile(config, model(root), root, "long")
    assert config.models["m"].default_profile == "long"
    assert without_profile(config, model(root), root, "fast").models["m"].default_profile == "long"
    gone = without_profile(config, model(root), root, "long").models["m"]
    assert gone.default_profile is None and gone.profiles == {"fast": FAST}
    assert with_default_profile(config, model(root), root, None).models["m"].default_profile is None


def test_a_default_that_is_no_profile_is_none(root: Path) -> None:
    entry = ModelEntry(path="sub/m.gguf", default_profile="gone", profiles={"fast": FAST})
    assert profiles_of(model(root), entry).default is None


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\nb", "../x", "x" * 65, "-x", "x ", "\u202ex", "a:b"])
def test_what_cannot_be_a_name_is_said(root: Path, name: str) -> None:
    with pytest.raises(UsageError, match="name of a profile"):
        with_profile(ModelsConfig(), model(root), root, name, FAST)


@pytest.mark.parametrize("name", ["fast", "8k context", "für Bilder", "q8+fa", "x" * 64, "1"])
def test_people_name_profiles_in_their_own_words(root: Path, name: str) -> None:
    assert name in with_profile(ModelsConfig(), model(root), root, name, FAST).models["m"].profiles


def test_what_is_not_there_is_said_with_what_is(root: Path) -> None:
    config = with_profile(ModelsConfig(), model(root), root, "fast", FAST)
    for change in (without_profile, with_default_profile):
        with pytest.raises(NotFoundError, match="no profile slow") as error:
            change(config, model(root), root, "slow")
        assert "fast" in error.value.hint


def test_there_is_an_end_to_profiles(root: Path) -> None:
    config = ModelsConfig()
    for number in range(MAX_PROFILES):
        config = with_profile(config, model(root), root, str(number), FAST)
    with pytest.raises(UsageError, match="already"):
        with_profile(config, model(root), root, "one more", FAST)
    assert with_profile(config, model(root), root, "0", LONG).models["m"].profiles["0"] == LONG
