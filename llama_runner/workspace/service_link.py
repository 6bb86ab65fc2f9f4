"""The local service as the client side sees it: found or started, followed, mirrored into the registry.

Each ready instance is one server of the registry, with its key. The state lives here and in the service;
nothing else keeps a copy.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import httpx

from llama_runner.backends.base import Target
from llama_runner.control.client import ControlClient
from llama_runner.control.launcher import ServiceConnection, attach_or_start, find_service
from llama_runner.control.values import (
    MAX_WAIT_S,
    EngineInfo,
    Health,
    Instance,
    InstanceList,
    LogChunk,
    ModelList,
    Plan,
    ProxiedRequest,
)
from llama_runner.core.errors import EngineError, LlamaRunnerError, ServiceError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import Home
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.topic import Topic
from llama_runner.discovery.registry import ServerRegistry
from llama_runner.workspace.instances import InstanceMirror, server_id
from llama_runner.workspace.service_snapshot import LinkState, ServiceSnapshot

__all__ = ["LinkState", "ServiceLink", "ServiceSnapshot"]

log = logging.getLogger(__name__)

# Between two looks for a service that went away: soon at first, then rarely; looking costs one small file.
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
_GIVEN_UP: Final = ("failed", "stopped", "stopping")


class ServiceLink:
    """One home's service. `ensure` and everything that needs it start it when none runs.

    Args:
        registry: Gets one server per ready instance.
        refine: Asks a new instance's server for its details, after it is in the registry.
        keep_serving: Asked when a service is started.

    Attributes:
        changes: A snapshot after every change.
    """

    def __init__(
        self,
        *,
        home: Home,
        http: httpx.AsyncClient,
        registry: ServerRegistry,
        refine: Callable[[str], Awaitable[object]],
        keep_serving: Callable[[], bool],
        demo: bool,
    ) -> None:
        self.changes: Topic[ServiceSnapshot] = Topic()
        self._home = home
        self._http = http
        self._registry = registry
        self._keep_serving = keep_serving
        self._demo = demo
        self._snapshot = ServiceSnapshot()
        self._connection: ServiceConnection | None = None
        self._connecting = asyncio.Lock()
        self._mirroring = asyncio.Lock()
        self._revision = 0
        self._changed = asyncio.Event()
        self._tasks = TaskOwner()
        self._mirrored = InstanceMirror(registry=registry, refine=refine, tasks=self._tasks)
        self._closed = False

    @property
    def snapshot(self) -> ServiceSnapshot:
        """The service now."""
        return self._snapshot

    @property
    def connected(self) -> bool:
        """Whether asking it something starts nothing. The snapshot follows a moment later."""
        return self._connection is not None

    # --- connecting ----------------------------------------------------------------------------------------

    async def attach(self) -> bool:
        """Use the service that runs already, if one does; never start one."""
        async with self._connecting:
            if self._connection is None and (found := await find_service(self._home, http=self._http)):
                await self._adopt(found)
            return self._connection is not None

    async def ensure(self) -> ControlClient:
        """The service, found or started. Callers at the same time share one start.

        Raises:
            LlamaRunnerError: It could not be started; the snapshot says so too.
        """
        async with self._connecting:
            if self._connection is None:
                self._publish(replace(self._snapshot, state=LinkState.STARTING, error=None))
                try:
                    await self._connect()
                except LlamaRunnerError as error:
                    self._publish(ServiceSnapshot(state=LinkState.FAILED, error=error))
                    raise
                except asyncio.CancelledError:
                    self._publish(ServiceSnapshot())
                    raise
            connection = self._connection
        assert connection is not None
        return connection.client

    async def set_keep(self, keep: bool) -> None:
        """Say whether the service we started stays when we go; without effect on one that is not ours."""
        if self._connection is not None and self._connection.owned is not None:
            await self._connection.owned.set_keep(keep)
            self._publish(replace(self._snapshot, keep=keep))

    async def close(self) -> None:
        """Stop following, and end the service if it is ours. Idempotent."""
        self._closed = True
        await self._tasks.close()
        async with self._connecting:
            await self._disconnect(ServiceSnapshot())

    # --- what it does --------------------------------------------------------------------------------------

    async def models(self) -> ModelList:
        """Every model file it can load."""
        return await (await self.ensure()).models()

    async def engines(self) -> tuple[EngineInfo, ...]:
        """Every llama-server there is to choose from, the usual one first."""
        return (await (await self.ensure()).engines()).engines

    async def load(
        self,
        model_id: str,
        options: LoadOptions | None = None,
        *,
        profile: str | None = None,
        reload: bool = False,
    ) -> Instance:
        """Start loading a model; it is still starting when this returns.

        Args:
            profile: By name; None for the model's default, an empty text for none.
            reload: One that is loaded in another way finishes its work and is loaded anew.
        """
        client = await self.ensure()
        instance = await client.load(model_id, options, profile=profile, reload=reload)
        # So that the snapshot has it, and not an earlier life of it.
        await self._mirror(client, await client.instances())
        return instance

    async def unload(self, instance_id: str) -> None:
        """Stop an instance and wait until it is gone."""
        await (await self.ensure()).unload(instance_id)

    async def plan(
        self, model_id: str, options: LoadOptions | None = None, *, profile: str | None = None
    ) -> Plan:
        """What loading a model would mean now; nothing is done."""
        return await (await self.ensure()).plan(model_id, options, profile=profile)

    async def pin(self, instance_id: str, pinned: bool) -> None:
        """Keep an instance in memory whatever else wants room, or let it go again."""
        client = await self.ensure()
        await client.pin(instance_id, pinned)
        await self._mirror(client, await client.instances())

    async def reload(self) -> ServiceSnapshot:
        """Have a running service look at the settings again; without one there is nothing to do."""
        if self._connection is not None:
            self._take_in(await self._connection.client.reload())
        return self._snapshot

    async def look(self) -> tuple[ProxiedRequest, ...]:
        """Bring the snapshot up to this moment, idle times included.

        Returns:
            The newest requests through the proxy, oldest first; none without a running service.
        """
        if self._connection is None:
            return ()
        client = self._connection.client
        self._take_in(await client.health())
        await self._mirror(client, await client.instances())
        return (await client.requests()).requests

    def _take_in(self, health: Health) -> None:
        """What may change while the service runs."""
        if self._connection is None:
            return
        now = replace(self._snapshot, notices=health.notices, openai=health.openai, ollama=health.ollama)
        if now != self._snapshot:
            self._publish(now)

    async def log(self, instance_id: str, *, after: int = 0) -> LogChunk:
        """Output of an instance behind line number `after`."""
        return await (await self.ensure()).log(instance_id, after=after)

    async def ensure_ready(
        self,
        model_id: str,
        options: LoadOptions | None = None,
        *,
        profile: str | None = None,
        reload: bool = False,
    ) -> Instance:
        """Load a model unless it is, and wait until it answers. Arguments as of `load`.

        Raises:
            EngineError: It will not become ready; says why.
            ServiceError: The service went away meanwhile.
        """
        wanted = await self.load(model_id, options, profile=profile, reload=reload)
        while True:
            # Taken before looking: a change in between is not missed.
            changed = self._changed
            current = self._instance(wanted)
            if current is None or current.state in _GIVEN_UP:
                raise _never_ready(current or wanted)
            if current.state == "ready" and self._mirrored.has(current.id):
                return current
            await changed.wait()

    async def target(self, model_id: str, options: LoadOptions | None = None) -> Target:
        """A local model, ready to be talked to."""
        instance = await self.ensure_ready(model_id, options)
        return self._registry.target(server_id(instance.id), instance.model)

    def _instance(self, wanted: Instance) -> Instance | None:
        if self._snapshot.state is not LinkState.CONNECTED:
            raise ServiceError(
                f"The service ended while {wanted.model} was loading.", "Try again; see its log."
            )
        return next((i for i in self._snapshot.instances if i.id == wanted.id), None)

    # --- following -----------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        if self._closed:
            raise ServiceError("The program is closing.", "Start it again.")
        connection = await attach_or_start(
            self._home, http=self._http, demo=self._demo, keep_serving=self._keep_serving()
        )
        await self._adopt(connection)

    async def _adopt(self, connection: ServiceConnection) -> None:
        """Make it ours and follow it; one that cannot be followed is closed again."""
        try:
            revision = await self._introduce(connection)
        except BaseException:
            self._connection = None
            await connection.close()
            raise
        self._tasks.start(self._follow(connection, revision), name="follow service")

    async def _introduce(self, connection: ServiceConnection) -> int:
        health = await connection.client.health()
        seen = await connection.client.instances()
        self._connection = connection
        self._revision = seen.revision
        self._publish(
            ServiceSnapshot(
                state=LinkState.CONNECTED,
                owned=connection.owned is not None,
                keep=health.keep,
                url=connection.client.url,
                pid=health.pid,
                version=health.version,
                notices=health.notices,
                openai=health.openai,
                ollama=health.ollama,
            )
        )
        await self._mirror(connection.client, seen)
        return seen.revision

    async def _follow(self, connection: ServiceConnection, revision: int) -> None:
        """Mirror every change until the service goes away, then look out for it."""
        try:
            while True:
                seen = await connection.client.instances(after=revision, wait_s=MAX_WAIT_S)
                if seen.revision != revision:
                    revision = seen.revision
                    await self._mirror(connection.client, seen)
        except LlamaRunnerError as error:
            log.warning("service lost reason=%s", error.kind)
        async with self._connecting:
            await self._disconnect(ServiceSnapshot(state=LinkState.RECONNECTING))
        pause_s = FIRST_PAUSE_S
        while not await self._found_again():
            # No event tells that another program starts a service.
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _found_again(self) -> bool:
        try:
            return await self.attach()
        except LlamaRunnerError as error:
            log.info("service not reached again yet reason=%s", error.kind)
            return False

    async def _disconnect(self, snapshot: ServiceSnapshot) -> None:
        connection, self._connection = self._connection, None
        self._mirrored.clear()
        try:
            if connection is not None:
                await connection.close()
        finally:
            self._publish(snapshot)

    async def _mirror(self, client: ControlClient, seen: InstanceList) -> None:
        """Bring the registry in step, then publish: a reader of the snapshot finds the server it names."""
        async with self._mirroring:
            if seen.revision < self._revision or self._connection is None:
                return
            self._revision = seen.revision
            await self._mirrored.update(client, seen.instances)
            self._publish(replace(self._snapshot, instances=seen.instances))

    def _publish(self, snapshot: ServiceSnapshot) -> None:
        self._snapshot = snapshot
        self.changes.publish(snapshot)
        self._changed.set()
        self._changed = asyncio.Event()


def _never_ready(instance: Instance) -> EngineError:
    return EngineError(
        instance.error or f"{instance.model} was stopped before it was ready.",
        instance.advice or f"See `llama-runner logs {instance.model}`.",
    )
