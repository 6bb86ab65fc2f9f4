"""Which of the models there are was probably meant."""

import difflib

from llama_runner.core.errors import NotFoundError
from llama_runner.core.text import visible_controls

MAX_SUGGESTIONS = 3
# Comparing is quadratic in the length of the names; nobody mistypes a longer one.
MAX_COMPARED_CHARS = 200


def close_to(wanted: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The names that come close, best first; letter case does not count."""
    by_folded = {name[:MAX_COMPARED_CHARS].casefold(): name for name in reversed(known)}
    folded = wanted[:MAX_COMPARED_CHARS].casefold()
    close = difflib.get_close_matches(folded, by_folded, n=MAX_SUGGESTIONS, cutoff=0.4)
    return tuple(by_folded[name] for name in close)


def not_found(where: str, wanted: str, known: tuple[str, ...]) -> NotFoundError:
    """The error for a model that a server does not have."""
    close = close_to(wanted, known)
    shown = " or ".join(visible_controls(name, 100) for name in close)
    hint = f"Did you mean {shown}?" if close else f"See what it offers: models --server {where}."
    return NotFoundError(f"{where} has no model {visible_controls(wanted, 100)!r}.", hint, close)


def with_suggestions(error: NotFoundError, where: str, wanted: str, known: tuple[str, ...]) -> NotFoundError:
    """The same error, saying what comes close when it is the model that the server does not have."""
    if not known or wanted in known or f"{wanted}:latest" in known:
        return error
    told = not_found(where, wanted, known)
    return NotFoundError(error.message, told.hint, told.suggestions)
