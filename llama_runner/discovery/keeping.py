"""The registry in step with its file, in both directions. The disk is never waited for on the loop."""

import asyncio
import logging
from collections.abc import Callable

from llama_runner.core.errors import StorageError
from llama_runner.discovery.merging import decisions
from llama_runner.discovery.registry import ServerRecord, ServerRegistry, ServerSource
from llama_runner.discovery.saved import SavedServers

log = logging.getLogger(__name__)


class Keeper:
    """Belongs to the loop of its registry. What was saved enters the registry now, unchecked.

    Args:
        entered: Called with the id of every server that the file brought into the registry.
    """

    def __init__(
        self, *, registry: ServerRegistry, saved: SavedServers, entered: Callable[[str], None]
    ) -> None:
        self._registry = registry
        self._saved = saved
        self._entered = entered
        self._writing = asyncio.Lock()
        self._kept = saved.load()
        for record in self._kept:
            self._enter(record)

    @property
    def is_behind(self) -> bool:
        """Whether the registry knows what the file does not."""
        return self._listed() != self._kept

    async def keep(self) -> None:
        """Write what is known, and take in what another program wrote. Raises StorageError."""
        async with self._writing:
            mine = self._listed()
            merged = await asyncio.to_thread(self._saved.keep, mine)
            self._take_in(mine, merged)
            self._kept = merged

    async def keep_if_behind(self) -> None:
        """As `keep`, where nobody is there to be told: a list that is not written is only logged."""
        if not self.is_behind:
            return
        try:
            await self.keep()
        except StorageError as error:
            log.warning("servers not saved reason=%s", error)

    def _listed(self) -> tuple[ServerRecord, ...]:
        """What belongs in the file: our own models come from the service."""
        return tuple(r for r in self._registry.records if r.source is not ServerSource.SERVICE)

    def _take_in(self, mine: tuple[ServerRecord, ...], merged: tuple[ServerRecord, ...]) -> None:
        """Do in the registry what another program did; what was changed here meanwhile stays."""
        before = {record.id: record for record in mine}
        after = {record.id: record for record in merged}
        for record in mine:
            now = self._registry.get(record.id)
            if now is None or decisions(now) != decisions(record):
                continue
            if record.id not in after:
                self._registry.remove(record.id)
            elif decisions(after[record.id]) != decisions(record):
                self._registry.edit(record.id, **decisions(after[record.id]))
        for record in merged:
            if record.id not in before and self._registry.get(record.id) is None:
                self._enter(record)

    def _enter(self, record: ServerRecord) -> None:
        self._registry.upsert(record)
        self._entered(record.id)
