"""Known servers as the proxy's other places to ask: read from what discovery keeps, never written.

A server that may not be the one a person knew is not asked at all: prompts are private, keys more so (R11).
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from llama_runner.backends.base import Endpoint
from llama_runner.backends.models import COMPLETION, TOOLS, VISION, ContextSource, ModelInfo
from llama_runner.backends.registry import connect
from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import NotFoundError, RefusedError, ServerError, UsageError
from llama_runner.core.paths import Home
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.text import visible_controls
from llama_runner.discovery.keys import KeyStore, ServerKeys
from llama_runner.discovery.registry import ServerRecord, ServerRegistry
from llama_runner.discovery.saved import SavedServers
from llama_runner.net.addresses import parse_server_url
from llama_runner.proxy.host import OfferedModel, Step, Upstream

log = logging.getLogger(__name__)

# Between two looks at whether another program changed the files.
LOOK_EVERY_S: Final = 1.0
# A list of models is asked for again after this time, and nobody waits longer for the first one: clients
# give up on a list after ten seconds.
LIST_TTL_S: Final = 60.0
FIRST_LIST_S: Final = 2.0
_ELSEWHERE: Final = re.compile(r"@[^@\s]+:[0-9]+(:latest)?$")
# Of a server that does not say what its models can: it will say so when it is asked.
_UNKNOWN: Final = (COMPLETION, TOOLS, VISION)


class KnownServers:
    """The servers and keys that discovery keeps, as they are on disk now."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self._home = home
        self._clock = clock
        self._registry = ServerRegistry()
        self._keys: ServerKeys | None = None
        self._stamps: tuple[object, ...] = ()
        self._looked_ns: int | None = None
        self._looking = asyncio.Lock()

    def tls_pin_of(self, origin: str) -> str | None:
        """Which certificate a person trusts at an origin."""
        return self._registry.tls_pin_of(origin)

    async def find(self, address: str) -> ServerRecord | None:
        """The server that an address means, None when it is not known."""
        await self._look()
        try:
            base_url = parse_server_url(address)
        except UsageError:
            return None
        known = self._registry.at(base_url)
        by_address = (record for record in self._registry.records if record.address == address)
        return known or next(by_address, None)

    async def endpoint(self, record: ServerRecord) -> Endpoint:
        """How to speak to it. Raises RefusedError when it may be another server, or its key is not there."""
        if record.changed:
            raise RefusedError(
                f"{record.address} may be another server than before: {record.changed}",
                f"Look at it, then: servers trust {record.base_url}.",
            )
        problem = await self._keys.fetch(record) if self._keys is not None else ""
        if problem:
            raise RefusedError(f"The key of {record.address} is not there: {problem}", "Give it again.")
        return self._registry.endpoint(record)

    async def _look(self) -> None:
        # Whoever comes while the files are read waits: what is in them counts for all.
        async with self._looking:
            now_ns = self._clock.now_ns()
            if self._looked_ns is None or seconds(now_ns, self._looked_ns) >= LOOK_EVERY_S:
                await self._read_when_changed()
                # Only now: whoever began to read and was cancelled has not looked.
                self._looked_ns = now_ns

    async def _read_when_changed(self) -> None:
        saved, store = SavedServers(self._home, self._clock), KeyStore(self._home.data_dir, self._clock)
        stamps = (_stamp(saved.path), _stamp(store.path))
        if stamps == self._stamps:
            return
        registry = ServerRegistry()
        for record in await asyncio.to_thread(saved.load):
            registry.upsert(record)
        self._registry, self._keys = registry, ServerKeys(registry=registry, store=store)
        self._stamps = stamps


@dataclass(slots=True)
class _List:
    """What one server offers, as last told."""

    models: tuple[ModelInfo, ...]
    asked_ns: int | None = None
    asking: asyncio.Task[None] | None = None


class RemoteHost:
    """The models of servers that a person chose.

    Args:
        tasks: Runs what nobody has to wait for; its owner ends it.
    """

    def __init__(
        self,
        servers: KnownServers,
        *,
        http: httpx.AsyncClient,
        clock: Clock,
        tasks: TaskOwner,
    ) -> None:
        self._servers = servers
        self._http = http
        self._clock = clock
        self._tasks = tasks
        self._lists: dict[str, _List] = {}

    async def offered(self, chosen: Sequence[str]) -> Sequence[OfferedModel]:
        """What the servers at these addresses offer; only the first list of one is waited for."""
        found: list[OfferedModel] = []
        records = [await self._servers.find(text) for text in chosen]
        lists = [(record, self._list(record)) for record in records if record is not None]
        first = [one.asking for _, one in lists if one.asking is not None and not one.models]
        if first:
            await asyncio.wait(first, timeout=FIRST_LIST_S)
        for record, one in lists:
            # What is elsewhere again is not offered: two proxies would hand their names back and forth.
            here = (model for model in one.models if not _ELSEWHERE.search(model.id))
            found += [offered(model, record) for model in here]
        return found

    async def step(self, target: str) -> Step:
        """The step that `model@server` means."""
        _, _, address = target.rpartition("@")
        record = await self._servers.find(address)
        return Step(target, visible_controls(address if record is None else record.address, 200))

    async def upstream(self, target: str) -> Upstream:
        """How to ask `model@server`.

        Raises:
            NotFoundError: There is no such server among the known ones.
            RefusedError: It may be another server than before, or its key cannot be had.
        """
        model, _, address = target.rpartition("@")
        record = await self._servers.find(address)
        if record is None:
            raise NotFoundError(
                f"{visible_controls(address, 200)} is no known server.",
                "Add it in Discovery, or with `servers add URL`.",
            )
        endpoint = await self._servers.endpoint(record)
        return Upstream(endpoint.base_url, endpoint.api_key, model, engine=endpoint.engine)

    async def test(self, target: str) -> float:
        """Ask the server for its models; seconds it took. Raises ServerError when the model is not there."""
        upstream = await self.upstream(target)
        backend = connect(
            Endpoint(upstream.base_url, upstream.engine, upstream.api_key), http=self._http, clock=self._clock
        )
        began_ns = self._clock.now_ns()
        await backend.describe(upstream.model_id)
        return seconds(self._clock.now_ns(), began_ns)

    def _list(self, record: ServerRecord) -> _List:
        one = self._lists.setdefault(record.base_url, _List(record.models))
        is_old = one.asked_ns is None or seconds(self._clock.now_ns(), one.asked_ns) > LIST_TTL_S
        if is_old and one.asking is None:
            one.asked_ns = self._clock.now_ns()
            one.asking = self._tasks.start(self._refresh(record, one), name=f"models of {record.address}")
        return one

    async def _refresh(self, record: ServerRecord, one: _List) -> None:
        try:
            endpoint = await self._servers.endpoint(record)
            one.models = await connect(endpoint, http=self._http, clock=self._clock).list_models()
        except ServerError as error:
            # What it had the last time may still be asked for: the request will tell.
            log.info("models of a server not listed server=%s reason=%s", record.address, error.kind)
        finally:
            one.asking = None


def offered(model: ModelInfo, record: ServerRecord) -> OfferedModel:
    """One model of a server as the proxy's clients see it; never as loaded here."""
    # Ollama's tag for no tag: nobody types it, and every server that lists it does without.
    name = f"{model.id.removesuffix(':latest')}@{record.address}"
    trained = model.trained_context
    if trained is None and model.context_source is ContextSource.TRAINED:
        trained = model.context_length
    return OfferedModel(
        id=name,
        digest=hashlib.sha256(f"{name}\0{model.capabilities}".encode(errors="replace")).hexdigest(),
        size_bytes=model.size_bytes or 0,
        modified_s=record.last_seen_utc.timestamp() if record.last_seen_utc else 0.0,
        architecture=model.family,
        quantization=model.quantization,
        trained_context=trained or model.context_length,
        running_context=model.context_length if model.context_source is not ContextSource.TRAINED else None,
        capabilities=model.capabilities or _UNKNOWN,
        steps=(Step(name, record.address),),
    )


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
