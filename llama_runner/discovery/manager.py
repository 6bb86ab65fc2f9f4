"""Finding servers, adding them by hand, and asking known ones how they are. Writes only to the registry.

Scans only when told to (safety R10): by itself it connects to nothing but known servers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import httpx

from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import UsageError
from llama_runner.core.logs import hide_from_logs
from llama_runner.core.settings import DiscoverySettings
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.topic import Topic
from llama_runner.discovery.checker import Checker
from llama_runner.discovery.examiner import Examiner, unchecked
from llama_runner.discovery.keeping import Keeper
from llama_runner.discovery.keys import KeyPlace, KeyStore, ServerKeys, require_agreement
from llama_runner.discovery.networks import ScanPlan, plan_scan
from llama_runner.discovery.registry import (
    Removed,
    ServerRecord,
    ServerRegistry,
    ServerSource,
    ServerStatus,
)
from llama_runner.discovery.saved import SavedServers
from llama_runner.discovery.scan import Scan, ScanProgress, ScanReport
from llama_runner.discovery.wake import WAKE_PORT, magic_packet, parse_mac, wake_targets
from llama_runner.net.addresses import parse_server_url
from llama_runner.net.broadcast import broadcast
from llama_runner.net.keys import parse_api_key
from llama_runner.net.tls import PeerCertificate, parse_fingerprint, peer_certificate, tls_wanted, wants_tls
from llama_runner.system.interfaces import interface_addresses
from llama_runner.system.neighbours import read_neighbours

log = logging.getLogger(__name__)

# What rounds of checks saw is worth little: a crash may cost this much of it.
KEEP_EVERY_S: Final = 300.0
# A page of text; a longer one is not about a server.
MAX_NOTE_CHARS: Final = 4000


class DiscoveryManager:
    """One scan at a time; adding and checking at any time.

    Args:
        settings: Asked at every use.
        saved: Where servers survive a restart; they enter the registry now, unchecked.
        keys: Where their keys do; beside that file when None.
        neighbours: IPv4 address to hardware address; may block.
        send_wake: Sends a packet to the addresses and the port given.

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
        neighbours: Callable[[], Mapping[str, str]] = read_neighbours,
        send_wake: Callable[[bytes, Iterable[str], int], Awaitable[None]] = broadcast,
    ) -> None:
        self.progress: Topic[ScanProgress] = Topic()
        self._registry = registry
        self._clock = clock
        self._settings = settings
        self._keys = ServerKeys(registry=registry, store=keys or KeyStore(saved.path.parent, clock))
        self._examiner = Examiner(
            registry=registry,
            http=http,
            clock=clock,
            settings=settings,
            neighbours=neighbours,
            fetch_key=self._keys.fetch,
        )
        self._send_wake = send_wake
        self._tasks = TaskOwner()
        self._scan: asyncio.Task[None] | None = None
        self._checker = Checker(
            registry=registry,
            examiner=self._examiner,
            clock=clock,
            ttl_s=lambda: self._settings().refresh_s,
            tasks=self._tasks,
            rest=self._keep_now_and_then,
        )
        self._keeper = Keeper(registry=registry, saved=saved, entered=self._entered)
        self._kept_ns = clock.now_ns()

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
            self._checker.look_again()
            await self._keeper.keep_if_behind()
        if not task.cancelled():
            task.result()
        return scan.report(stopped=task.cancelled())

    async def stop(self) -> None:
        """End the running scan; it returns what it has."""
        if (task := self._scan) is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})

    async def add(
        self,
        url: str,
        api_key: str | None = None,
        *,
        place: KeyPlace | None = None,
        key_over_plain_http: bool = False,
    ) -> ServerRecord:
        """Add a server by its URL and ask it what it is. It is kept, also when it is offline now.

        Args:
            place: Where to keep the key; None: where a key of this server is kept already, or in memory.
            key_over_plain_http: The person agreed to send the key unencrypted to another machine (R11).

        Raises:
            UsageError: The URL or the key is none.
            UnencryptedKeyError: The key would travel unencrypted, and nobody agreed.
            KeyringError: The keyring cannot take the key, which is in memory now; the server is in the list.
            StorageError: It could not be saved; it is in the list all the same.
        """
        record = await self.ask(url, api_key, key_over_plain_http=key_over_plain_http)
        record = self._checker.seen(record)
        if record.source is not ServerSource.SERVICE:
            record = self._registry.edit(record.id, source=ServerSource.MANUAL)
        await self._keeper.keep()
        if api_key and self._registry.has_key(record.id):
            place = place or self._keys.place(record.id) or KeyPlace.MEMORY
            await self._keys.set(record.id, api_key, place, agreed=key_over_plain_http)
        return self._registry.known(record.id)

    async def ask(
        self, url: str, api_key: str | None = None, *, key_over_plain_http: bool = False
    ) -> ServerRecord:
        """What is at a URL, without adding it to the list; its key is kept for `registry.endpoint`.

        Raises:
            UsageError: The URL or the key is none.
            UnencryptedKeyError: The key would travel unencrypted, and nobody agreed.
        """
        base_url = parse_server_url(url)
        key = None if api_key is None else parse_api_key(api_key)
        if key:
            agreed = key_over_plain_http or self._keys.agreed_plain_http(base_url)
            require_agreement(base_url, agreed=agreed)
            hide_from_logs(key)
        known = self._registry.at(base_url)
        if api_key is not None:
            self._registry.set_key(known.id if known else base_url, key)
        examined = await self._examiner.examine(known or unchecked(base_url, ServerSource.MANUAL))
        # Offline: nothing came that was HTTP.
        offline = examined.status is ServerStatus.OFFLINE
        if offline and await wants_tls(base_url, timeout_s=self._settings().probe_timeout_s):
            problem = tls_wanted(base_url).message
            return replace(examined, status=ServerStatus.ERROR, problem=problem)
        return examined

    async def remove(self, server_id: str) -> Removed:
        """Forget a server.

        Returns:
            What `restore` needs to put it back.

        Raises:
            UsageError: It is a model loaded here.
            NotFoundError: It is not known.
            StorageError: The list could not be saved, or its key is still kept; it is off the list all the
                same.
        """
        record = self._registry.known(server_id)
        # Not known to this run perhaps, and without it `restore` could not put it back.
        await self._keys.fetch(record)
        removed = self._taken_off(record)
        await self._keeper.keep()
        await self._keys.drop(record.base_url)
        return removed

    async def restore(self, removed: Removed) -> None:
        """Put a server back where it was, and its key. Raises StorageError."""
        self._registry.restore(removed)
        await self._keys.put_back(removed)
        self._checker.look_again()
        await self._keeper.keep()

    async def forget_found(self) -> tuple[Removed, ...]:
        """Forget every server that a scan found and nobody marked or noted. Raises StorageError."""
        plain = [r for r in self._registry.records if r.source is ServerSource.FOUND and not r.is_marked]
        for record in plain:
            await self._keys.fetch(record)
        removed = tuple(self._taken_off(record) for record in plain)
        await self._keeper.keep()
        for record in plain:
            await self._keys.drop(record.base_url)
        return removed

    async def set_favourite(self, server_id: str, favourite: bool) -> ServerRecord:
        """Mark a server, or take the mark away. Raises NotFoundError, StorageError."""
        return await self._decided(server_id, favourite=favourite)

    async def set_note(self, server_id: str, note: str) -> ServerRecord:
        """Keep a note about a server; an empty one removes it.

        Raises:
            NotFoundError: It is not known.
            UsageError: The note is too long.
            StorageError: It could not be saved.
        """
        return await self._decided(server_id, note=parse_note(note))

    async def trust(self, server_id: str) -> ServerRecord:
        """A person confirmed a server, as it is now: a change is accepted, and its key goes there again.

        Raises:
            NotFoundError: It is not known.
            StorageError: It could not be saved.
        """
        if not self._registry.known(server_id).changed:
            return await self._decided(server_id, trusted=True)
        await self._checker.settled(server_id)
        # What is known is of the server before; the check names the one that is there now.
        self._registry.edit(server_id, trusted=True, changed="", product="", mac=None, models=())
        await self.check(server_id)
        return await self._decided(server_id)

    async def wake(self, server_id: str, mac: str | None = None) -> ServerRecord:
        """Send a sleeping machine what wakes it; its server is then asked every few seconds for a while.

        Args:
            mac: Its hardware address, kept for the next time; None takes the one that was seen or given.

        Raises:
            NotFoundError: The server is not known.
            UsageError: It runs on this machine, or the address is none, or none is known.
            UnreachableError: No network took the packet.
            StorageError: The packet was sent, and the address could not be saved.
        """
        record = self._registry.known(server_id)
        if record.is_this_machine:
            raise UsageError("That server is on this machine, which is awake.", "Start the server itself.")
        address = record.mac if mac is None else parse_mac(mac)
        if address is None:
            raise UsageError(
                f"The hardware address of {record.address} is not known.",
                "Give it; it is noted by itself when the server answers from a network of this machine.",
            )
        targets = wake_targets(record.base_url, interface_addresses())
        await self._send_wake(magic_packet(address), targets, WAKE_PORT)
        log.info("wake packet sent server=%s", record.base_url)
        self._checker.waking(server_id)
        return await self._decided(server_id, mac=address)

    async def check(self, server_id: str) -> ServerRecord:
        """Ask a known server how it is and what it offers, one question at a time.

        One that was offline is then asked again as soon as any other. Raises NotFoundError.
        """
        return await self._checker.check(server_id)

    async def check_all(self) -> None:
        """Ask every known server that is not a model loaded here, as `check` does."""
        await self._checker.check_all()

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

    async def certificate(self, server_id: str) -> PeerCertificate:
        """The certificate that a server shows now, for a person to compare before they trust it.

        Raises:
            NotFoundError: The server is not known.
            UsageError: Its address is not https.
            UnreachableError: No encrypted connection can be made.
        """
        return await peer_certificate(self._registry.known(server_id).base_url)

    async def trust_certificate(self, server_id: str, sha256: str | None) -> ServerRecord:
        """Accept exactly this certificate of a server from now on; None goes back to the usual rules.

        Raises:
            NotFoundError: The server is not known.
            UsageError: It is no SHA-256, or the server's address is not https.
            StorageError: It could not be saved.
        """
        if not self._registry.known(server_id).base_url.startswith("https://"):
            raise UsageError("That server is not encrypted.", "Only an https address has a certificate.")
        pin = None if sha256 is None else parse_fingerprint(sha256)
        return await self._decided(server_id, tls_pin=pin)

    def start_refreshing(self) -> None:
        """Check known servers now, and from then on when each is due, until closed."""
        self._checker.start_watching()

    def settings_changed(self) -> None:
        """How often servers are asked may be another now."""
        self._checker.look_again()

    async def close(self) -> None:
        """End what runs, and keep what was seen. Idempotent."""
        await self._tasks.close()
        await self._keeper.keep_if_behind()

    def _entered(self, server_id: str) -> None:
        """The file brought a server."""
        self._keys.show(server_id)
        self._checker.look_again()

    async def _keep_now_and_then(self) -> None:
        if seconds(self._clock.now_ns(), self._kept_ns) >= KEEP_EVERY_S:
            self._kept_ns = self._clock.now_ns()
            await self._keeper.keep_if_behind()

    async def _decided(self, server_id: str, **changes: Any) -> ServerRecord:
        record = self._registry.edit(server_id, **changes)
        await self._keeper.keep()
        return record

    def _taken_off(self, record: ServerRecord) -> Removed:
        if record.source is ServerSource.SERVICE:
            raise UsageError("That server is a model loaded here.", "Unload the model instead.")
        self._checker.forget(record.id)
        return self._registry.take_off(record.id)


def parse_note(text: str) -> str:
    """The note a person means. Raises UsageError."""
    note = text.strip()
    if len(note) > MAX_NOTE_CHARS:
        raise UsageError("The note is too long.", f"Keep it within {MAX_NOTE_CHARS:,} characters.")
    return note
