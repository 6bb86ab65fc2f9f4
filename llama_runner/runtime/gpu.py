"""Graphics cards as the plan sees them. Knows no driver: whoever composes the service hands one in."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from llama_runner.core.clock import Clock, seconds
from llama_runner.core.load_options import LoadOptions

# Lists of instances are asked for many times a second; a look costs the driver some milliseconds.
_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Card:
    """The memory of one graphics card.

    Attributes:
        used_by: Bytes by process id, as far as the driver tells.
    """

    name: str
    total_bytes: int
    free_bytes: int
    used_by: Mapping[int, int] = field(default_factory=dict)


class GpuMemory(Protocol):
    """A graphics driver."""

    def read(self) -> tuple[Card, ...]:
        """Every card now; empty when there is none. Blocking; never raises."""
        ...


class NoCards:
    """A machine without graphics cards, or one whose driver tells nothing."""

    def read(self) -> tuple[Card, ...]:
        """None."""
        return ()


class Graphics:
    """The cards, looked at off the event loop, one look at a time."""

    def __init__(self, source: GpuMemory, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._cards: tuple[Card, ...] = ()
        self._looked_ns: int | None = None
        self._lock = asyncio.Lock()

    @property
    def due(self) -> bool:
        """Whether the last look is so old that a list should have a new one."""
        if self._looked_ns is None:
            return True
        return bool(self._cards) and seconds(self._clock.now_ns(), self._looked_ns) >= _PAUSE_S

    async def cards(self) -> tuple[Card, ...]:
        """Every card now. A machine without any gets none while it runs, and is not asked again."""
        async with self._lock:
            if self._cards or self._looked_ns is None:
                self._cards = await asyncio.to_thread(self._source.read)
                self._looked_ns = self._clock.now_ns()
        return self._cards

    def used_bytes(self, pid: int | None) -> int | None:
        """What a process held on all cards at the last look; None where the driver does not tell."""
        found = [card.used_by[pid] for card in self._cards if pid in card.used_by] if pid else []
        return sum(found) if found else None


def usable(cards: Sequence[Card], options: LoadOptions) -> tuple[Card, ...]:
    """The cards that a model loaded with `options` may spread over."""
    if options.device == "none" or options.gpu_layers == 0:
        return ()
    if options.split_mode == "none":
        main = options.main_gpu or 0
        return tuple(cards[main : main + 1])
    return tuple(cards)
