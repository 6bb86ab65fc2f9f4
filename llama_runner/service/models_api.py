"""The calls about models, instances and engines. Decides nothing by itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llama_runner.control.values import (
    MAX_WAIT_S,
    Access,
    EngineInfo,
    Instance,
    InstanceList,
    LoadRequest,
    LogChunk,
    ModelList,
    PinRequest,
    Plan,
)
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.tasks import TaskOwner
from llama_runner.runtime.activity import Activity
from llama_runner.runtime.catalogue import ModelCatalogue
from llama_runner.runtime.instance import InstanceSnapshot
from llama_runner.runtime.memory import LoadPlan
from llama_runner.service.endpoints import Call, Endpoint, Query
from llama_runner.service.state import ServiceState
from llama_runner.service.views import instance_view, model_list_view, plan_view


class Runtime(Protocol):
    """What the API asks of the runtime manager."""

    @property
    def revision(self) -> int:
        """Counts every change of an instance."""
        ...

    async def models(self) -> ModelCatalogue:
        """The models that can be loaded."""
        ...

    async def load(
        self, model_id: str, options: LoadOptions, *, profile: str | None, reload: bool
    ) -> InstanceSnapshot:
        """Start loading; joins a load of the same model."""
        ...

    async def plan(self, model_id: str, options: LoadOptions, *, profile: str | None) -> LoadPlan:
        """What loading would mean."""
        ...

    def instance(self, instance_id: str) -> InstanceSnapshot:
        """One instance, by its id or its model's."""
        ...

    async def activity(self, instance_id: str) -> Activity:
        """What an instance is doing."""
        ...

    def pin(self, instance_id: str, pinned: bool) -> InstanceSnapshot:
        """Keep an instance, or let it go again."""
        ...

    async def unload(self, instance_id: str) -> None:
        """Stop an instance."""
        ...

    def instances(self) -> tuple[InstanceSnapshot, ...]:
        """All instances."""
        ...

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """The revision, once it is beyond `after` or the time is over."""
        ...

    def access(self, instance_id: str) -> tuple[str, str]:
        """URL and key."""
        ...

    def log_lines(self, instance_id: str, after: int) -> tuple[Sequence[str], int]:
        """Output behind a line number, and the next number."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsApi:
    """Calls about models.

    Attributes:
        engine: The llama-server in use now.
        tasks: Where waiting requests run their two waits.
    """

    manager: Runtime
    state: ServiceState
    engine: Callable[[], Awaitable[EngineInfo]]
    tasks: TaskOwner

    def endpoints(self) -> tuple[Endpoint, ...]:
        """What may be asked."""
        return (
            Endpoint(
                method="GET",
                path="/models",
                summary="Every model of this machine, those that cannot be used with the reason.",
                handle=self._models,
                answer=ModelList,
            ),
            Endpoint(
                method="GET",
                path="/instances",
                summary="Every instance, at once or as soon as one changes.",
                handle=self._instances,
                answer=InstanceList,
                query=(
                    Query("after", "Answer when the revision is beyond this one."),
                    Query("wait_s", "But after so many seconds at the latest.", int(MAX_WAIT_S), whole=False),
                ),
            ),
            Endpoint(
                method="POST",
                path="/instances",
                summary="Start loading a model; a second load of the same model joins the first.",
                handle=self._load,
                body=LoadRequest,
                answer=Instance,
                status=202,
            ),
            Endpoint(
                method="PATCH",
                path="/instances/{id}",
                summary="Keep an instance in memory whatever else wants room, or let it go again.",
                handle=self._pin,
                body=PinRequest,
                answer=Instance,
            ),
            Endpoint(
                method="DELETE",
                path="/instances/{id}",
                summary="Stop an instance and wait until it is gone.",
                handle=self._unload,
            ),
            Endpoint(
                method="GET",
                path="/instances/{id}/access",
                summary="Where an instance answers, and its key.",
                handle=self._access,
                answer=Access,
            ),
            Endpoint(
                method="GET",
                path="/instances/{id}/log",
                summary="Output of an instance, as far as it is kept.",
                handle=self._instance_log,
                answer=LogChunk,
                query=(Query("after", "Only lines behind this number."),),
            ),
            Endpoint(
                method="POST",
                path="/plan",
                summary="What loading a model would mean now; nothing is done.",
                handle=self._plan,
                body=LoadRequest,
                answer=Plan,
            ),
            Endpoint(
                method="GET",
                path="/engine",
                summary="The llama-server that would be started.",
                handle=self._engine,
                answer=EngineInfo,
            ),
        )

    async def _models(self, call: Call) -> ModelList:
        return model_list_view(await self.manager.models())

    async def _instances(self, call: Call) -> InstanceList:
        after = call.query.get("after")
        if after is not None:
            await self._wait_change(int(after), call.query.get("wait_s", 0.0))
        return InstanceList(self.manager.revision, tuple(map(instance_view, self.manager.instances())))

    async def _load(self, call: Call) -> Instance:
        self.state.refuse_when_closing()
        wish: LoadRequest = call.body
        return instance_view(
            await self.manager.load(wish.model, wish.options, profile=wish.profile, reload=wish.reload)
        )

    async def _plan(self, call: Call) -> Plan:
        wish: LoadRequest = call.body
        return plan_view(await self.manager.plan(wish.model, wish.options, profile=wish.profile))

    async def _pin(self, call: Call) -> Instance:
        return instance_view(self.manager.pin(call.path["id"], call.body.pinned))

    async def _unload(self, call: Call) -> None:
        await self.manager.unload(call.path["id"])

    async def _access(self, call: Call) -> Access:
        return Access(*self.manager.access(call.path["id"]))

    async def _instance_log(self, call: Call) -> LogChunk:
        lines, following = self.manager.log_lines(call.path["id"], int(call.query.get("after", 0)))
        return LogChunk(tuple(lines), following)

    async def _engine(self, call: Call) -> EngineInfo:
        return await self.engine()

    async def _wait_change(self, after: int, limit_s: float) -> None:
        """Until the revision is beyond `after`, the time is over or the service ends."""
        waits: tuple[asyncio.Task[Any], ...] = (
            self.tasks.start(self.manager.wait_change(after, limit_s), name="wait-change"),
            self.tasks.start(self.state.stop_requested.wait(), name="wait-stop"),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
