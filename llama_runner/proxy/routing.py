"""Which model a request means."""

import re
from collections.abc import Sequence
from typing import Final

from llama_runner.backends.suggestions import close_to
from llama_runner.core.errors import InvalidRequestError, NotFoundError
from llama_runner.core.jsonio import JsonValue
from llama_runner.core.text import visible_controls
from llama_runner.proxy.host import ModelHost, ModelState, OfferedModel

# Names are looked up, never resolved: a longer one is no name of ours (H17).
MAX_NAME_CHARS: Final = 512
_OLLAMA_TAG: Final = ":latest"
_NOT_IN_IDS: Final = re.compile(r"[^\w.+@-]+")


async def find_model(host: ModelHost, wanted: JsonValue) -> OfferedModel:
    """The model that a request names, of those that are offered now. Raises as `choose` does."""
    return choose(await host.offered(), wanted)


def choose(offered: Sequence[OfferedModel], wanted: JsonValue) -> OfferedModel:
    """The model of that name; without a name, the only one loaded here, else the only one here.

    What is on another server is never asked without being named.

    Raises:
        InvalidRequestError: No name, and the choice is the client's; or the name is no text.
        NotFoundError: There is no model of that name; has those that come close.
    """
    if wanted is None or wanted == "":
        here = [model for model in offered if not model.steps]
        for models in ([m for m in here if m.state is ModelState.LOADED], here):
            if len(models) == 1:
                return models[0]
        raise InvalidRequestError("model is required", "Name one of those that /v1/models lists.")
    if not isinstance(wanted, str):
        raise InvalidRequestError("model must be a text.", "Name one of those that /v1/models lists.")
    found = named(offered, wanted)
    if found is None:
        raise _not_found(offered, wanted)
    return found


def _not_found(offered: Sequence[OfferedModel], wanted: str) -> NotFoundError:
    """With the names that come close, best first."""
    close = close_to(wanted.removesuffix(_OLLAMA_TAG), tuple(model.id for model in offered))
    names = " or ".join(visible_controls(name, 100) for name in close)
    hint = f"Did you mean {names}?" if close else "See /v1/models for what there is."
    return NotFoundError(f"model '{visible_controls(wanted, 200)}' not found", hint, close)


def named(offered: Sequence[OfferedModel], wanted: str) -> OfferedModel | None:
    """By its id; else by its id in another letter case, or with Ollama's default tag; None when no model."""
    if len(wanted) > MAX_NAME_CHARS:
        return None
    exact = next((model for model in offered if model.id == wanted), None)
    # Ollama's own models keep their names here but for what no id may hold: llama3.2:3b is llama3.2-3b.
    folded = wanted.removesuffix(_OLLAMA_TAG).casefold()
    known = (folded, _NOT_IN_IDS.sub("-", folded))
    return exact or next((model for model in offered if model.id.casefold() in known), None)
