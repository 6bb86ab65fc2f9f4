"""What is at an address, and how a known server is. Probes without a key; the key goes only to its server."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import httpx

from llama_runner.backends.base import Engine
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
from llama_runner.discovery.prober import probe
from llama_runner.discovery.registry import (
    Certainty,
    ServerRecord,
    ServerRegistry,
    ServerSource,
    ServerStatus,
)

log = logging.getLogger(__name__)


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
    """Asks servers; returns records and leaves it to the caller where they go."""

    def __init__(
        self,
        *,
        registry: ServerRegistry,
        http: httpx.AsyncClient,
        clock: Clock,
        settings: Callable[[], DiscoverySettings],
    ) -> None:
        self._registry = registry
        self._http = http
        self._clock = clock
        self._settings = settings

    async def identify(self, base_url: str) -> ServerRecord | Rejected:
        """What is at an address, for a scan. A server that is known already keeps its source."""
        known = self._registry.at(base_url)
        if known is not None and known.source is ServerSource.SERVICE:
            return known
        examined = await self.examine(known or unchecked(base_url, ServerSource.FOUND))
        if examined.status in (ServerStatus.ONLINE, ServerStatus.NEEDS_KEY) or known is not None:
            return examined
        return Rejected(base_url, examined.problem)

    async def examine(self, record: ServerRecord) -> ServerRecord:
        """The record after asking: what it is, how it is, what it offers. Never raises for what it finds."""
        if record.source is ServerSource.SERVICE:
            return await self._own_instance(record)
        probed = await probe(
            self._http, record.base_url, timeout_s=self._settings().probe_timeout_s, clock=self._clock
        )
        if isinstance(probed.verdict, NotAServer):
            status = ServerStatus.ERROR if probed.answered else ServerStatus.OFFLINE
            return replace(record, status=status, latency_s=None, problem=probed.verdict.reason)
        changed = record.product not in ("", probed.verdict.product)
        if changed and self._registry.has_key(record.id):
            return self._withheld(record, probed.verdict)
        return await self._with_models(_named(record, probed.verdict, probed.latency_s))

    async def _own_instance(self, record: ServerRecord) -> ServerRecord:
        """What it is needs no question: we started it."""
        backend = connect(self._registry.endpoint(record), http=self._http, clock=self._clock)
        try:
            record = replace(record, latency_s=await backend.ping())
        except ServerError as error:
            return replace(record, status=ServerStatus.ERROR, latency_s=None, problem=error.message)
        return await self._with_models(record)

    def _withheld(self, record: ServerRecord, now: Fingerprint) -> ServerRecord:
        """D13: another program answers where a known one did; the key belongs to the old one."""
        log.warning("server changed url=%s was=%s is=%s", record.base_url, record.product, now.product)
        problem = (
            f"It was {record.product} and now answers as {now.product}; its key was not sent."
            " Remove it and add it again to trust it."
        )
        return replace(record, status=ServerStatus.ERROR, models=(), problem=problem)

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
            record, status=ServerStatus.ONLINE, models=models, problem="", last_seen_utc=self._clock.utc()
        )


def _named(record: ServerRecord, found: Fingerprint, latency_s: float | None) -> ServerRecord:
    return replace(
        record,
        engine=found.engine,
        product=found.product,
        certainty=found.certainty,
        version=found.version or record.version,
        status=ServerStatus.NEEDS_KEY if found.needs_key else ServerStatus.ONLINE,
        latency_s=latency_s,
        problem="It wants an API key." if found.needs_key else "",
    )
