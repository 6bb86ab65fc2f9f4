"""How much memory a model needs, and which loaded ones have to leave for it. Pure: numbers in, a plan out.

The need is estimated from the header, and corrected by what earlier loads of the same file really took.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llama_runner.core.load_options import CACHE_BYTES, LoadOptions
from llama_runner.runtime.gguf import GgufHeader

MIB: Final = 1024 * 1024
# The program and its libraries. Measured with SmolLM2-135M on b10434, contexts of 512 to 8192 tokens: beyond
# weights and context it holds 43 MiB when loaded, 43 to 61 MiB after a long prompt, work space included.
BASE_BYTES: Final = 40 * MIB
_WORK_ROWS: Final = 512
_WORK_FLOATS_PER_WIDTH: Final = 14
_FLOAT_BYTES: Final = 4
# Used when neither the wish nor the header names a context.
USUAL_CONTEXT: Final = 4096


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What loading takes, in bytes.

    Attributes:
        context_bytes: Keys and values of all slots.
        work_bytes: Buffers for computing, and the program itself.
        measured_bytes: What an earlier load with the same options really took; None when there was none.
    """

    weights_bytes: int
    context_bytes: int
    work_bytes: int
    measured_bytes: int | None = None

    @property
    def total_bytes(self) -> int:
        """What to count with: the measured figure where there is one."""
        estimated = self.weights_bytes + self.context_bytes + self.work_bytes
        return self.measured_bytes if self.measured_bytes is not None else estimated


def estimate(header: GgufHeader | None, size_bytes: int | None, options: LoadOptions) -> MemoryNeed:
    """The need of a model file; with little known it is little more than the file's size.

    Args:
        size_bytes: All parts of the file together.
        options: Its context counts for all slots together; without one, what the model was trained for.
    """
    per_token = header.context_bytes_per_token if header is not None else None
    width = header.embedding_length if header is not None else None
    tokens = (
        options.context_length or (header.context_length if header is not None else None) or USUAL_CONTEXT
    )
    work = _WORK_ROWS * _WORK_FLOATS_PER_WIDTH * _FLOAT_BYTES * (width or 0)
    return MemoryNeed(
        weights_bytes=size_bytes or 0,
        context_bytes=round((per_token or 0) * tokens * _cache_share(options)),
        work_bytes=BASE_BYTES + work,
    )


def _cache_share(options: LoadOptions) -> float:
    """What the chosen types of keys and values take of what 16-bit floats would."""
    chosen = (options.cache_type_k or "f16", options.cache_type_v or "f16")
    return sum(CACHE_BYTES[kind] for kind in chosen) / (2 * CACHE_BYTES["f16"])


@dataclass(frozen=True, slots=True)
class Resident:
    """One loaded model, as the plan sees it.

    Attributes:
        bytes: What it holds, or will hold when it is loaded.
        in_flight: Requests that use it or wait for it.
        idle_s: Since its last request; None while it works.
        load_s: How long it took to load.
    """

    id: str
    model_id: str
    bytes: int
    in_flight: int
    idle_s: float | None
    pinned: bool
    load_s: float | None = None


@dataclass(frozen=True, slots=True)
class RoomPlan:
    """What loading a model means for the others.

    Attributes:
        evict: What leaves, first to last.
        keep: What stays.
        fits: Whether there is room after that.
    """

    need_bytes: int
    free_bytes: int
    evict: tuple[Resident, ...]
    keep: tuple[Resident, ...]
    fits: bool


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What loading a model would mean now.

    Attributes:
        load_s: How long it took the last time; None when it was never loaded like this.
        loaded: It is loaded, or loading, already: nothing would happen.
    """

    model_id: str
    need: MemoryNeed
    room: RoomPlan
    load_s: float | None
    loaded: bool


def plan_room(need_bytes: int, free_bytes: int, residents: Sequence[Resident]) -> RoomPlan:
    """Make room by sending away what was used longest ago: the idle first, then what works; never the pinned.

    Nothing leaves when that would not make enough room.
    """
    if need_bytes <= free_bytes:
        return RoomPlan(need_bytes, free_bytes, (), tuple(residents), True)
    evict: list[Resident] = []
    freed = 0
    for resident in sorted(residents, key=_order):
        if resident.pinned:
            continue
        evict.append(resident)
        freed += resident.bytes
        if need_bytes <= free_bytes + freed:
            keep = tuple(one for one in residents if one not in evict)
            return RoomPlan(need_bytes, free_bytes, tuple(evict), keep, True)
    return RoomPlan(need_bytes, free_bytes, (), tuple(residents), False)


def _order(resident: Resident) -> tuple[int, float]:
    return resident.in_flight, -(resident.idle_s or 0.0)
