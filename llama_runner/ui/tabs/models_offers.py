"""What options can be picked from: engines, projector and adapters of a model, models that draft for it."""

from collections.abc import Iterable, Mapping, Sequence

from llama_runner.control.values import ServedModel
from llama_runner.core import format
from llama_runner.ui.tabs.models_option_row import Offer


def offers_for(
    file: ServedModel, files: Sequence[ServedModel], engines: Iterable[str]
) -> Mapping[str, tuple[Offer, ...]]:
    """By option.

    Args:
        files: All models, of which smaller ones of its family can draft.
        engines: Names of the engines in the settings.
    """
    own = (
        ()
        if file.projector is None
        else (Offer(_base(file.projector), file.projector), Offer("none", "none"))
    )
    return {
        "engine": tuple(Offer(name, name) for name in engines),
        "projector": own,
        "loras": tuple(
            Offer(f"{one.name} ({format.size(one.size_bytes)})", one.path) for one in file.adapters
        ),
        "draft_model": tuple(
            Offer(f"{one.id} ({format.size(one.size_bytes)})", one.id)
            for one in sorted(files, key=lambda one: one.size_bytes or 0)
            if _can_draft(one, file)
        ),
    }


def _base(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _can_draft(one: ServedModel, file: ServedModel) -> bool:
    """Smaller, of the same architecture, made for text; whether words fit is for the engine to say."""
    return (
        one.id != file.id
        and one.problem is None
        and one.architecture is not None
        and one.architecture == file.architecture
        and "completion" in one.capabilities
        and (one.size_bytes or 0) < (file.size_bytes or 0)
    )
