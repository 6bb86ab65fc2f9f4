"""Unloading what nobody asks for."""

import logging
from typing import Final, Protocol

from llama_runner.core.errors import NotFoundError

log = logging.getLogger(__name__)

# Changes wake the watch; this only bounds a wait for a clock that is not the loop's.
LONGEST_PAUSE_S: Final = 3600.0


class Watched(Protocol):
    """What is watched: a `RuntimeManager`."""

    @property
    def revision(self) -> int:
        """Counts every change of any instance."""
        ...

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """The revision once it is beyond `after`, or as it is when the time is over."""
        ...

    def due(self) -> tuple[tuple[str, float], ...]:
        """Instances that leave for want of work: id, and the seconds until then."""
        ...

    async def unload(self, instance_id: str) -> None:
        """Stop an instance."""
        ...


async def watch_idle(watched: Watched) -> None:
    """Unload each instance when it has been without work for as long as it may; runs until cancelled."""
    while True:
        seen = watched.revision
        due = watched.due()
        for instance_id, left_s in due:
            # Looked at again: while the one before ended, this one may have been asked for.
            if left_s <= 0 and dict(watched.due()).get(instance_id, 1.0) <= 0:
                log.info("unloading, without work instance=%s", instance_id)
                await _unload(watched, instance_id)
        pause_s = min((left_s for _, left_s in due if left_s > 0), default=LONGEST_PAUSE_S)
        await watched.wait_change(seen, min(pause_s, LONGEST_PAUSE_S))


async def _unload(watched: Watched, instance_id: str) -> None:
    try:
        await watched.unload(instance_id)
    except NotFoundError:
        # Somebody was quicker.
        log.debug("gone already instance=%s", instance_id)
