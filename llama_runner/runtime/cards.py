"""Whether a model fits this machine, before anybody loads it. Pure: numbers in, a mark out."""

from dataclasses import dataclass
from typing import Final, Literal

from llama_runner.runtime.catalogue import ModelFile
from llama_runner.runtime.memory import estimate

# The engine makes a context smaller rather than fail, and no smaller than this.
_LEAST_CONTEXT: Final = 4096

FitMark = Literal["fits", "tight", "too large"]


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model fits.

    Attributes:
        mark: "tight" when it fits only with a smaller context than it would have.
        need_bytes: As the user set it up, else with the whole context it was trained for.
        room_bytes: What there is when no other model is loaded.
    """

    mark: FitMark
    need_bytes: int
    room_bytes: int


def fit(model: ModelFile, room_bytes: int | None) -> Fit | None:
    """The mark of one model; None where its size or the machine's is unknown."""
    if model.header is None or model.size_bytes is None or room_bytes is None:
        return None
    chosen = model.parameters
    size_bytes = model.size_bytes + (model.projector.header.file_size_bytes if model.projector else 0)
    need_bytes = estimate(model.header, size_bytes, chosen).total_bytes
    if need_bytes <= room_bytes:
        return Fit("fits", need_bytes, room_bytes)
    context = min(model.header.context_length or _LEAST_CONTEXT, _LEAST_CONTEXT)
    least = chosen if chosen.context_length else chosen.model_copy(update={"context_length": context})
    fits = estimate(model.header, size_bytes, least).total_bytes <= room_bytes
    return Fit("tight" if fits else "too large", need_bytes, room_bytes)
