"""Which model is meant when none, or only a name, was given. Pure rules."""

from collections.abc import Iterable
from typing import Final

from llama_runner.backends.models import ModelInfo
from llama_runner.backends.suggestions import close_to
from llama_runner.control.values import ServedModel
from llama_runner.core.errors import ModelFileError, NotFoundError, UsageError
from llama_runner.core.text import visible_controls

# A sentence with more names than this is a list nobody reads.
MAX_NAMES: Final = 20
_DEMO_ORIGIN: Final = "demo package"


def choose_remote(models: tuple[ModelInfo, ...], wanted: str | None, where: str) -> str:
    """The id to ask a server for.

    A name that was given is taken as it is: servers accept aliases that they do not list. Otherwise the only
    model, or the only one in memory.

    Raises:
        UsageError: The choice is the caller's.
        NotFoundError: The server offers nothing.
    """
    if wanted is not None:
        return wanted
    loaded = [model.id for model in models if model.loaded]
    for ids in ([model.id for model in models], loaded):
        if len(ids) == 1:
            return ids[0]
    if not models:
        raise NotFoundError(f"{where} offers no model.", "Load one there, or name another server.")
    raise UsageError(
        f"{where} has several models.", f"Name one with --model: {_names(m.id for m in models)}."
    )


def choose_local(
    models: tuple[ServedModel, ...],
    wanted: str | None,
    *,
    default: str | None,
    ready: tuple[str, ...],
    demo: bool,
) -> str:
    """The id to have the local service load: the one named, the default, the only one loaded, the only one.

    Args:
        default: The configured default model.
        ready: Ids of the models in memory.
        demo: Prefer the demo model to guessing.

    Raises:
        NotFoundError: The named model is not there.
        ModelFileError: There is none, or the named one cannot be loaded.
        UsageError: The choice is the caller's.
    """
    usable = [model.id for model in models if model.problem is None]
    if wanted is not None:
        return _named(models, wanted)
    if default in usable:
        return str(default)
    demo_ids = [model.id for model in models if model.origin == _DEMO_ORIGIN and model.id in usable]
    for ids in (list(ready), usable, demo_ids if demo else []):
        if len(ids) == 1:
            return ids[0]
    if not usable:
        why = "; ".join(f"{m.id}: {m.problem}".rstrip(".") for m in models[:3])
        raise ModelFileError(
            f"No model can be loaded ({why})." if why else "There is no model to load.",
            "Put a GGUF file into the models folder (`doctor` shows which), or add --demo.",
        )
    raise UsageError("There are several models.", f"Name one with --model: {_names(usable)}.")


def _named(models: tuple[ServedModel, ...], wanted: str) -> str:
    found = next((model for model in models if model.id == wanted), None)
    if found is None:
        ids = [model.id for model in models]
        close = close_to(wanted, tuple(ids))
        hint = f"Did you mean {' or '.join(close)}?" if close else f"Known models: {_names(ids) or 'none'}."
        raise NotFoundError(f"There is no model {visible_controls(wanted, 100)!r} here.", hint, close)
    if found.problem is not None:
        raise ModelFileError(f"{found.id} cannot be loaded: {found.problem}", "See `models` for others.")
    return found.id


def _names(ids: Iterable[str]) -> str:
    names = [visible_controls(name, 100) for name in ids]
    return ", ".join(names[:MAX_NAMES]) + (
        f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    )
