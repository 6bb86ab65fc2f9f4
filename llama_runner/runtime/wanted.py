"""One way to load one model, with every name resolved: profile, projector, adapters, draft, workers.

Files are taken from the models' own folders only (safety R8), and only when they are what they are named for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llama_runner.core.errors import ModelFileError, NotFoundError, UsageError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.settings import ModelEntry
from llama_runner.core.text import visible_controls
from llama_runner.runtime.argv import split_scale, wanted_options
from llama_runner.runtime.catalogue import ModelCatalogue, ModelFile
from llama_runner.runtime.engines import DEFAULT
from llama_runner.runtime.gguf import read_gguf
from llama_runner.runtime.profiles import profile_named, profiles_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be loaded.

    Attributes:
        options: As the engine gets them: files as full paths, its own projector among them.
        profile: Where they come from, besides what was asked for.
        draft: The model that guesses ahead.
        engine: The name of what runs it.
        more_bytes: Projector and adapters.
    """

    model: ModelFile
    options: LoadOptions
    profile: str | None = None
    draft: ModelFile | None = None
    more_bytes: int = 0
    engine: str = DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrounding:
    """Where names are looked up.

    Attributes:
        catalogue: Every model of this machine.
        folders: Where models lie.
        workers: Machines that models may be spread over.
        entry: What the user wrote about the model; None when it was only found.
    """

    catalogue: ModelCatalogue
    folders: Sequence[Path] = ()
    workers: Sequence[str] = ()
    entry: ModelEntry | None = None


def resolve(model: ModelFile, asked: LoadOptions, profile: str | None, around: Surrounding) -> Wanted:
    """What is asked for counts before the profile, the profile before the model's own parameters.

    Blocking: reads the headers of the files named.

    Args:
        profile: By name; None for the model's default, an empty text for none at all.

    Raises:
        NotFoundError: There is no such profile, or no such file.
        ModelFileError: A file is not what it is to be.
        UsageError: A file lies elsewhere, or a machine is not on the user's list.
    """
    name, chosen = choose_profile(model, around.entry, profile)
    options = wanted_options(_over(chosen, asked), model)
    draft = _draft(options, model, around)
    changes: dict[str, object] = {}
    if draft is not None:
        changes["draft_model"] = str(draft.path)
        # Without a kind the engine loads the draft and never asks it.
        changes["speculation"] = options.speculation or "draft-simple"
    projector = chosen_projector(options, model, around)
    changes["projector"] = None if projector is None else str(projector)
    adapters = [(_file(split_scale(one)[0], "adapter", model, around), one) for one in options.loras or ()]
    if adapters:
        changes["loras"] = tuple(_with_scale(path, one) for path, one in adapters)
    _check_workers(options, around.workers)
    files = [*(path for path, _ in adapters), *([projector] if projector else [])]
    more_bytes = sum(path.stat().st_size for path in files)
    return Wanted(model, options.model_copy(update=changes), name, draft, more_bytes)


def choose_profile(
    model: ModelFile, entry: ModelEntry | None, wanted: str | None
) -> tuple[str | None, LoadOptions]:
    """The name and the options of a profile. Raises NotFoundError; a lost default is no error."""
    profiles = entry.profiles if entry is not None else {}
    name = (entry.default_profile if entry is not None else None) if wanted is None else wanted
    if not name:
        return None, LoadOptions()
    if name not in profiles and wanted is None:
        return None, LoadOptions()
    return name, profile_named(profiles_of(model, entry), name)


def _over(below: LoadOptions, above: LoadOptions) -> LoadOptions:
    return below.model_copy(update=above.model_dump(exclude_none=True))


def _draft(options: LoadOptions, model: ModelFile, around: Surrounding) -> ModelFile | None:
    if options.draft_model is None:
        return None
    known = around.catalogue.get(options.draft_model)
    if known is None:
        path = _file(options.draft_model, "model", model, around)
        header = read_gguf(path)
        return ModelFile(path.stem, path, header.file_size_bytes, header, None, "models folder")
    if known.problem is not None:
        raise ModelFileError(known.problem)
    return known


def chosen_projector(options: LoadOptions, model: ModelFile, around: Surrounding) -> Path | None:
    """The projector that the options name, else the model's own; None for none. Raises as `resolve`."""
    if options.projector == "none":
        return None
    if options.projector is None:
        return model.projector.path if model.projector else None
    return _file(options.projector, "mmproj", model, around)


_WHAT = {"mmproj": "projector", "adapter": "adapter", "model": "model"}


def _file(name: str, kind: str, model: ModelFile, around: Surrounding) -> Path:
    """The file of that name, beside the model or in a models folder."""
    what = _WHAT[kind]
    # Stores keep their files where they like; what is found with a model is part of it.
    own = [one.path for one in (*model.adapters, model.projector) if one is not None]
    if (paired := next((path for path in own if name in (str(path), path.name)), None)) is not None:
        return paired
    folders = [model.path.parent, *around.folders]
    found = next((path for folder in folders if (path := folder / name).is_file()), None)
    if found is None:
        raise NotFoundError(
            f"There is no {what} {visible_controls(name, 200)}.",
            f"Give the name of a file beside the model, or of one below {folders[-1]}.",
        )
    path = found.resolve(strict=True)
    if not any(path.is_relative_to(folder.resolve()) for folder in folders):
        raise UsageError(
            f"The {what} {found} lies outside of the models folders.", f"Move it beside {model.path.name}."
        )
    header = read_gguf(path)
    if header.kind != kind:
        raise ModelFileError(
            f"{found.name} is no {what} but a file of kind {header.kind}.", f"Choose another {what}."
        )
    return path


def _with_scale(path: Path, lora: str) -> str:
    scale = split_scale(lora)[1]
    return str(path) if scale is None else f"{path}:{scale:g}"


def _check_workers(options: LoadOptions, allowed: Sequence[str]) -> None:
    """R7, I9: weights and prompts go to these machines unencrypted; whoever reaches them controls them."""
    strange = [worker for worker in options.rpc_workers or () if worker not in allowed]
    if strange:
        raise UsageError(
            f"{strange[0]} is not among the machines that models may be spread over.",
            "Add it to runtime.rpc_workers in the settings, if it is yours and its network is trusted.",
        )
