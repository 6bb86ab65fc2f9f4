"""What is at an address, and how a known server is. Probes without a key; the key goes only to its server."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import httpx

from llama_runner.backends.base import Engine
from llama_runner.backends.http_backend import MAX_MODELS
from llama_runner.backends.registry import connect
from llama_runner.core.clock import Clock
from llama_runner.core.errors import (
    OverloadedError,
    ProtocolError,
    RefusedError,
    ServerError,
    UnreachableError,
)
from llama_runner.core.settings import DiscoverySettings
from llama_runner.discovery.fingerprint import Fingerprint, NotAServer
from llama_runner.discovery.identity import moved_from, other_machine, other_models, other_program
from llama_runner.discovery.prober import Probed, probe
from llama_runner.discovery.registry import (
    Certainty,
    ServerRecord,
    ServerRegistry,
    ServerSource,
    ServerStatus,
)
from llama_runner.net.addresses import host_of, scope_of
from llama_runner.net.connect import ConnectBudget
from llama_runner.net.tls import is_about_tls, wants_tls
from llama_runner.system.neighbours import read_neighbours

log = logging.getLogger(__name__)

# For a port that answers HTTP with something else: what speaks TLS shakes hands at once.
HANDSHAKE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Rejected:
    """An open port behind which no model server was found, and why."""

    url: str
    reason: str


def unchecked(base_url: str, source: ServerSource) -> ServerRecord:
    """A server of which only the address is known. Its id is its address."""
    return ServerRecord(
        id=base_url,
        base_url=base_url,
        engine=Engine.UNKNOWN,
        product="",
        certainty=Certainty.GUESS,
        status=ServerStatus.NOT_CHECKED,
        source=source,
    )


class Examiner:
    """Asks servers; returns records and leaves it to the caller where they go.

    Args:
        neighbours: IPv4 address to hardware address; may block.
        fetch_key: Has the registry know a server's key; says why it can't, one sentence, or nothing.
    """

    def __init__(
        self,
        *,
        registry: ServerRegistry,
        http: httpx.AsyncClient,
        clock: Clock,
        settings: Callable[[], DiscoverySettings],
        neighbours: Callable[[], Mapping[str, str]] = read_neighbours,
        fetch_key: Callable[[ServerRecord], Awaitable[str]] | None = None,
    ) -> None:
        self._registry = registry
        self._http = http
        self._clock = clock
        self._settings = settings
        self._neighbours = neighbours
        self._fetch_key = fetch_key

    async def identify(self, base_url: str, budget: ConnectBudget) -> ServerRecord | Rejected:
        """What is at an address, for a scan within its budget. A known server keeps its source."""
        known = self._registry.at(base_url)
        if known is not None and known.source is ServerSource.SERVICE:
            return known
        record = known or unchecked(base_url, ServerSource.FOUND)
        probed = await self._probe(record, budget)
        if probed.may_want_tls and await _wants_tls(base_url, budget):
            return await self.identify(base_url.replace("http://", "https://", 1), budget)
        examined = replace(await self._judged(record, probed), checked_utc=self._clock.utc())
        if examined.status in (ServerStatus.ONLINE, ServerStatus.NEEDS_KEY) or known is not None:
            return examined
        return Rejected(base_url, examined.problem)

    async def examine(self, record: ServerRecord) -> ServerRecord:
        """The record after asking: what it is, how it is, what it offers. Never raises for what it finds."""
        if record.source is ServerSource.SERVICE:
            asked = await self._own_instance(record)
        else:
            asked = await self._judged(record, await self._probe(record))
        return replace(asked, checked_utc=self._clock.utc())

    async def _judged(self, record: ServerRecord, probed: Probed) -> ServerRecord:
        if isinstance(probed.verdict, NotAServer):
            reason = probed.verdict.reason
            answered = probed.answered or is_about_tls(reason)
            status = ServerStatus.ERROR if answered else ServerStatus.OFFLINE
            return replace(record, status=status, latency_s=None, problem=reason)
        # Only now that something answers: a locked keyring asks its user.
        trouble = await self._fetch_key(record) if self._fetch_key is not None else ""
        mac = await self._mac_at(record)
        named = _named(record, probed.verdict, probed.latency_s)
        changed = self._change(record, probed.verdict, mac)
        named = replace(named, mac=mac or record.mac, changed=changed, last_seen_utc=self._clock.utc())
        if named.changed and self._has_key(record):
            return self._withheld(record, named.changed)
        listed = await self._with_models(named)
        if not listed.changed and (changed := other_models(record, listed.models)):
            listed = replace(listed, changed=changed)
            return self._withheld(record, changed) if self._has_key(record) else listed
        return replace(listed, problem=trouble) if trouble else listed

    async def _probe(self, record: ServerRecord, budget: ConnectBudget | None = None) -> Probed:
        """What answers there. A known server that is not itself is asked twice: it may have been slow."""

        async def once() -> Probed:
            timeout_s = self._settings().probe_timeout_s
            return await probe(
                self._http, record.base_url, timeout_s=timeout_s, clock=self._clock, budget=budget
            )

        probed = await once()
        found = probed.verdict
        if isinstance(found, NotAServer) or found.certainty is Certainty.CERTAIN:
            return probed
        return await once() if other_program(record, found.product) else probed

    async def _mac_at(self, record: ServerRecord) -> str | None:
        """The hardware address at its address, None when that is not in one of our own networks."""
        host = host_of(record.base_url)
        if scope_of(host) != "private" or ":" in host:
            return None
        return (await asyncio.to_thread(self._neighbours)).get(host)

    def _change(self, known: ServerRecord, found: Fingerprint, mac: str | None) -> str:
        """Why it may be another server than before. Once said, it stands until a person trusts it."""
        reasons = (
            other_machine(known, mac),
            other_program(known, found.product),
            "" if known.last_seen_utc else moved_from(self._registry.records, known, mac),
        )
        # On this machine people start one program after another; only a key makes that worth a word.
        if known.is_this_machine and not self._has_key(known):
            return ""
        return known.changed or next(filter(None, reasons), "")

    def _has_key(self, record: ServerRecord) -> bool:
        """Whether a key is bound to it, also one that could not be fetched just now."""
        return bool(record.key_place) or self._registry.has_key(record.id)

    async def _own_instance(self, record: ServerRecord) -> ServerRecord:
        """What it is needs no question: we started it."""
        backend = connect(self._registry.endpoint(record), http=self._http, clock=self._clock)
        try:
            record = replace(record, latency_s=await backend.ping())
        except ServerError as error:
            return replace(record, status=ServerStatus.ERROR, latency_s=None, problem=error.message)
        return await self._with_models(record)

    def _withheld(self, known: ServerRecord, changed: str) -> ServerRecord:
        """D13: the key belongs to the server that was here before, and so does all that is known of it."""
        if not known.changed:
            log.warning("server changed url=%s why=%s", known.base_url, changed)
        problem = f"{changed} Its key is not sent until you trust the change."
        return replace(known, status=ServerStatus.ERROR, latency_s=None, changed=changed, problem=problem)

    async def _with_models(self, record: ServerRecord) -> ServerRecord:
        endpoint = self._registry.endpoint(record)
        if record.status is ServerStatus.NEEDS_KEY and endpoint.api_key is None:
            return record
        backend = connect(endpoint, http=self._http, clock=self._clock)
        try:
            async with asyncio.timeout(2 * self._settings().probe_timeout_s):
                models = await backend.list_models()
        except OverloadedError as error:
            return replace(record, status=ServerStatus.ONLINE, problem=error.message)
        except RefusedError as error:
            return replace(record, status=ServerStatus.NEEDS_KEY, models=(), problem=error.message)
        except UnreachableError as error:
            return replace(record, status=ServerStatus.OFFLINE, latency_s=None, problem=error.message)
        except ProtocolError as error:
            return replace(record, status=ServerStatus.ERROR, problem=f"Not an LLM server: {error.what}.")
        except ServerError as error:
            return replace(record, status=ServerStatus.ERROR, problem=error.message)
        except TimeoutError:
            return replace(record, status=ServerStatus.ERROR, problem="It does not list its models in time.")
        return replace(
            record,
            status=ServerStatus.ONLINE,
            models=models,
            # D5: without a word the list would look whole.
            problem="" if len(models) < MAX_MODELS else f"Only the first {MAX_MODELS:,} models are shown.",
            last_seen_utc=self._clock.utc(),
        )


async def _wants_tls(base_url: str, budget: ConnectBudget) -> bool:
    async with budget.request():
        return await wants_tls(base_url, timeout_s=HANDSHAKE_S)


def _named(record: ServerRecord, found: Fingerprint, latency_s: float | None) -> ServerRecord:
    return replace(
        record,
        engine=found.engine,
        product=found.product,
        certainty=found.certainty,
        version=found.version or (record.version if found.product == record.product else None),
        status=ServerStatus.NEEDS_KEY if found.needs_key else ServerStatus.ONLINE,
        latency_s=latency_s,
        problem="It wants an API key." if found.needs_key else "",
    )
