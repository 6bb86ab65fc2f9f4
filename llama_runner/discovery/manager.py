"""Finding servers, adding them by hand, and asking known ones how they are. Writes only to the registry.

Scans only when told to (safety R10): by itself it connects to nothing but known servers.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import httpx

from llama_runner.core.clock import Clock
from llama_runner.core.errors import UsageError
from llama_runner.core.settings import DiscoverySettings
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.topic import Topic
from llama_runner.discovery.examiner import Examiner, unchecked
from llama_runner.discovery.keys import KeyPlace, KeyStore, ServerKeys
from llama_runner.discovery.networks import ScanPlan, plan_scan
from llama_runner.discovery.registry import ServerRecord, ServerRegistry, ServerSource
from llama_runner.discovery.saved import SavedServer, SavedServers
from llama_runner.discovery.scan import MAX_PROBES, Scan, ScanProgress, ScanReport
from llama_runner.net.addresses import is_loopback, parse_server_url
from llama_runner.net.keys import parse_api_key

log = logging.getLogger(__name__)


class DiscoveryManager:
    """One scan at a time; adding and checking at any time.

    Args:
        settings: Asked at every use.
        saved: Where servers added by hand survive a restart; they enter the registry now, unchecked.
        keys: Where their keys do; beside that file when None.

    Attributes:
        progress: The running scan; phase "done" at its end.
    """

    def __init__(
        self,
        *,
        registry: ServerRegistry,
        http: httpx.AsyncClient,
        clock: Clock,
        settings: Callable[[], DiscoverySettings],
        saved: SavedServers,
        keys: KeyStore | None = None,
    ) -> None:
        self.progress: Topic[ScanProgress] = Topic()
        self._registry = registry
        self._clock = clock
        self._settings = settings
        self._saved = saved
        self._keys = ServerKeys(registry=registry, store=keys or KeyStore(saved.path.parent, clock))
        self._examiner = Examiner(registry=registry, http=http, clock=clock, settings=settings)
        self._tasks = TaskOwner()
        self._scan: asyncio.Task[None] | None = None
        for server in saved.load():
            record = unchecked(server.url, ServerSource.MANUAL)
            registry.upsert(replace(record, engine=server.engine, product=server.product))
            self._keys.show(record.id)

    @property
    def scanning(self) -> bool:
        """Whether a scan runs."""
        return self._scan is not None

    async def scan(self, plan: ScanPlan | None = None) -> ScanReport:
        """Look for servers: on this machine, or where a plan of `plan_scan` says.

        Returns:
            The report, also when `stop` ended the scan early.

        Raises:
            UsageError: A scan is running.
        """
        if self._scan is not None:
            raise UsageError("A scan is running already.", "Stop it, or wait until it ends.")
        scan = Scan(
            plan=plan or plan_scan(self._settings()),
            examiner=self._examiner,
            registry=self._registry,
            clock=self._clock,
            progress=self.progress,
        )
        task = self._scan = self._tasks.start(scan.run(), name="scan")
        try:
            await asyncio.wait({task})
        finally:
            await self.stop()
            self._scan = None
            scan.tell_end()
        if not task.cancelled():
            task.result()
        return scan.report(stopped=task.cancelled())

    async def stop(self) -> None:
        """End the running scan; it returns what it has."""
        if (task := self._scan) is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})

    async def add(
        self, url: str, api_key: str | None = None, *, key_over_plain_http: bool = False
    ) -> ServerRecord:
        """Add a server by its URL and ask it what it is. It is kept, also when it is offline now.

        The key stays in memory: it has to be given again after a restart.

        Args:
            key_over_plain_http: The person agreed to send the key unencrypted to another machine (R11).

        Raises:
            UsageError: The URL or the key is none, or the key would travel unencrypted.
            StorageError: It could not be saved; it is in the list all the same.
        """
        record = await self.ask(url, api_key, key_over_plain_http=key_over_plain_http)
        record = replace(record, source=ServerSource.MANUAL)
        self._registry.upsert(record)
        self._save()
        return record

    async def ask(
        self, url: str, api_key: str | None = None, *, key_over_plain_http: bool = False
    ) -> ServerRecord:
        """What is at a URL, without adding it to the list; its key is kept for `registry.endpoint`.

        Raises:
            UsageError: The URL or the key is none, or the key would travel unencrypted.
        """
        base_url = parse_server_url(url)
        key = None if api_key is None else parse_api_key(api_key)
        if key and not _key_is_safe(base_url) and not key_over_plain_http:
            raise UsageError(
                f"The key would travel to {base_url} unencrypted.",
                "Use https, or say that this is what you want.",
            )
        known = self._registry.at(base_url)
        if api_key is not None:
            self._registry.set_key(known.id if known else base_url, key)
        return await self._examiner.examine(known or unchecked(base_url, ServerSource.MANUAL))

    def remove(self, server_id: str) -> None:
        """Forget a server.

        Raises:
            UsageError: It is a model loaded here.
            NotFoundError: It is not known.
            StorageError: The list could not be saved.
        """
        if self._registry.known(server_id).source is ServerSource.SERVICE:
            raise UsageError("That server is a model loaded here.", "Unload the model instead.")
        self._registry.remove(server_id)
        self._save()

    async def check(self, server_id: str) -> ServerRecord:
        """Ask a known server how it is and what it offers. Raises NotFoundError when it is not known."""
        record = await self._examiner.examine(self._registry.known(server_id))
        if self._registry.get(server_id) is not None:
            self._registry.upsert(record)
        return record

    async def check_all(self) -> None:
        """Ask every known server that is not a model loaded here."""
        waiting = iter([r for r in self._registry.records if r.source is not ServerSource.SERVICE])

        async def worker() -> None:
            for record in waiting:
                if self._registry.get(record.id) is not None:
                    await self.check(record.id)

        async with asyncio.TaskGroup() as group:
            for number in range(MAX_PROBES):
                group.create_task(worker(), name=f"check {number}")

    async def set_key(
        self, server_id: str, key: str, place: KeyPlace = KeyPlace.MEMORY, *, agreed: bool = False
    ) -> None:
        """Bind a key to a known server; `check` it afterwards.

        Args:
            agreed: The person agreed that it travels unencrypted to this other machine; remembered (R11).

        Raises:
            NotFoundError: The server is not known.
            UsageError: It is no key, or the server is a model loaded here.
            UnencryptedKeyError: It would travel unencrypted, and nobody agreed.
            KeyringError: The system's keyring cannot take it: ask where else. Nothing has changed.
            StorageError: The file of keys cannot be written. Nothing has changed.
        """
        await self._keys.set(server_id, key, place, agreed=agreed)

    async def forget_key(self, server_id: str) -> None:
        """Take a server's key away, wherever it is kept.

        Raises:
            NotFoundError: The server is not known.
            StorageError: It is still in the keyring or the file.
        """
        await self._keys.forget(server_id)

    def key_place(self, server_id: str) -> KeyPlace | None:
        """Where the key of a server is kept, None when it has none. Raises NotFoundError."""
        return self._keys.place(server_id)

    def start_refreshing(self) -> None:
        """Check known servers now and every `refresh_s` from then on, until closed."""
        if "refresh servers" not in self._tasks.running:
            self._tasks.start(self._refresh(), name="refresh servers")

    async def close(self) -> None:
        """End what runs. Idempotent."""
        await self._tasks.close()

    async def _refresh(self) -> None:
        while True:
            await self.check_all()
            # A period, not a wait for something that happens.
            await asyncio.sleep(self._settings().refresh_s)

    def _save(self) -> None:
        manual = [r for r in self._registry.records if r.source is ServerSource.MANUAL]
        self._saved.save(tuple(SavedServer(r.base_url, r.engine, r.product) for r in manual))


def _key_is_safe(base_url: str) -> bool:
    return base_url.startswith("https://") or is_loopback(base_url)
