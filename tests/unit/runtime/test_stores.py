import json
import os
import sys
from pathlib import Path

import pytest

from llama_runner.core.paths import create_folders, home_at
from llama_runner.core.settings import (
    AppConfig,
    ModelEntry,
    ModelsConfig,
    ModelsDir,
    ModelStores,
    RuntimeSettings,
)
from llama_runner.runtime import stores
from llama_runner.runtime.catalogue import ModelFile, find_models
from llama_runner.runtime.stores import hugging_face_hub, lm_studio_folders, ollama_folders
from tests.fakes.gguf_files import STRING, good_file, header, key

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders are set for Linux")

ALL = ModelStores()
NONE = ModelStores(hugging_face=False, lm_studio=False, ollama=False)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a user who has none of these programs yet."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setattr(stores, "_OLLAMA_SERVICE", tmp_path / "no-service")
    return folder


def _find(
    user: Path, *, which: ModelStores = ALL, named: ModelsConfig | None = None, **env: str
) -> dict[str, ModelFile]:
    root = user.parent / "models"
    root.mkdir(exist_ok=True)
    home = home_at(user.parent / "home")
    create_folders(home)
    config = AppConfig(runtime=RuntimeSettings(models_dir=ModelsDir(linux=str(root)), stores=which))
    found = find_models(
        config, named or ModelsConfig(), home, include_demo=False, env={"HOME": str(user), **env}
    )
    assert found.problems == ()
    return {model.id: model for model in found.models}


def _put(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(good_file() if content is None else content)
    return path


# --- Hugging Face ------------------------------------------------------------------------------------------


def _hub_file(
    hub: Path, repository: str, revision: str, name: str, blob: str, content: bytes | None = None
) -> Path:
    """As huggingface_hub stores it: a blob, and a link to it in the snapshot."""
    folder = hub / ("models--" + repository.replace("/", "--"))
    _put(folder / "blobs" / blob, content)
    link = folder / "snapshots" / revision / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(folder / "blobs" / blob, link.parent))
    return link


def test_hugging_faces_files_are_found_under_their_own_names(user: Path) -> None:
    hub = user / ".cache" / "huggingface" / "hub"
    link = _hub_file(hub, "acme/Tiny-GGUF", "aaaa", "Tiny-Q4_K_M.gguf", "b1")
    _hub_file(hub, "acme/Tiny-GGUF", "aaaa", "README.md", "b2", b"hello")
    (hub / "models--acme--empty" / "refs").mkdir(parents=True)
    found = _find(user)
    assert list(found) == ["Tiny-Q4_K_M"]
    assert found["Tiny-Q4_K_M"].path == link
    assert found["Tiny-Q4_K_M"].origin == "Hugging Face"
    assert found["Tiny-Q4_K_M"].size_bytes == len(good_file())


def test_of_several_revisions_the_one_of_the_main_branch_counts(user: Path) -> None:
    hub = user / ".cache" / "huggingface" / "hub"
    _hub_file(hub, "acme/Tiny-GGUF", "aaaa", "Tiny.gguf", "old", good_file() + b"old")
    newer = _hub_file(hub, "acme/Tiny-GGUF", "bbbb", "Tiny.gguf", "new")
    _hub_file(hub, "acme/Tiny-GGUF", "aaaa", "Gone.gguf", "gone", good_file() + b"gone")
    _put(hub / "models--acme--Tiny-GGUF" / "refs" / "main", b"bbbb")
    found = _find(user)
    assert set(found) == {"Tiny", "Gone"}
    assert found["Tiny"].path == newer


def test_the_parts_of_a_split_model_in_the_hub_are_one_model(user: Path) -> None:
    hub = user / "hub"
    for number in (1, 2):
        part = good_file(key("part", STRING, str(number)))
        _hub_file(hub, "acme/Big", "aaaa", f"Q4/Big-{number:05d}-of-00002.gguf", f"b{number}", part)
    (model,) = _find(user, HF_HUB_CACHE=str(hub)).values()
    assert (model.id, model.problem) == ("Big", None)
    assert model.path.name == "Big-00001-of-00002.gguf"


def test_a_link_in_the_hub_that_leads_elsewhere_is_not_followed(user: Path) -> None:
    hub = user / "hub"
    secret = _put(user / "secret.gguf")
    link = hub / "models--acme--Evil" / "snapshots" / "aaaa" / "x.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(secret)
    assert _find(user, HF_HUB_CACHE=str(hub)) == {}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "user/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "{root}/c"}, "c/huggingface/hub"),
        ({"HF_HOME": "{root}/hf"}, "hf/hub"),
        ({"HF_HOME": "{root}/hf", "HF_HUB_CACHE": "{root}/hub"}, "hub"),
        ({"HUGGINGFACE_HUB_CACHE": "{root}/old"}, "old"),
        ({"HF_HUB_CACHE": "relative"}, "user/.cache/huggingface/hub"),
    ],
)
def test_the_hub_is_where_its_own_library_puts_it(
    user: Path, variables: dict[str, str], expected: str
) -> None:
    root = user.parent
    env = {"HOME": str(user), **{name: value.format(root=root) for name, value in variables.items()}}
    assert hugging_face_hub(env, "linux") is None
    (root / expected).mkdir(parents=True)
    assert hugging_face_hub(env, "linux") == root / expected


# --- LM Studio ---------------------------------------------------------------------------------------------


def test_lm_studios_models_are_found_in_its_new_and_its_old_place(user: Path) -> None:
    _put(user / ".lmstudio" / "models" / "acme" / "Tiny-GGUF" / "Tiny-Q8_0.gguf")
    _put(user / ".cache" / "lm-studio" / "models" / "acme" / "Old-GGUF" / "Old.gguf")
    found = _find(user)
    assert list(found) == ["Tiny-Q8_0", "Old"]
    assert {model.origin for model in found.values()} == {"LM Studio"}


def test_lm_studios_own_settings_say_where_its_models_are(user: Path) -> None:
    moved, elsewhere = user.parent / "moved", user.parent / "elsewhere"
    _put(elsewhere / "a" / "b" / "Far.gguf")
    (moved).mkdir()
    (user / ".lmstudio-home-pointer").write_text(f"{moved}\n")
    (moved / "settings.json").write_text(json.dumps({"downloadsFolder": str(elsewhere)}))
    assert list(_find(user)) == ["Far"]
    assert lm_studio_folders({"HOME": str(user)}, "linux") == [elsewhere]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"downloadsFolder": 5}', b'{"downloadsFolder": "x"}']
)
def test_odd_settings_of_lm_studio_leave_its_usual_place(user: Path, content: bytes) -> None:
    _put(user / ".lmstudio" / "models" / "acme" / "Tiny" / "Tiny.gguf")
    _put(user / ".lmstudio" / "settings.json", content)
    _put(user / ".lmstudio-home-pointer", b"relative")
    assert list(_find(user)) == ["Tiny"]


def test_windows_keeps_them_below_the_profile() -> None:
    assert lm_studio_folders({"HOME": "/nowhere"}, "win32") == []
    assert ollama_folders({"HOME": "/nowhere"}, "win32") == []
    assert hugging_face_hub({}, "win32") is None


# --- Ollama ------------------------------------------------------------------------------------------------


def _blob(root: Path, digit: str, content: bytes | None = None) -> str:
    name = digit * 64
    _put(root / "blobs" / f"sha256-{name}", content)
    return f"sha256:{name}"


def _manifest(root: Path, name: str, layers: dict[str, str]) -> None:
    document = {
        "schemaVersion": 2,
        "layers": [
            {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": 1}
            for kind, digest in layers.items()
        ],
    }
    _put(root / "manifests" / name, json.dumps(document).encode())


def test_ollamas_models_have_the_names_that_ollama_lists(user: Path) -> None:
    root = user / ".ollama" / "models"
    names = {
        "registry.ollama.ai/library/llama3.2/latest": ("llama3.2", "llama3.2"),
        "registry.ollama.ai/library/llama3.2/3b": ("llama3.2:3b", "llama3.2-3b"),
        "registry.ollama.ai/acme/tiny/q4": ("acme/tiny:q4", "acme-tiny-q4"),
        "hf.co/acme/Tiny-GGUF/Q8_0": ("hf.co/acme/Tiny-GGUF:Q8_0", "hf.co-acme-Tiny-GGUF-Q8_0"),
    }
    for number, name in enumerate(names):
        digest = _blob(root, f"{number}", good_file(key("n", STRING, str(number))))
        _manifest(root, name, {"model": digest, "template": digest})
    found = _find(user)
    assert {(model.display_name, id) for id, model in found.items()} == set(names.values())
    assert {model.origin for model in found.values()} == {"Ollama"}


def test_one_blob_under_two_names_is_one_model(user: Path) -> None:
    root = user / ".ollama" / "models"
    digest = _blob(root, "a")
    for tag in ("latest", "8b"):
        _manifest(root, f"registry.ollama.ai/library/tiny/{tag}", {"model": digest})
    assert len(_find(user)) == 1


def test_a_projector_and_an_adapter_that_ollama_knows_go_with_their_model(user: Path) -> None:
    root = user / "elsewhere"
    clip = header([key("general.architecture", STRING, "clip")])
    lora = header([key("general.type", STRING, "adapter"), key("general.architecture", STRING, "llama")])
    layers = {
        "model": _blob(root, "a"),
        "projector": _blob(root, "b", clip),
        "adapter": _blob(root, "c", lora),
    }
    _manifest(root, "registry.ollama.ai/library/seeing/latest", layers)
    model = _find(user, OLLAMA_MODELS=str(root))["seeing"]
    assert model.projector is not None
    assert model.projector.path.name == "sha256-" + "b" * 64
    assert model.header is not None
    assert model.header.capabilities == ("completion", "vision")
    # Part of the model, so it is applied unless somebody says otherwise.
    assert model.parameters.loras == (str(root / "blobs" / ("sha256-" + "c" * 64)),)
    assert [one.path.name for one in model.adapters] == ["sha256-" + "c" * 64]


@pytest.mark.parametrize(
    "layers",
    [
        {"license": "sha256:" + "a" * 64},
        {"model": "sha256:../../../../etc/passwd"},
        {"model": "sha256:" + "A" * 64},
        {"model": "sha256:" + "9" * 64},
    ],
)
def test_manifests_without_a_model_of_this_machine_are_passed(user: Path, layers: dict[str, str]) -> None:
    root = user / ".ollama" / "models"
    _blob(root, "a")
    _manifest(root, "registry.ollama.ai/library/x/latest", layers)
    assert _find(user) == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"layers": 5}', b'{"layers": [5, {"digest": 5}]}'])
def test_odd_manifests_are_passed(user: Path, content: bytes) -> None:
    _put(user / ".ollama" / "models" / "manifests" / "registry.ollama.ai" / "library" / "x" / "y", content)
    _put(user / ".ollama" / "models" / "manifests" / "stray", content)
    assert _find(user) == {}


def test_a_blob_that_is_a_link_out_of_the_store_is_not_followed(user: Path) -> None:
    root = user / ".ollama" / "models"
    (root / "blobs").mkdir(parents=True)
    (root / "blobs" / ("sha256-" + "a" * 64)).symlink_to(_put(user / "secret.gguf"))
    _manifest(root, "registry.ollama.ai/library/x/latest", {"model": "sha256:" + "a" * 64})
    assert _find(user) == {}


def test_the_system_services_models_are_found_unless_ollama_was_told_another_place(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = user.parent / "service"
    monkeypatch.setattr(stores, "_OLLAMA_SERVICE", service)
    _manifest(service, "registry.ollama.ai/library/shared/latest", {"model": _blob(service, "a")})
    assert list(_find(user)) == ["shared"]
    assert _find(user, OLLAMA_MODELS=str(user)) == {}


# --- all together ------------------------------------------------------------------------------------------


def test_a_file_that_two_stores_lead_to_counts_once_and_for_the_first(user: Path) -> None:
    shared = user / ".lmstudio" / "models" / "acme" / "Tiny" / "Tiny.gguf"
    _put(shared)
    hub = user / ".lmstudio" / "models"
    assert list(_find(user)) == ["Tiny"]
    assert _find(user)["Tiny"].origin == "LM Studio"
    named = ModelsConfig(models={"mine": ModelEntry(path=str(shared))})
    assert {id: model.origin for id, model in _find(user, named=named, HF_HUB_CACHE=str(hub)).items()} == {
        "mine": "configured"
    }


def test_equal_names_of_different_stores_are_told_apart(user: Path) -> None:
    _put(user.parent / "models" / "Tiny.gguf")
    _put(user / ".lmstudio" / "models" / "acme" / "Tiny-GGUF" / "Tiny.gguf")
    found = _find(user)
    assert {id: model.origin for id, model in found.items()} == {
        "Tiny": "models folder",
        "Tiny-GGUF-Tiny": "LM Studio",
    }


def test_stores_that_are_switched_off_are_not_looked_at(user: Path) -> None:
    _put(user / ".lmstudio" / "models" / "acme" / "Tiny" / "Tiny.gguf")
    _hub_file(user / ".cache" / "huggingface" / "hub", "a/b", "aaaa", "Hub.gguf", "b")
    root = user / ".ollama" / "models"
    _manifest(root, "registry.ollama.ai/library/x/latest", {"model": _blob(root, "a")})
    assert set(_find(user)) == {"Tiny", "Hub", "x"}
    assert _find(user, which=NONE) == {}
    assert set(_find(user, which=ModelStores(ollama=False, hugging_face=False))) == {"Tiny"}


def test_nothing_is_written_into_a_store(user: Path) -> None:
    root = user / ".ollama" / "models"
    _manifest(root, "registry.ollama.ai/library/x/latest", {"model": _blob(root, "a")})
    _hub_file(user / ".cache" / "huggingface" / "hub", "a/b", "aaaa", "Hub.gguf", "b")
    _put(user / ".lmstudio" / "models" / "acme" / "Tiny" / "Tiny.gguf")
    before = {path: path.lstat().st_mtime_ns for path in user.rglob("*")}
    assert len(_find(user)) == 3
    assert {path: path.lstat().st_mtime_ns for path in user.rglob("*")} == before


def test_a_store_whose_folder_cannot_be_opened_is_passed(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its models belong to another user: asking about what is inside raises PermissionError."""
    service = user.parent / "closed"
    service.mkdir(mode=0o000)
    monkeypatch.setattr(stores, "_OLLAMA_SERVICE", service / "models")
    try:
        assert _find(user) == {}
    finally:
        service.chmod(0o700)
