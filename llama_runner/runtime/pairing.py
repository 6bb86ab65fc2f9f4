"""Which projector and which adapters go with which model, by headers, names and folders. Pure.

A wrong projector keeps a model from loading, a missing one only blinds it: in doubt there is none.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llama_runner.runtime.gguf import GgufHeader

_WORD: Final = re.compile(r"[a-z0-9]+")
# The end of a file's name that tells how its weights are stored: -Q4_K_M, .i1-IQ2_XXS, -UD-Q4_K_XL, -f16.
_QUANTIZATION: Final = re.compile(
    r"[-_. ](?:(?:i?q\d|tq\d)(?:_(?:\d|k|nl|xxs|xs|s|m|l|xl))*|b?f16|fp16|f32|mxfp4(?:_moe)?|nvfp4|ud|i1)$"
)
_PROJECTOR_WORDS: Final = frozenset({"mmproj", "model", "vision", "projector"})
# Of several projectors of one model: exact enough, and half of F32.
_LIKED: Final = ("F16", "BF16", "Q8_0", "F32")


@dataclass(frozen=True, slots=True)
class Companion:
    """A file that is no model by itself: a projector or an adapter."""

    path: Path
    header: GgufHeader


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, as far as its companions are concerned.

    Attributes:
        stem: Its file's name, without suffix and number of part.
    """

    path: Path
    stem: str
    header: GgufHeader


def one_family(stems: Iterable[str]) -> bool:
    """Whether files of these names are one model, stored in one way or several."""
    return len({_family(stem) for stem in stems}) == 1


def projector_for(model: Subject, projectors: Sequence[Companion], *, alone: bool) -> Companion | None:
    """The projector in the model's folder that belongs to it; None when there is none, or it is in doubt.

    Args:
        projectors: Those of the folder.
        alone: Whether the folder has no other model.
    """
    if "completion" not in model.header.capabilities:
        return None
    fitting = [one for one in projectors if _belongs(one, model, alone=alone)]
    return min(fitting, key=_preference, default=None)


def adapters_for(model: Subject, adapters: Sequence[Companion]) -> tuple[Companion, ...]:
    """The adapters that can be applied to the model: made for it by name, or for its kind and beside it."""
    architecture = model.header.architecture
    return tuple(
        one
        for one in adapters
        if one.header.architecture == architecture
        and (one.path.parent == model.path.parent or _same_model(one.header.base_model, model))
    )


def _belongs(projector: Companion, model: Subject, *, alone: bool) -> bool:
    told = tuple(word for word in _family(projector.path.stem) if word not in _PROJECTOR_WORDS)
    if told and _family(model.stem)[: len(told)] == told:
        return True
    name = projector.header.name
    if name and model.header.name and _words(name) == _words(model.header.name):
        return True
    return alone and not told


def _preference(projector: Companion) -> tuple[int, str]:
    kind = projector.header.quantization
    return _LIKED.index(kind) if kind in _LIKED else len(_LIKED), projector.path.name


def _same_model(name: str | None, model: Subject) -> bool:
    words = _words(name or "")
    known = {_words(model.header.name or ""), _words(model.header.base_model or ""), _family(model.stem)}
    return bool(words) and words in known


def _family(stem: str) -> tuple[str, ...]:
    """The words of a file's name, but for how its weights are stored."""
    name = stem.lower()
    while found := _QUANTIZATION.search(name):
        name = name[: found.start()]
    return _words(name)


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))
