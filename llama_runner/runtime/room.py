"""Room for models: what each takes, what is free, and who leaves when another one comes.

One decision at a time. A model that is to leave first finishes what it works on; nothing is cut.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from llama_runner.core.errors import EngineError
from llama_runner.core.format import size
from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.footprints import Footprint, Footprints
from llama_runner.runtime.gpu import Card, Graphics, usable
from llama_runner.runtime.instance import Instance, InstanceSnapshot, InstanceState
from llama_runner.runtime.memory import (
    GPU_MARGIN_BYTES,
    LoadPlan,
    MemoryNeed,
    Resident,
    RoomPlan,
    all_layers,
    estimate,
    layers_that_fit,
    plan_room,
)
from llama_runner.runtime.states import ENDED, SERVING
from llama_runner.runtime.wanted import Wanted

log = logging.getLogger(__name__)

# What the system and the user's other programs are left, whatever a model would like.
RESERVE_BYTES: Final = 512 * 1024 * 1024
# How long a model that works may go on taking new requests while another one waits for its memory.
PATIENCE_S: Final = 5.0
# An estimate may be this far off before a load is refused: the engine itself reduces what does not fit.
TOLERANCE: Final = 0.85


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model would go.

    Attributes:
        counted: Its options with the number of layers that the plan counts on; what is remembered by.
        gpu_layers: That number; None where there is no card for it.
        load_s: How long it took the last time.
    """

    wanted: Wanted
    counted: LoadOptions
    need: MemoryNeed
    room: RoomPlan
    gpu_layers: int | None
    load_s: float | None

    def as_plan(self, *, loaded: bool) -> LoadPlan:
        """What it means, for whoever asked; without command line and warnings."""
        return LoadPlan(
            model_id=self.wanted.model.id,
            need=self.need,
            room=self.room,
            load_s=self.load_s,
            loaded=loaded,
            engine=self.wanted.engine,
            profile=self.wanted.profile,
            gpu_layers=self.gpu_layers,
            layers=all_layers(self.wanted.model.header),
        )


class Room:
    """Decides for one `RuntimeManager`.

    Args:
        instances: What is loaded now.
        limit_bytes: What all models may take; 0 for what is free.
        free_bytes: Main memory that this machine has free now.
        graphics: Its graphics cards.
        unload: Ends an instance; returns when its process is gone.
    """

    def __init__(
        self,
        *,
        instances: Callable[[], Mapping[str, Instance]],
        footprints: Footprints,
        limit_bytes: Callable[[], int],
        free_bytes: Callable[[], int],
        graphics: Graphics,
        unload: Callable[[str], Awaitable[None]],
    ) -> None:
        self._instances = instances
        self._footprints = footprints
        self._limit_bytes = limit_bytes
        self._free_bytes = free_bytes
        self._graphics = graphics
        self._unload = unload
        self._places: dict[str, Place] = {}
        self._peak_vram: dict[str, int] = {}
        # Held from the decision until the new instance is known: two loads never count on the same memory.
        self.lock = asyncio.Lock()

    async def plan(self, wanted: Wanted) -> Place:
        """What loading would mean now. Nothing is done.

        Where the engine chooses how many layers go to graphics cards: all of them, others leaving for it when
        they must; where that does not help, as many as fit beside those that stay.
        """
        cards = usable(await self.look(), wanted.options)
        layers = all_layers(wanted.model.header)
        if not cards or layers is None or wanted.options.gpu_layers is not None:
            return self._place(wanted, wanted.options, cards)
        full = self._place(wanted, _with_layers(wanted.options, layers), cards, GPU_MARGIN_BYTES)
        if full.room.fits:
            return full
        free = sum(card.free_bytes for card in cards) - self._coming().vram_bytes
        fitting = layers_that_fit(wanted.model.header, wanted.model.size_bytes, wanted.options, free)
        return self._place(wanted, _with_layers(wanted.options, fitting), cards)

    async def make(self, wanted: Wanted) -> Place:
        """Have room, or say why there is none. Call it with `lock` held.

        Raises EngineError: What may leave does not make enough room.
        """
        place = await self.plan(wanted)
        if not place.room.fits and not self._might_fit(place.room):
            raise _no_room(wanted.model.id, place.room)
        for resident in place.room.evict:
            instance = self._instances().get(resident.id)
            if instance is None:
                continue
            log.info(
                "making room model=%s leaves=%s bytes=%d vram_bytes=%d",
                wanted.model.id,
                resident.model_id,
                resident.bytes,
                resident.vram_bytes,
            )
            # First in a pause of its own: those who go on with it save themselves a load. Then without pity.
            await instance.unused(limit_s=PATIENCE_S)
            await instance.drained()
            await self._unload(resident.id)
        return place

    def admit(self, instance_id: str, place: Place) -> None:
        """It was started."""
        self._places[instance_id] = place

    def has(self, instance: Instance, wanted: Wanted) -> bool:
        """Whether that is how it was loaded."""
        place = self._places.get(instance.id)
        return place is not None and place.wanted == wanted

    def seen(self, instance: Instance) -> InstanceSnapshot:
        """What there is to know of an instance: from itself, the plan it was loaded by and the driver."""
        snapshot, place = instance.snapshot(), self._places.get(instance.id)
        if place is None:
            return snapshot
        return replace(
            snapshot,
            vram_bytes=self.vram_bytes(instance),
            profile=place.wanted.profile,
            engine=place.wanted.engine,
            gpu_layers=place.gpu_layers,
        )

    def forget(self, instance_id: str) -> None:
        """It is gone."""
        self._places.pop(instance_id, None)
        self._peak_vram.pop(instance_id, None)

    async def look(self) -> tuple[Card, ...]:
        """See what is on the graphics cards, and what the loaded models hold of them."""
        cards = await self._graphics.cards()
        for instance in self._instances().values():
            if (held := self.vram_bytes(instance)) is not None:
                self._peak_vram[instance.id] = max(held, self._peak_vram.get(instance.id, 0))
        return cards

    def vram_bytes(self, instance: Instance) -> int | None:
        """What it held of graphics cards at the last look."""
        return self._graphics.used_bytes(instance.snapshot().pid)

    async def whole_bytes(self) -> int:
        """What one model could have if no other were loaded."""
        cards = await self._graphics.cards()
        residents = [self._resident(one) for one in self._instances().values() if one.state not in ENDED]
        held = sum(one.bytes + one.vram_bytes for one in residents)
        free = max(0, self._free_bytes() - RESERVE_BYTES) + sum(card.free_bytes for card in cards)
        limit = self._limit_bytes()
        return min(limit, free + held) if limit else free + held

    def learn(self, instance: Instance) -> Callable[[], None] | None:
        """Remember what a load took; returns what writes it down, for a thread, if it says anything new."""
        snapshot, place = instance.snapshot(), self._places.get(instance.id)
        if place is None or snapshot.peak_ram_bytes is None or snapshot.load_s is None:
            return None
        if instance.options != place.wanted.options:
            # It ran with less than it was asked for (F13), which tells nothing of what was asked for.
            return None
        seen = Footprint(snapshot.peak_ram_bytes, snapshot.load_s, self._peak_vram.get(instance.id))
        return self._footprints.learn(instance.model, place.counted, seen)

    def _place(
        self, wanted: Wanted, counted: LoadOptions, cards: Sequence[Card], margin_bytes: int = 0
    ) -> Place:
        need, seen = _need(wanted, counted, gpu=bool(cards)), self._footprints.of(wanted.model, counted)
        if seen is not None:
            need = replace(need, measured_bytes=seen.ram_bytes, measured_vram_bytes=seen.vram_bytes)
        residents = [self._resident(one) for one in self._instances().values() if one.state not in ENDED]
        layers = min(counted.gpu_layers or 0, all_layers(wanted.model.header) or counted.gpu_layers or 0)
        return Place(
            wanted=wanted,
            counted=counted,
            need=need,
            room=self._plan_room(need, residents, cards, margin_bytes),
            gpu_layers=layers if cards else None,
            load_s=None if seen is None else seen.load_s,
        )

    def _plan_room(
        self, need: MemoryNeed, residents: Sequence[Resident], cards: Sequence[Card], margin_bytes: int
    ) -> RoomPlan:
        limit, coming = self._limit_bytes(), self._coming()
        held = sum(one.bytes + one.vram_bytes for one in residents)
        free_vram = max(0, sum(card.free_bytes for card in cards) - coming.vram_bytes)
        plan = plan_room(
            need.ram_bytes,
            max(0, self._free_bytes() - coming.ram_bytes - RESERVE_BYTES),
            residents,
            need_vram_bytes=need.vram_bytes,
            # What the engine would not touch is no room, but it is free.
            free_vram_bytes=free_vram - margin_bytes,
            left_bytes=limit - held if limit else None,
        )
        return replace(plan, free_vram_bytes=free_vram)

    def _might_fit(self, plan: RoomPlan) -> bool:
        """Without a limit of the user's, an estimate alone refuses nothing that is only just too large."""
        if self._limit_bytes():
            return False
        fits_ram = plan.need_bytes * TOLERANCE <= plan.free_bytes + RESERVE_BYTES
        return fits_ram and plan.need_vram_bytes * TOLERANCE <= plan.free_vram_bytes

    def _coming(self) -> MemoryNeed:
        """What models that are loading will still take."""
        ram = vram = 0
        for one in self._instances().values():
            if one.state is InstanceState.STARTING and (place := self._places.get(one.id)) is not None:
                ram += max(0, place.need.ram_bytes - (one.snapshot().ram_bytes or 0))
                vram += max(0, place.need.vram_bytes - (self.vram_bytes(one) or 0))
        return MemoryNeed(ram + vram, 0, 0, vram_weights_bytes=vram)

    def _resident(self, instance: Instance) -> Resident:
        snapshot, place = instance.snapshot(), self._places.get(instance.id)
        need = place.need if place is not None else MemoryNeed(instance.model.size_bytes or 0, 0, 0)
        serves = snapshot.state in SERVING
        held = snapshot.ram_bytes if serves else None
        held_vram = self.vram_bytes(instance) if serves else None
        return Resident(
            id=instance.id,
            model_id=instance.model.id,
            bytes=held or need.ram_bytes,
            in_flight=snapshot.in_flight or 0,
            idle_s=snapshot.idle_s,
            pinned=snapshot.pinned,
            load_s=snapshot.load_s,
            vram_bytes=need.vram_bytes if held_vram is None else held_vram,
        )


def _need(wanted: Wanted, options: LoadOptions, *, gpu: bool) -> MemoryNeed:
    """The estimate of a model with all that is loaded beside it."""
    model, draft = wanted.model, wanted.draft
    need = estimate(model.header, model.size_bytes, options, gpu=gpu)
    on_card = bool(need.vram_weights_bytes) and options.projector_on_gpu is not False
    need = need.plus(
        MemoryNeed(wanted.more_bytes, 0, 0, vram_weights_bytes=wanted.more_bytes if on_card else 0)
    )
    if draft is None:
        return need
    # It reads the same text; where nothing is said, the engine puts as much of it on a card as fits.
    layers = options.draft_gpu_layers
    if layers is None and need.vram_weights_bytes:
        layers = all_layers(draft.header)
    small = LoadOptions(context_length=options.context_length, gpu_layers=layers)
    return need.plus(
        replace(estimate(draft.header, draft.size_bytes, small, gpu=gpu), work_bytes=0, vram_work_bytes=0)
    )


def _with_layers(options: LoadOptions, count: int) -> LoadOptions:
    return options.model_copy(update={"gpu_layers": count})


def _no_room(model_id: str, plan: RoomPlan) -> EngineError:
    pinned = [one.model_id for one in plan.keep if one.pinned]
    advice = f"Unpin or unload {pinned[0]}" if pinned else "Unload other models or close other programs"
    what = f"it needs about {size(plan.need_bytes)}, {size(max(0, plan.free_bytes))} are free"
    if plan.need_vram_bytes > plan.free_vram_bytes:
        what = (
            f"it needs about {size(plan.need_vram_bytes)} of the graphics cards, "
            f"{size(plan.free_vram_bytes)} are free"
        )
        advice += ", load it with fewer GPU layers"
    return EngineError(
        f"There is no room for {model_id}: {what}.",
        f"{advice}, load it with a smaller context length, or change runtime.memory_limit_bytes.",
    )
