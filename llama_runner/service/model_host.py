"""The runtime as the proxy sees it."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import httpx

from llama_runner.backends.base import Endpoint, Engine
from llama_runner.backends.registry import connect
from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.tasks import TaskOwner
from llama_runner.proxy.host import ModelState, OfferedModel, Upstream
from llama_runner.runtime.catalogue import ModelFile
from llama_runner.runtime.instance import InstanceSnapshot, InstanceState
from llama_runner.runtime.manager import RuntimeManager
from llama_runner.runtime.states import ENDED, SERVING, InUse

log = logging.getLogger(__name__)

# Every request looks its model up; the folder is looked at anew at most this often.
LIST_TTL_S: Final = 2.0


class RuntimeHost:
    """Implements `proxy.host.ModelHost` on a `RuntimeManager`.

    Args:
        tasks: Runs what nobody has to wait for; its owner ends it.
    """

    def __init__(
        self, manager: RuntimeManager, *, http: httpx.AsyncClient, clock: Clock, tasks: TaskOwner
    ) -> None:
        self._manager = manager
        self._http = http
        self._clock = clock
        self._tasks = tasks
        self._files: tuple[OfferedModel, ...] = ()
        self._ids: frozenset[str] = frozenset()
        self._looked_ns: int | None = None
        self._contexts: dict[str, int | None] = {}

    async def offered(self) -> Sequence[OfferedModel]:
        """Every usable model file, with what runs of it."""
        await self._look()
        running = {snapshot.model_id: snapshot for snapshot in self._manager.instances()}
        # A child that is gone may leave its port to another.
        urls = {snapshot.url for snapshot in running.values()}
        self._contexts = {url: length for url, length in self._contexts.items() if url in urls}
        return [self._running(model, running.get(model.id)) for model in self._files]

    def has(self, model_id: str) -> bool:
        """Whether it is one of those that were offered last."""
        return model_id in self._ids

    @asynccontextmanager
    async def use(self, model_id: str) -> AsyncIterator[Upstream]:
        """Have it ready and count the request."""
        async with self._manager.use(model_id) as used:
            if used.url not in self._contexts:
                # Before asking: requests that come meanwhile need not ask again, and none waits for it.
                self._contexts[used.url] = None
                self._tasks.start(self._learn_context(model_id, used), name=f"context of {model_id}")
            yield Upstream(used.url, used.api_key, model_id, used.load_s)

    def keep(self, model_id: str, idle_s: float | None) -> None:
        """How long it stays without work."""
        self._manager.keep(model_id, idle_s)

    async def changed(self, limit_s: float) -> None:
        """Until an instance changed."""
        await self._manager.wait_change(self._manager.revision, limit_s)

    async def unload(self, model_id: str) -> None:
        """Take it out of memory; once its work is done where it has any, as other clients may wait for it."""
        running = next((one for one in self._manager.instances() if one.model_id == model_id), None)
        if running is not None and running.in_flight:
            self._manager.keep(model_id, 0)
        else:
            await self._manager.unload(model_id)

    async def _look(self) -> None:
        now_ns = self._clock.now_ns()
        if self._looked_ns is not None and seconds(now_ns, self._looked_ns) < LIST_TTL_S:
            return
        catalogue = await self._manager.models()
        usable = tuple(model for model in catalogue.models if model.problem is None)
        modified = await asyncio.to_thread(_modified, usable)
        # Made once per look and not per request: it hashes what tells each file from others.
        self._files = tuple(_offered(file, modified.get(file.id, 0.0)) for file in usable)
        self._ids = frozenset(model.id for model in self._files)
        self._looked_ns = now_ns

    async def _learn_context(self, model_id: str, used: InUse) -> None:
        """Ask a freshly loaded child for the context that one request has."""
        endpoint = Endpoint(used.url, Engine.LLAMA_SERVER, used.api_key)
        backend = connect(endpoint, http=self._http, clock=self._clock)
        try:
            models = await backend.list_models()
        except LlamaRunnerError as error:
            log.info("context not learned model=%s reason=%s", model_id, error.kind)
            return
        self._contexts[used.url] = next((model.context_length for model in models), None)

    def _running(self, offered: OfferedModel, running: InstanceSnapshot | None) -> OfferedModel:
        if running is None or running.state in ENDED or running.state is InstanceState.STOPPING:
            return offered
        return replace(
            offered,
            state=ModelState.LOADED if running.state in SERVING else ModelState.LOADING,
            running_context=self._contexts.get(running.url or ""),
            memory_bytes=running.ram_bytes,
            vram_bytes=running.vram_bytes,
            idle_unload_s=running.unload_in_s,
        )


def _offered(file: ModelFile, modified_s: float) -> OfferedModel:
    """What its file says of a model."""
    offered = OfferedModel(
        id=file.id,
        digest=_digest(file, modified_s),
        size_bytes=file.size_bytes or 0,
        modified_s=modified_s,
    )
    header = file.header
    if header is None:
        return offered
    return replace(
        offered,
        architecture=header.architecture,
        quantization=header.quantization,
        parameter_count=header.parameter_count,
        trained_context=header.context_length,
        embedding_length=header.embedding_length,
        block_count=header.block_count,
        capabilities=header.capabilities,
    )


def _digest(file: ModelFile, modified_s: float) -> str:
    """Another for every file and set of capabilities; hashing gigabytes for it would take minutes."""
    capabilities = file.header.capabilities if file.header else ()
    told = f"{file.path}\0{file.size_bytes}\0{modified_s}\0{capabilities}"
    return hashlib.sha256(told.encode("utf-8", errors="surrogateescape")).hexdigest()


def _modified(files: Sequence[ModelFile]) -> dict[str, float]:
    found: dict[str, float] = {}
    for file in files:
        try:
            found[file.id] = file.path.stat().st_mtime
        except OSError as error:
            log.info("time of change unknown model=%s reason=%s", file.id, error.strerror)
    return found
