import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llama_runner.control.values import to_json
from llama_runner.core.errors import ModelFileError, NotFoundError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.core.settings import (
    AppConfig,
    ModelEntry,
    ModelsConfig,
    ModelsDir,
    RuntimeSettings,
)
from llama_runner.runtime import catalogue, folders
from llama_runner.runtime.catalogue import (
    ModelCatalogue,
    choose_model,
    clean_id,
    find_models,
    models_folder,
)
from llama_runner.runtime.header_cache import HeaderCache
from llama_runner.service.views import model_list_view
from tests.fakes.gguf_files import STRING, U32, good_file, header, key

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders are set for Linux")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def _config(root: Path) -> AppConfig:
    return AppConfig(runtime=RuntimeSettings(models_dir=ModelsDir(linux=str(root))))


def _home(root: Path) -> Home:
    home = home_at(root.parent / "home")
    create_folders(home)
    return home


def _find(root: Path, models: ModelsConfig | None = None, *, include_demo: bool = False) -> ModelCatalogue:
    return find_models(
        _config(root), models or ModelsConfig(), _home(root), include_demo=include_demo, env={}
    )


def _put(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(good_file() if content is None else content)
    return path


def _ids(found: ModelCatalogue) -> list[str]:
    return [model.id for model in found.models]


def test_models_in_sub_folders_are_found_in_order(root: Path) -> None:
    _put(root / "b" / "Beta.gguf")
    _put(root / "a" / "alpha.GGUF")
    _put(root / "readme.txt")
    found = _find(root)
    assert _ids(found) == ["alpha", "Beta"]
    assert found.models[0].origin == "models folder"
    assert found.models[0].size_bytes == len(good_file())
    assert found.problems == ()


def test_equal_names_are_told_apart_by_their_folder_then_by_number(root: Path) -> None:
    for folder in ("one", "two", "three/one"):
        _put(root / folder / "m.gguf")
    assert _ids(_find(root)) == ["m", "one-m", "two-m"]
    _put(root / "four" / "one" / "m.gguf")
    assert len(set(_ids(_find(root)))) == 4


def test_a_bad_file_is_listed_with_its_problem(root: Path) -> None:
    _put(root / "bad.gguf", b"<html>404</html>")
    _put(root / "good.gguf")
    bad, good = _find(root).models
    assert bad.header is None
    assert "a web page" in (bad.problem or "")
    assert good.problem is None
    with pytest.raises(ModelFileError, match="web page"):
        choose_model(_find(root), "bad")


def test_projectors_and_adapters_are_no_models(root: Path) -> None:
    _put(root / "mmproj-model.gguf")
    _put(root / "vision.gguf", header([key("general.architecture", STRING, "clip")]))
    _put(root / "lora.gguf", header([key("general.type", STRING, "adapter")]))
    assert _ids(_find(root)) == []


def test_g15_a_split_model_counts_once_with_the_size_of_all_parts(root: Path) -> None:
    for number in (1, 2, 3):
        _put(root / f"big-{number:05d}-of-00003.gguf", good_file(key("split.count", U32, 3)))
    (model,) = _find(root).models
    assert model.id == "big"
    assert model.path.name == "big-00001-of-00003.gguf"
    assert model.size_bytes == 3 * len(good_file(key("split.count", U32, 3)))


@pytest.mark.parametrize(
    ("names", "count", "said"),
    [
        (["m-00001-of-00003", "m-00003-of-00003"], 3, "lacks 1 of its 3 parts, first m-00002-of-00003"),
        (["m-00002-of-00003"], 3, "part 1 is not beside it"),
        (["m-00001-of-99999"], 99999, "claims 99999 parts"),
        (["m-00001-of-00002", "m-00002-of-00002"], 5, "contradicts"),
        (["renamed"], 4, "one of 4 parts"),
    ],
)
def test_g15_incomplete_and_contradictory_splits_say_what_is_wrong(
    root: Path, names: list[str], count: int, said: str
) -> None:
    for name in names:
        _put(root / f"{name}.gguf", good_file(key("split.count", U32, count)))
    (model,) = _find(root).models
    assert said in (model.problem or "")


def test_g16_links_stay_inside_and_loops_end(root: Path, tmp_path: Path) -> None:
    outside = _put(tmp_path / "elsewhere" / "secret.gguf")
    inside = _put(root / "real" / "m.gguf")
    (root / "out.gguf").symlink_to(outside)
    (root / "out").symlink_to(outside.parent)
    (root / "in.gguf").symlink_to(inside)
    (root / "dangling.gguf").symlink_to(root / "nowhere")
    (root / "loop").symlink_to(root)
    (root / "self.gguf").symlink_to(root / "self.gguf")
    found = _find(root)
    # Twice the same file is one model.
    assert _ids(found) == ["in"]


def test_g16_depth_and_number_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = root
    for number in range(10):
        deep = deep / str(number)
    _put(deep / "deep.gguf")
    assert _ids(_find(root)) == []
    for number in range(5):
        _put(root / f"m{number}.gguf")
    monkeypatch.setattr(catalogue, "_MAX_MODELS", 2)
    found = _find(root)
    assert _ids(found) == ["m0", "m1"]
    assert "Only the first 2" in found.problems[0]
    monkeypatch.setattr(folders, "_MAX_ENTRIES", 3)
    assert any("more than 3 entries" in problem for problem in _find(root).problems)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_g16_a_folder_without_permission_is_a_problem_not_a_failure(root: Path) -> None:
    _put(root / "m.gguf")
    (root / "closed").mkdir(mode=0o000)
    found = _find(root)
    assert _ids(found) == ["m"]
    assert "closed cannot be read" in found.problems[0]


def test_g16_what_may_not_be_read_is_said_and_the_rest_is_listed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the test above, for whoever may read everything."""
    _put(root / "closed" / "m.gguf")
    _put(root / "open" / "secret.gguf")
    _put(root / "open" / "well.gguf")
    scandir, opened = os.scandir, Path.open

    def no_scandir(path: Path) -> Any:
        if path == root / "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    def no_open(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "secret.gguf":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "scandir", no_scandir)
    monkeypatch.setattr(Path, "open", no_open)
    found = _find(root)
    assert found.problems == (f"{root / 'closed'} cannot be read: Permission denied.",)
    secret, well = found.models
    assert "cannot be read: Permission denied" in (secret.problem or "")
    assert well.problem is None


def test_a_folder_that_vanishes_while_it_is_read_is_a_problem(root: Path) -> None:
    problems: list[str] = []
    assert list(folders.FolderScan(root, problems).models(root / "gone")) == []
    assert "cannot be read" in problems[0]


def test_the_users_own_entries_come_first_and_replace_the_found_file(root: Path) -> None:
    _put(root / "a.gguf")
    _put(root / "z" / "z.gguf")
    named = ModelsConfig(
        models={
            "zed": ModelEntry(path="z/z.gguf", display_name="Zed", parameters=LoadOptions(threads=2)),
            "lost": ModelEntry(path=str(root / "lost.gguf")),
        }
    )
    found = _find(root, named)
    assert _ids(found) == ["zed", "lost", "a"]
    zed, lost, _ = found.models
    assert (zed.origin, zed.display_name, zed.parameters.threads) == ("configured", "Zed", 2)
    assert "There is no file" in (lost.problem or "")


def test_the_demo_model_is_found_through_its_package(root: Path, demo_model: Path) -> None:
    (model,) = _find(root, include_demo=True).models
    assert (model.path, model.origin) == (demo_model, "demo package")


def test_an_unset_or_missing_folder_means_our_own(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    assert models_folder(RuntimeSettings(), home, "linux") == tmp_path / "data" / "models"
    assert models_folder(RuntimeSettings(), home, "win32") == tmp_path / "data" / "models"
    assert find_models(AppConfig(), ModelsConfig(), home, include_demo=False, env={}) == ModelCatalogue(())


def test_an_unknown_model_names_the_known_ones(root: Path) -> None:
    _put(root / "tiny-model.gguf")
    with pytest.raises(NotFoundError, match="no model tiny-mdel") as caught:
        choose_model(_find(root), "tiny-mdel")
    assert "tiny-model" in caught.value.hint
    assert caught.value.suggestions == ("tiny-model",)
    assert choose_model(_find(root), "tiny-model").id == "tiny-model"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SmolLM2-135M.Q4_1", "SmolLM2-135M.Q4_1"),
        ("a,b/c d", "a-b-c-d"),
        ("--tools", "tools"),
        ("..", "model"),
        ("", "model"),
        ("x" * 500, None),
        ("mödel:7b", "mödel-7b"),
    ],
)
def test_ids_are_safe_as_alias_and_in_a_path(name: str, expected: str | None) -> None:
    made = clean_id(name)
    assert len(made) <= 128
    assert "," not in made
    assert "/" not in made
    assert not made.startswith("-")
    if expected is not None:
        assert made == expected


# --- parts -------------------------------------------------------------------------------------------------


def _parts(root: Path, count: int, *, stem: str = "big") -> list[Path]:
    content = good_file(key("split.count", U32, count))
    return [_put(root / f"{stem}-{n:05d}-of-{count:05d}.gguf", content) for n in range(1, count + 1)]


def test_g15_weights_and_tensors_of_all_parts_are_counted(root: Path) -> None:
    _parts(root, 3)
    (model,) = _find(root).models
    assert model.header is not None
    assert (model.header.parameter_count, model.header.n_tensors) == (3 * 128, 3)
    assert model.header.split_count == 3


def test_g15_a_part_that_is_cut_short_is_named(root: Path) -> None:
    _, second, _ = _parts(root, 3)
    second.write_bytes(second.read_bytes()[:-100])
    (model,) = _find(root).models
    assert "big-00002-of-00003.gguf is incomplete" in (model.problem or "")


def test_g15_whoever_names_a_later_part_gets_the_first(root: Path) -> None:
    first, _, third = _parts(root, 3)
    named = ModelsConfig(models={"mine": ModelEntry(path=str(third))})
    (model,) = _find(root, named).models
    assert (model.id, model.path, model.problem) == ("mine", first, None)


def test_g15_parts_with_a_suffix_in_capitals_belong_together(root: Path) -> None:
    for path in _parts(root, 2):
        path.rename(path.with_suffix(".GGUF"))
    (model,) = _find(root).models
    assert model.problem is None


def test_g15_two_split_models_side_by_side_are_two(root: Path) -> None:
    _parts(root, 2, stem="one")
    _parts(root, 3, stem="two")
    assert _ids(_find(root)) == ["one", "two"]


# --- bounds ------------------------------------------------------------------------------------------------


def test_g16_a_file_that_vanishes_during_the_scan_is_a_problem_of_its_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = _put(root / "a.gguf")
    _put(root / "b.gguf")
    files = folders.FolderScan.files

    def racing(scan: folders.FolderScan, folder: Path | None = None) -> Iterator[Path]:
        found = list(files(scan, folder))
        doomed.unlink(missing_ok=True)
        return iter(found)

    monkeypatch.setattr(folders.FolderScan, "files", racing)
    gone, fine = _find(root).models
    assert "no file" in (gone.problem or "")
    assert fine.problem is None


def test_g16_a_file_that_grows_or_shrinks_is_seen_anew(root: Path) -> None:
    path, cache = _put(root / "m.gguf"), HeaderCache()

    def size() -> tuple[int | None, str | None]:
        config, home = _config(root), _home(root)
        (model,) = find_models(config, ModelsConfig(), home, include_demo=False, headers=cache, env={}).models
        return model.size_bytes, model.problem

    whole = len(good_file())
    assert size() == (whole, None)
    path.write_bytes(good_file() + b"more")
    assert size() == (whole + 4, None)
    path.write_bytes(good_file()[:-300])
    shrunk, problem = size()
    assert shrunk == whole - 300
    assert "incomplete" in (problem or "")


def test_g16_headers_that_take_too_long_are_read_the_next_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        _put(root / f"m{number}.gguf")
    monkeypatch.setattr(catalogue, "_MAX_READING_S", -1.0)
    found = _find(root)
    assert found.models == ()
    assert "3 files were not read yet" in found.problems[0]
    monkeypatch.undo()
    assert len(_find(root).models) == 3
    # What is known costs no reading, so it is listed however little time there is.
    monkeypatch.setattr(catalogue, "_MAX_READING_S", -1.0)
    assert len(_find(root).models) == 3


def test_the_second_list_reads_no_header(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        _put(root / f"m{number}.gguf")
    first = _find(root)

    def unwanted(path: Path) -> object:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("llama_runner.runtime.header_cache.read_gguf", unwanted)
    assert _find(root) == first


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_text_can_be_listed_and_sent(root: Path) -> None:
    _put(root / os.fsdecode(b"\xff\xfe.gguf"))
    _put(root / "\x1b[31mred.gguf", b"<html>")
    found = _find(root)
    document = to_json(model_list_view(found))
    json.dumps(document, ensure_ascii=False).encode("utf-8")
    assert all("\x1b" not in model["id"] + str(model["problem"]) for model in document["models"])


# --- what goes together ------------------------------------------------------------------------------------


def test_projectors_and_adapters_are_found_with_their_models(root: Path) -> None:
    _put(root / "seeing" / "seeing-Q4_0.gguf")
    _put(root / "seeing" / "mmproj-F16.gguf", header([key("general.architecture", STRING, "clip")]))
    _put(root / "plain" / "plain.gguf")
    lora = [key("general.type", STRING, "adapter"), key("general.architecture", STRING, "llama")]
    _put(root / "plain" / "style.gguf", header(lora))
    plain, seeing = _find(root).models
    assert seeing.projector is not None
    assert seeing.projector.path.name == "mmproj-F16.gguf"
    assert seeing.header is not None and "vision" in seeing.header.capabilities
    assert plain.projector is None
    assert plain.header is not None and "vision" not in plain.header.capabilities
    assert [one.path.name for one in plain.adapters] == ["style.gguf"]
    assert seeing.adapters == ()


def test_the_card_of_a_model_is_what_the_header_says(root: Path) -> None:
    _put(
        root / "seeing" / "seeing-Q4_0.gguf",
        good_file(
            key("general.license", STRING, "mit"),
            key("general.basename", STRING, "Seeing"),
            key("general.name", STRING, "twice"),
        ),
    )
    _put(root / "seeing" / "mmproj-F16.gguf", header([key("general.architecture", STRING, "clip")]))
    (card,) = model_list_view(replace(_find(root), room_bytes=1 << 30)).models
    assert (card.id, card.name, card.origin) == ("seeing-Q4_0", "Tiny", "models folder")
    assert (card.license, card.base_name, card.parts) == ("mit", "Seeing", 1)
    assert card.capabilities == ("completion", "vision")
    assert card.projector == str(root / "seeing" / "mmproj-F16.gguf")
    assert (card.fit, card.room_bytes) == ("fits", 1 << 30)
    assert card.need_bytes
    assert "twice" in card.warnings[0]
    (unknown,) = model_list_view(_find(root)).models
    assert (unknown.fit, unknown.need_bytes) == (None, None)
