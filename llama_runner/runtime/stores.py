"""Where model files are on this machine: the models folder, and what other programs keep. Reads only.

Hugging Face's hub cache, LM Studio's models and Ollama's manifests with their blobs; nothing is ever written,
moved or downloaded there.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from llama_runner.core.errors import StorageError
from llama_runner.core.files import read_bounded
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.core.settings import ModelStores
from llama_runner.runtime.folders import FolderScan

# A manifest has about 1 KiB, LM Studio's settings some 10 KiB.
_MAX_DOCUMENT_BYTES: Final = 256 * 1024
_DIGEST: Final = re.compile(r"sha256[:-]([0-9a-f]{64})")
_LAYER: Final = "application/vnd.ollama.image."
# What `ollama pull NAME` means, and what it therefore leaves out when it lists its models.
_OLLAMA_HOME: Final = ("registry.ollama.ai", "library")
_OLLAMA_TAG: Final = "latest"
# Where Ollama's own installer for Linux puts the models of the service.
_OLLAMA_SERVICE: Final = Path("/usr/share/ollama/.ollama/models")

ModelOrigin = Literal["models folder", "configured", "demo package", "Hugging Face", "LM Studio", "Ollama"]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A GGUF file somewhere; whether it is a model is not known yet.

    Attributes:
        name: What its store calls it; None where that is the file's name.
        projector: What its store says belongs to it.
        adapters: Those that its store says are part of it.
    """

    path: Path
    origin: ModelOrigin
    name: str | None = None
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()


def stored_files(
    models_dir: Path,
    stores: ModelStores,
    env: Mapping[str, str],
    problems: list[str],
    platform: str = sys.platform,
) -> Iterator[StoredFile]:
    """Every GGUF file of the models folder, then of the stores that are switched on.

    Args:
        env: Says where the stores are, as it does to the programs that own them.
        problems: Gets a sentence for whatever was left out.
    """
    if models_dir.is_dir():
        for path in FolderScan(models_dir, problems).models():
            yield StoredFile(path, "models folder")
    if stores.lm_studio:
        for root in lm_studio_folders(env, platform):
            for path in FolderScan(root, problems).models():
                yield StoredFile(path, "LM Studio")
    if stores.hugging_face and (hub := hugging_face_hub(env, platform)):
        for path in _hub_files(FolderScan(hub, problems), hub):
            yield StoredFile(path, "Hugging Face")
    if stores.ollama:
        for root in ollama_folders(env, platform):
            yield from _ollama_models(FolderScan(root, problems), root)


# --- where they are ----------------------------------------------------------------------------------------


def hugging_face_hub(env: Mapping[str, str], platform: str) -> Path | None:
    """The hub cache by the rules of `huggingface_hub`; None when there is none."""
    home = _user_home(env, platform)
    cache = _named(env, "XDG_CACHE_HOME") or (home / ".cache" if home else None)
    base = _named(env, "HF_HOME") or (cache / "huggingface" if cache else None)
    hub = (
        _named(env, "HF_HUB_CACHE")
        or _named(env, "HUGGINGFACE_HUB_CACHE")
        or (base / "hub" if base else None)
    )
    return hub if hub is not None and _is_folder(hub) else None


def lm_studio_folders(env: Mapping[str, str], platform: str) -> list[Path]:
    """LM Studio's models folders: the one it was told to use, and where its versions put them by default."""
    home = _user_home(env, platform)
    if home is None:
        return []
    homes = [home / ".lmstudio", home / ".cache" / "lm-studio"]
    if (pointed := _first_line(home / ".lmstudio-home-pointer")) and Path(pointed).is_absolute():
        homes.insert(0, Path(pointed))
    found = [folder for one in homes for folder in (_downloads_folder(one), one / "models") if folder]
    return [folder for folder in dict.fromkeys(found) if _is_folder(folder)]


def ollama_folders(env: Mapping[str, str], platform: str) -> list[Path]:
    """Ollama's models folders: the one in OLLAMA_MODELS, else the user's and the system service's."""
    if told := _named(env, "OLLAMA_MODELS"):
        folders = [told]
    else:
        home = _user_home(env, platform)
        folders = [home / ".ollama" / "models"] if home else []
        folders += [_OLLAMA_SERVICE] if platform == "linux" else []
    return [folder for folder in folders if _is_folder(folder / "manifests")]


def _is_folder(path: Path) -> bool:
    """Also False where the system does not let us look: `Path.is_dir` would raise."""
    return os.path.isdir(path)


def _user_home(env: Mapping[str, str], platform: str) -> Path | None:
    return _named(env, "USERPROFILE" if platform == "win32" else "HOME")


def _named(env: Mapping[str, str], variable: str) -> Path | None:
    """The folder that a variable names; a relative one would be another for every program."""
    value = env.get(variable, "")
    return Path(value) if value and Path(value).is_absolute() else None


def _downloads_folder(lm_studio_home: Path) -> Path | None:
    settings = _document(lm_studio_home / "settings.json")
    told = settings.get("downloadsFolder") if isinstance(settings, dict) else None
    return Path(told) if isinstance(told, str) and Path(told).is_absolute() else None


# --- what is in them ---------------------------------------------------------------------------------------


def _hub_files(scan: FolderScan, hub: Path) -> Iterator[Path]:
    """The files of every downloaded repository, each in the revision its main branch has, else in another."""
    for repository in scan.folders(hub):
        if not repository.name.startswith("models--"):
            continue
        main = _first_line(repository / "refs" / "main")
        snapshots = scan.folders(repository / "snapshots") if _is_folder(repository / "snapshots") else []
        seen: set[Path] = set()
        for snapshot in sorted(snapshots, key=lambda folder: (folder.name != main, folder.name)):
            for path in scan.models(snapshot):
                inside = path.relative_to(snapshot)
                if inside not in seen:
                    seen.add(inside)
                    yield path


def _ollama_models(scan: FolderScan, root: Path) -> Iterator[StoredFile]:
    manifests = root / "manifests"
    for path in scan.files(manifests):
        layers = _layers(_document(path), root / "blobs", scan)
        model = layers.get("model")
        if not model:
            # Those in Ollama's cloud have none.
            continue
        projector = layers.get("projector")
        yield StoredFile(
            model[0],
            "Ollama",
            _ollama_name(path.relative_to(manifests).parts),
            projector[0] if projector else None,
            tuple(layers.get("adapter", ())),
        )


def _layers(manifest: JsonValue, blobs: Path, scan: FolderScan) -> dict[str, list[Path]]:
    """The blobs of a manifest that are here, by what they are: model, projector, adapter, template …"""
    found: dict[str, list[Path]] = {}
    layers = manifest.get("layers") if isinstance(manifest, dict) else None
    for layer in layers if isinstance(layers, list) else ():
        kind, digest = (layer.get("mediaType"), layer.get("digest")) if isinstance(layer, dict) else (0, 0)
        told = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
        blob = blobs / f"sha256-{told[1]}" if told else None
        if blob is not None and isinstance(kind, str) and kind.startswith(_LAYER) and scan.holds(blob):
            found.setdefault(kind.removeprefix(_LAYER), []).append(blob)
    return found


def _ollama_name(parts: tuple[str, ...]) -> str:
    """The name that `ollama list` shows, without the tag that goes without saying."""
    *place, name, tag = parts if len(parts) > 1 else ("", *parts)
    known = tuple(place) == _OLLAMA_HOME
    prefix = "" if known else "/".join(part for part in place if part != _OLLAMA_HOME[0]) + "/"
    return prefix.lstrip("/") + (name if tag == _OLLAMA_TAG else f"{name}:{tag}")


def _document(path: Path) -> JsonValue:
    """The JSON in a file of another program; None when it is not there or not to be understood."""
    try:
        data = read_bounded(path, max_bytes=_MAX_DOCUMENT_BYTES)
        return parse_json(data, max_bytes=_MAX_DOCUMENT_BYTES) if data is not None else None
    except (StorageError, JsonRejected):
        return None


def _first_line(path: Path) -> str:
    try:
        data = read_bounded(path, max_bytes=_MAX_DOCUMENT_BYTES)
    except StorageError:
        return ""
    lines = (data or b"").decode("utf-8", errors="replace").split("\n")
    return lines[0].strip()
