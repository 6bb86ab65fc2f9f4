"""How much memory a model needs, and which loaded ones have to leave for it. Pure: numbers in, a plan out.

The need is estimated from the header, and corrected by what earlier loads of the same file really took.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from llama_runner.core.load_options import LoadOptions
from llama_runner.core.option_types import CACHE_BYTES
from llama_runner.runtime.gguf import GgufHeader

MIB: Final = 1024 * 1024
# The program and its libraries. Measured with SmolLM2-135M on b10434, contexts of 512 to 8192 tokens: beyond
# weights and context it holds 43 MiB when loaded, 43 to 61 MiB after a long prompt, work space included.
BASE_BYTES: Final = 40 * MIB
_WORK_ROWS: Final = 512
_WORK_FLOATS_PER_WIDTH: Final = 14
_FLOAT_BYTES: Final = 4
# What a graphics driver keeps for each program that computes on it; a guess, which the first load corrects.
GPU_BASE_BYTES: Final = 300 * MIB
# The engine leaves so much of a card free when it chooses the layers itself (its --fit-target).
GPU_MARGIN_BYTES: Final = 1024 * MIB
# Used when neither the wish nor the header names a context.
USUAL_CONTEXT: Final = 4096


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What loading takes, in bytes, in main memory and on graphics cards together.

    Attributes:
        weights_bytes: The model, its projector, its adapters and its draft.
        context_bytes: Keys and values of all slots.
        work_bytes: Buffers for computing, and the program itself.
        measured_bytes: Main memory that an earlier load with the same options really took; None when there
            was none.
        vram_weights_bytes: Of the weights, what goes to graphics cards; likewise the next two.
        measured_vram_bytes: What that earlier load took of graphics cards.
    """

    weights_bytes: int
    context_bytes: int
    work_bytes: int
    measured_bytes: int | None = None
    vram_weights_bytes: int = 0
    vram_context_bytes: int = 0
    vram_work_bytes: int = 0
    measured_vram_bytes: int | None = None

    @property
    def vram_bytes(self) -> int:
        """What to count with on graphics cards."""
        if self.measured_vram_bytes is not None:
            return self.measured_vram_bytes
        return self.vram_weights_bytes + self.vram_context_bytes + self.vram_work_bytes

    @property
    def ram_bytes(self) -> int:
        """What to count with in main memory: the measured figure where there is one."""
        if self.measured_bytes is not None:
            return self.measured_bytes
        on_cards = self.vram_weights_bytes + self.vram_context_bytes + self.vram_work_bytes
        return self.weights_bytes + self.context_bytes + self.work_bytes - on_cards

    @property
    def total_bytes(self) -> int:
        """Both together."""
        return self.ram_bytes + self.vram_bytes

    def plus(self, other: "MemoryNeed") -> "MemoryNeed":
        """This and what belongs to it; measured figures are of the whole already."""
        return replace(
            self,
            weights_bytes=self.weights_bytes + other.weights_bytes,
            context_bytes=self.context_bytes + other.context_bytes,
            work_bytes=self.work_bytes + other.work_bytes,
            vram_weights_bytes=self.vram_weights_bytes + other.vram_weights_bytes,
            vram_context_bytes=self.vram_context_bytes + other.vram_context_bytes,
            vram_work_bytes=self.vram_work_bytes + other.vram_work_bytes,
        )


def estimate(
    header: GgufHeader | None, size_bytes: int | None, options: LoadOptions, *, gpu: bool = False
) -> MemoryNeed:
    """The need of a model file; with little known it is little more than the file's size.

    Weights count as spread evenly over the layers, experts and the rest each for themselves.

    Args:
        size_bytes: All parts of the file together.
        options: Its context counts for all slots together; without one, what the model was trained for.
            Without `gpu_layers` all of it goes to main memory.
        gpu: Whether there is a graphics card for the layers it asks for.
    """
    per_token = header.context_bytes_per_token if header is not None else None
    width = header.embedding_length if header is not None else None
    tokens = (
        options.context_length or (header.context_length if header is not None else None) or USUAL_CONTEXT
    )
    work = _WORK_ROWS * _WORK_FLOATS_PER_WIDTH * _FLOAT_BYTES * (width or 0)
    context = round((per_token or 0) * tokens * _cache_share(options))
    share = _gpu_share(header, options) if gpu else 0.0
    context_share = 0.0 if options.context_on_gpu is False else share
    base = GPU_BASE_BYTES if share else 0
    return MemoryNeed(
        weights_bytes=size_bytes or 0,
        context_bytes=context,
        work_bytes=BASE_BYTES + work + base,
        vram_weights_bytes=round(share * (size_bytes or 0) - _experts_kept(header, options, share)),
        vram_context_bytes=round(context * context_share),
        vram_work_bytes=(work if share else 0) + base,
    )


def all_layers(header: GgufHeader | None) -> int | None:
    """Layers that can go to graphics cards: the blocks and the output."""
    return None if header is None or header.block_count is None else header.block_count + 1


def _gpu_share(header: GgufHeader | None, options: LoadOptions) -> float:
    layers, wanted = all_layers(header), options.gpu_layers or 0
    if layers is None:
        return 1.0 if wanted else 0.0
    return min(wanted, layers) / layers


def _experts_kept(header: GgufHeader | None, options: LoadOptions, share: float) -> float:
    """Bytes of experts in main memory, of layers that are on graphics cards otherwise.

    The engine puts the last layers on cards, and keeps the experts of the first ones.
    """
    if header is None or not header.expert_bytes or not header.block_count:
        return 0.0
    blocks = header.block_count
    kept = blocks if options.cpu_moe else min(options.cpu_moe_layers or 0, blocks)
    on_cards = min(options.gpu_layers or 0, blocks)
    both = max(0, kept + on_cards - blocks)
    # Never more than what counts as being there.
    return min(header.expert_bytes * both / blocks, header.expert_bytes * share)


def layers_that_fit(
    header: GgufHeader | None, size_bytes: int | None, options: LoadOptions, free_vram_bytes: int
) -> int:
    """How many layers graphics cards can take beside the engine's margin; what it would choose by itself."""
    room = free_vram_bytes - GPU_MARGIN_BYTES
    for count in range(all_layers(header) or 0, 0, -1):
        tried = options.model_copy(update={"gpu_layers": count})
        if estimate(header, size_bytes, tried, gpu=True).vram_bytes <= room:
            return count
    return 0


def _cache_share(options: LoadOptions) -> float:
    """What the chosen types of keys and values take of what 16-bit floats would."""
    chosen = (options.cache_type_k or "f16", options.cache_type_v or "f16")
    return sum(CACHE_BYTES[kind] for kind in chosen) / (2 * CACHE_BYTES["f16"])


@dataclass(frozen=True, slots=True)
class Resident:
    """One loaded model, as the plan sees it.

    Attributes:
        bytes: What it holds of main memory, or will hold when it is loaded.
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
    vram_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RoomPlan:
    """What loading a model means for the others.

    Attributes:
        need_bytes: Of main memory; `need_vram_bytes` of graphics cards.
        evict: What leaves, first to last.
        keep: What stays.
        fits: Whether there is room after that.
    """

    need_bytes: int
    free_bytes: int
    evict: tuple[Resident, ...]
    keep: tuple[Resident, ...]
    fits: bool
    need_vram_bytes: int = 0
    free_vram_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What loading a model would mean now.

    Attributes:
        load_s: How long it took the last time; None when it was never loaded like this.
        loaded: It is loaded, or loading, already: nothing would happen.
        command: The engine's command line, with port 0; the key is no part of it.
        engine: Its name in the settings, or "default".
        profile: The one that counts; None for none.
        gpu_layers: How many the plan counts on; None where there is no graphics card.
        layers: How many there are.
        warnings: Sentences that a person should read before.
    """

    model_id: str
    need: MemoryNeed
    room: RoomPlan
    load_s: float | None
    loaded: bool
    command: tuple[str, ...] = ()
    engine: str = "default"
    profile: str | None = None
    gpu_layers: int | None = None
    layers: int | None = None
    warnings: tuple[str, ...] = ()


def plan_room(
    need_bytes: int,
    free_bytes: int,
    residents: Sequence[Resident],
    *,
    need_vram_bytes: int = 0,
    free_vram_bytes: int = 0,
    left_bytes: int | None = None,
) -> RoomPlan:
    """Make room by sending away what was used longest ago: the idle first, then what works; never the pinned.

    Nothing leaves when that would not make enough room, and nobody whose leaving makes none where it lacks.

    Args:
        left_bytes: What the user's limit for both kinds of memory together leaves; None for no limit.
    """
    evict: list[Resident] = []

    def missing() -> tuple[int, int, int]:
        """Of main memory, of graphics cards, under the limit."""
        ram = need_bytes - sum(one.bytes for one in evict)
        vram = need_vram_bytes - sum(one.vram_bytes for one in evict)
        over = 0 if left_bytes is None else ram + vram - left_bytes
        return max(0, ram - free_bytes), max(0, vram - free_vram_bytes), max(0, over)

    for resident in sorted(residents, key=_order):
        ram, vram, over = missing()
        helps = over or (ram and resident.bytes) or (vram and resident.vram_bytes)
        if helps and not resident.pinned:
            evict.append(resident)
    fits = not any(missing())
    leaving = tuple(evict) if fits else ()
    keep = tuple(one for one in residents if one not in leaving)
    shown = free_bytes if left_bytes is None else min(free_bytes, left_bytes)
    return RoomPlan(need_bytes, shown, leaving, keep, fits, need_vram_bytes, free_vram_bytes)


def _order(resident: Resident) -> tuple[int, float]:
    return resident.in_flight, -(resident.idle_s or 0.0)
