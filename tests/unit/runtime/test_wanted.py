"""Names into files: profiles, projectors, adapters, drafts and workers, and what is refused."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from llama_runner.core.errors import ModelFileError, NotFoundError, UsageError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.settings import ModelEntry
from llama_runner.runtime.advice import warnings_of
from llama_runner.runtime.catalogue import ModelCatalogue, ModelFile
from llama_runner.runtime.gguf import read_gguf
from llama_runner.runtime.memory import MemoryNeed, RoomPlan
from llama_runner.runtime.pairing import Companion
from llama_runner.runtime.room import Place
from llama_runner.runtime.wanted import Surrounding, Wanted, resolve
from tests.fakes.gguf_companions import write_tiny_adapter, write_tiny_projector
from tests.fakes.gguf_files import good_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    for name in ("sub/big", "small"):
        (folder / f"{name}.gguf").write_bytes(good_file())
    write_tiny_projector(folder / "sub" / "mmproj-big.gguf")
    write_tiny_adapter(folder / "style.gguf")
    return folder


def file(path: Path, name: str) -> ModelFile:
    return ModelFile(name, path, path.stat().st_size, read_gguf(path), None, "models folder")


def big(root: Path) -> ModelFile:
    return file(root / "sub" / "big.gguf", "big")


def around(root: Path, entry: ModelEntry | None = None, workers: tuple[str, ...] = ()) -> Surrounding:
    models = (big(root), file(root / "small.gguf", "small"))
    return Surrounding(catalogue=ModelCatalogue(models), folders=(root,), entry=entry, workers=workers)


def test_what_is_asked_for_counts_before_the_profile_and_that_before_the_parameters(root: Path) -> None:
    entry = ModelEntry(
        path="sub/big.gguf",
        profiles={"p": LoadOptions(context_length=2, threads=2), "q": LoadOptions(threads=9)},
        default_profile="p",
    )
    model = replace(big(root), parameters=LoadOptions(context_length=1, threads=1, parallel=1))

    def chosen(profile: str | None) -> tuple[str | None, int | None, int | None, int | None]:
        found = resolve(model, LoadOptions(threads=3), profile, around(root, entry))
        return found.profile, found.options.context_length, found.options.threads, found.options.parallel

    assert chosen(None) == ("p", 2, 3, 1)
    assert chosen("q") == ("q", 1, 3, 1)
    assert chosen("") == (None, 1, 3, 1)
    with pytest.raises(NotFoundError, match="no profile z") as error:
        chosen("z")
    assert "p, q" in error.value.hint


def test_a_default_profile_that_is_gone_keeps_nobody_from_loading(root: Path) -> None:
    entry = ModelEntry(path="sub/big.gguf", default_profile="gone")
    assert resolve(big(root), LoadOptions(), None, around(root, entry)).profile is None


def test_files_are_found_beside_the_model_and_below_the_models_folder(root: Path) -> None:
    asked = LoadOptions(projector="mmproj-big.gguf", loras=("style.gguf:0.5", str(root / "style.gguf")))
    found = resolve(big(root), asked, None, around(root))
    assert found.options.projector == str(root / "sub" / "mmproj-big.gguf")
    assert found.options.loras == (f"{root / 'style.gguf'}:0.5", str(root / "style.gguf"))
    sizes = [(root / name).stat().st_size for name in ("sub/mmproj-big.gguf", "style.gguf", "style.gguf")]
    assert found.more_bytes == sum(sizes)


def test_the_models_own_projector_is_taken_unless_the_options_say_no(root: Path) -> None:
    path = root / "sub" / "mmproj-big.gguf"
    model = replace(big(root), projector=Companion(path, read_gguf(path)))
    assert resolve(model, LoadOptions(), None, around(root)).options.projector == str(path)
    without = resolve(model, LoadOptions(projector="none"), None, around(root))
    assert without.options.projector is None and without.more_bytes == 0


def test_what_a_store_pairs_with_a_model_may_lie_anywhere(root: Path, tmp_path: Path) -> None:
    path = write_tiny_adapter(tmp_path / "sha256-0011")
    model = replace(big(root), adapters=(Companion(path, read_gguf(path)),))
    for spelt in ("sha256-0011", str(path)):
        found = resolve(model, LoadOptions(loras=(spelt,)), None, around(root))
        assert found.options.loras == (str(path),)


def test_a_draft_is_a_model_by_its_id_or_a_file_and_is_asked_for_guesses(root: Path) -> None:
    for spelt in ("small", "small.gguf", str(root / "small.gguf")):
        found = resolve(big(root), LoadOptions(draft_model=spelt), None, around(root))
        assert found.draft is not None and found.draft.id == "small"
        assert found.options.draft_model == str(root / "small.gguf")
        assert found.options.speculation == "draft-simple"
    asked = LoadOptions(draft_model="small", speculation="draft-mtp")
    assert resolve(big(root), asked, None, around(root)).options.speculation == "draft-mtp"


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        (LoadOptions(projector="style.gguf"), ModelFileError, "no projector but a file of kind adapter"),
        (LoadOptions(loras=("small.gguf",)), ModelFileError, "no adapter but a file of kind model"),
        (LoadOptions(draft_model="style.gguf"), ModelFileError, "no model but a file of kind adapter"),
        (LoadOptions(loras=("gone.gguf",)), NotFoundError, "no adapter gone.gguf"),
        (LoadOptions(loras=("sub",)), NotFoundError, "no adapter sub"),
        (LoadOptions(loras=("/etc/passwd",)), UsageError, "outside of the models folders"),
        (LoadOptions(projector="bad.gguf"), ModelFileError, "not a GGUF file"),
        (LoadOptions(rpc_workers=("10.0.0.9:1",)), UsageError, "10.0.0.9:1 is not among the machines"),
    ],
)
def test_r8_what_is_not_there_not_allowed_or_something_else_is_refused(
    root: Path, asked: LoadOptions, error: type[Exception], said: str
) -> None:
    """B4, R7: files of the models' folders only, each what it is named for; workers of the user's list."""
    (root / "bad.gguf").write_bytes(b"<html>")
    with pytest.raises(error, match=said):
        resolve(big(root), asked, None, around(root, workers=("10.0.0.2:50052",)))


@pytest.mark.skipif(os.name != "posix", reason="links need a right on Windows")
def test_r8_a_link_out_of_the_models_folder_is_refused(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    write_tiny_adapter(outside / "a.gguf")
    (root / "linked").symlink_to(outside)
    (root / "a.gguf").symlink_to(outside / "a.gguf")
    for name in ("linked/a.gguf", "a.gguf"):
        with pytest.raises(UsageError, match="outside"):
            resolve(big(root), LoadOptions(loras=(name,)), None, around(root))


def test_allowed_workers_are_passed_on(root: Path) -> None:
    asked = LoadOptions(rpc_workers=("10.0.0.2:50052",))
    found = resolve(big(root), asked, None, around(root, workers=("10.0.0.2:50052", "box:1")))
    assert found.options.rpc_workers == ("10.0.0.2:50052",)


def warned(wanted: Wanted, gpu_layers: int | None = None) -> str:
    room = RoomPlan(1, 2, (), (), True)
    return " ".join(warnings_of(Place(wanted, wanted.options, MemoryNeed(1, 0, 0), room, gpu_layers, None)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (LoadOptions(), ""),
        (LoadOptions(context_length=2048), ""),
        (LoadOptions(context_length=4096, parallel=2), ""),
        (LoadOptions(context_length=4096), "trained for 2,048 tokens"),
        (LoadOptions(context_length=4096, rope_scaling="yarn"), ""),
        (LoadOptions(cache_type_v="q8_0", flash_attention="off"), "need flash attention"),
        (LoadOptions(cache_type_v="q8_0"), ""),
        (LoadOptions(rpc_workers=("a:1", "b:2")), "a:1, b:2 without encryption"),
    ],
)
def test_what_is_odd_is_told_before(root: Path, options: LoadOptions, said: str) -> None:
    told = warned(Wanted(big(root), options))
    assert said in told and bool(said) == bool(told)


def test_layers_that_stay_behind_are_told_when_the_engine_chooses(root: Path) -> None:
    assert "room for 1 of its 3 layers" in warned(Wanted(big(root), LoadOptions()), gpu_layers=1)
    assert warned(Wanted(big(root), LoadOptions()), gpu_layers=3) == ""
    assert warned(Wanted(big(root), LoadOptions(gpu_layers=1)), gpu_layers=1) == ""


def test_a_draft_that_saves_nothing_is_told(root: Path) -> None:
    model = big(root)
    assert "saves nothing" in warned(Wanted(model, LoadOptions(), draft=model))
    assert warned(Wanted(replace(model, size_bytes=10**9), LoadOptions(), draft=model)) == ""
