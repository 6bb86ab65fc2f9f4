"""Room for models: what each takes, what is free, and who leaves when another one comes.

One decision at a time. A model that is to leave first finishes what it works on; nothing is cut.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from llama_runner.core.errors import EngineError
from llama_runner.core.format import size
from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.catalogue import ModelFile
from llama_runner.runtime.footprints import Footprint, Footprints
from llama_runner.runtime.instance import Instance, InstanceState
from llama_runner.runtime.memory import MemoryNeed, Resident, RoomPlan, estimate, plan_room
from llama_runner.runtime.states import ENDED, SERVING

log = logging.getLogger(__name__)

# What the system and the user's other programs are left, whatever a model would like.
RESERVE_BYTES: Final = 512 * 1024 * 1024
# How long a model that works may go on taking new requests while another one waits for its memory.
PATIENCE_S: Final = 5.0
# An estimate may be this far off before a load is refused: the engine itself reduces what does not fit.
TOLERANCE: Final = 0.85


class Room:
    """Decides for one `RuntimeManager`.

    Args:
        instances: What is loaded now.
        limit_bytes: What all models may take; 0 for what is free.
        free_bytes: Memory that this machine has free now, also on its graphics cards.
        unload: Ends an instance; returns when its process is gone.
    """

    def __init__(
        self,
        *,
        instances: Callable[[], Mapping[str, Instance]],
        footprints: Footprints,
        limit_bytes: Callable[[], int],
        free_bytes: Callable[[], int],
        unload: Callable[[str], Awaitable[None]],
    ) -> None:
        self._instances = instances
        self._footprints = footprints
        self._limit_bytes = limit_bytes
        self._free_bytes = free_bytes
        self._unload = unload
        # Held from the decision until the new instance is known: two loads never count on the same memory.
        self.lock = asyncio.Lock()

    def need(self, model: ModelFile, options: LoadOptions) -> MemoryNeed:
        """What loading would take."""
        guess = estimate(model.header, model.size_bytes, options)
        seen = self._footprints.of(model, options)
        if seen is None:
            return guess
        return MemoryNeed(guess.weights_bytes, guess.context_bytes, guess.work_bytes, seen.ram_bytes)

    def expected_load_s(self, model: ModelFile, options: LoadOptions) -> float | None:
        """How long it took the last time."""
        seen = self._footprints.of(model, options)
        return None if seen is None else seen.load_s

    def plan(self, model: ModelFile, options: LoadOptions) -> RoomPlan:
        """What loading would mean now. Nothing is done."""
        residents = [self._resident(one) for one in self._instances().values() if one.state not in ENDED]
        return plan_room(self.need(model, options).total_bytes, self._free(residents), residents)

    async def make(self, model: ModelFile, options: LoadOptions) -> None:
        """Have room, or say why there is none. Call it with `lock` held.

        Raises EngineError: What may leave does not make enough room.
        """
        plan = self.plan(model, options)
        if not plan.fits and not self._might_fit(plan):
            raise _no_room(model, plan)
        for resident in plan.evict:
            instance = self._instances().get(resident.id)
            if instance is None:
                continue
            log.info("making room model=%s leaves=%s bytes=%d", model.id, resident.model_id, resident.bytes)
            # First in a pause of its own: those who go on with it save themselves a load. Then without pity.
            await instance.unused(limit_s=PATIENCE_S)
            instance.drain()
            await instance.unused()
            await self._unload(resident.id)

    def learn(self, instance: Instance) -> Callable[[], None] | None:
        """Remember what a load took; returns what writes it down, for a thread, if it says anything new."""
        snapshot = instance.snapshot()
        if snapshot.peak_ram_bytes is None or snapshot.load_s is None:
            return None
        seen = Footprint(snapshot.peak_ram_bytes, snapshot.load_s)
        return self._footprints.learn(instance.model, instance.options, seen)

    def _might_fit(self, plan: RoomPlan) -> bool:
        """Without a limit of the user's, an estimate alone refuses nothing that is only just too large."""
        return not self._limit_bytes() and plan.need_bytes * TOLERANCE <= plan.free_bytes + RESERVE_BYTES

    def _free(self, residents: list[Resident]) -> int:
        limit = self._limit_bytes()
        # Models that are loading hold less than they will.
        coming = sum(
            max(0, self.need(one.model, one.options).total_bytes - (one.snapshot().ram_bytes or 0))
            for one in self._instances().values()
            if one.state is InstanceState.STARTING
        )
        free = max(0, self._free_bytes() - coming - RESERVE_BYTES)
        return min(free, limit - sum(one.bytes for one in residents)) if limit else free

    def _resident(self, instance: Instance) -> Resident:
        snapshot = instance.snapshot()
        needed = self.need(instance.model, instance.options).total_bytes
        held = snapshot.ram_bytes if snapshot.state in SERVING and snapshot.ram_bytes else needed
        return Resident(
            id=instance.id,
            model_id=instance.model.id,
            bytes=held,
            in_flight=snapshot.in_flight or 0,
            idle_s=snapshot.idle_s,
            pinned=snapshot.pinned,
            load_s=snapshot.load_s,
        )


def _no_room(model: ModelFile, plan: RoomPlan) -> EngineError:
    pinned = [one.model_id for one in plan.keep if one.pinned]
    advice = f"Unpin or unload {pinned[0]}" if pinned else "Unload other models or close other programs"
    return EngineError(
        f"There is no room for {model.id}: it needs about {size(plan.need_bytes)}, "
        f"{size(max(0, plan.free_bytes))} are free.",
        f"{advice}, load it with a smaller context length, or change runtime.memory_limit_bytes.",
    )
