"""Instances of the local service as servers of the registry: one each while it is ready, with its key."""

import logging
from collections.abc import Awaitable, Callable

from llama_runner.backends.base import Engine
from llama_runner.backends.models import ModelInfo
from llama_runner.control.client import ControlClient
from llama_runner.control.values import Instance
from llama_runner.core.errors import EngineError, NotFoundError
from llama_runner.core.tasks import TaskOwner
from llama_runner.discovery.registry import (
    Certainty,
    ServerRecord,
    ServerRegistry,
    ServerSource,
    ServerStatus,
)

log = logging.getLogger(__name__)


def server_id(instance_id: str) -> str:
    """The registry's id of an instance's server."""
    return f"service:{instance_id}"


class InstanceMirror:
    """Keeps the registry in step with what the service runs.

    Args:
        refine: Asks a new instance's server for its details, after it is in the registry.
        tasks: Where that question runs.
    """

    def __init__(
        self, *, registry: ServerRegistry, refine: Callable[[str], Awaitable[object]], tasks: TaskOwner
    ) -> None:
        self._registry = registry
        self._refine = refine
        self._tasks = tasks

    async def update(self, client: ControlClient, instances: tuple[Instance, ...]) -> None:
        """Add what became ready, remove what no longer is. Raises ServerError, ServiceError."""
        ready = {server_id(i.id): i for i in instances if i.state == "ready" and i.url}
        self._remove_all_but(set(ready))
        for identifier, instance in ready.items():
            known = self._registry.get(identifier)
            # A restarted instance has another address and another key.
            if known is None or known.base_url != instance.url:
                await self._add(client, identifier, instance)

    def clear(self) -> None:
        """The service is gone, and its instances with it."""
        self._remove_all_but(set())

    def has(self, instance_id: str) -> bool:
        """Whether an instance's server is in the registry."""
        return self._registry.get(server_id(instance_id)) is not None

    def _remove_all_but(self, kept: set[str]) -> None:
        for record in self._registry.records:
            if record.source is ServerSource.SERVICE and record.id not in kept:
                self._registry.remove(record.id)

    async def _add(self, client: ControlClient, identifier: str, instance: Instance) -> None:
        try:
            access = await client.access(instance.id)
        except (NotFoundError, EngineError):
            # Unloaded, or crashed and about to start anew: the next list says which.
            log.info("instance not ready any more when it was to be used id=%s", instance.id)
            return
        self._registry.set_key(identifier, access.api_key)
        self._registry.upsert(
            ServerRecord(
                id=identifier,
                base_url=access.url,
                engine=Engine.LLAMA_SERVER,
                product=str(Engine.LLAMA_SERVER),
                certainty=Certainty.CERTAIN,
                status=ServerStatus.ONLINE,
                source=ServerSource.SERVICE,
                models=(ModelInfo(id=instance.model, loaded=True),),
            )
        )
        self._tasks.start(self._refined(identifier), name=f"refine {identifier}")

    async def _refined(self, identifier: str) -> None:
        try:
            await self._refine(identifier)
        except NotFoundError:
            log.info("instance gone before it was asked id=%s", identifier)
