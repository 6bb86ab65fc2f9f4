"""All that programs may ask for: models here, models of chosen servers, and names that lead to either."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from llama_runner.control.routes import Route, RouteList, RouteStep
from llama_runner.core.errors import LlamaRunnerError, NotFoundError, UnsupportedError
from llama_runner.core.settings import ProxySettings
from llama_runner.proxy.breaker import Breakers
from llama_runner.proxy.host import LOCAL, OfferedModel, Step, Upstream
from llama_runner.proxy.routing import named
from llama_runner.service.model_host import RuntimeHost
from llama_runner.service.remote_host import RemoteHost


class RoutedHost:
    """Implements `proxy.host.ModelHost` over both.

    A step without a server is a model of this machine, else another route, whose steps take its place.

    Attributes:
        breakers: Of the servers, as the proxy uses them.
    """

    def __init__(
        self,
        local: RuntimeHost,
        remote: RemoteHost,
        *,
        settings: Callable[[], ProxySettings],
        breakers: Breakers,
    ) -> None:
        self.breakers = breakers
        self._local = local
        self._remote = remote
        self._settings = settings

    async def offered(self) -> Sequence[OfferedModel]:
        """The models here, then the routes, then what the chosen servers have. A route hides a model."""
        local, settings = await self._local.offered(), self._settings()
        if not settings.routes and not settings.servers:
            return local
        remote = await self._remote.offered(settings.servers)
        known = {model.id: model for model in (*remote, *local)}
        routes = {
            name: await self._route(name, steps, known)
            for name in settings.routes
            if name.strip() and (steps := await self._steps(name, local))
        }
        return [
            *(model for model in local if model.id not in routes),
            *routes.values(),
            *(model for model in remote if model.id not in routes),
        ]

    @asynccontextmanager
    async def use(self, model_id: str) -> AsyncIterator[Upstream]:
        """Have it ready. A route is its first model here, or its first step when all are elsewhere."""
        target = await self._target(model_id)
        if target.where == LOCAL:
            async with self._local.use(target.target) as upstream:
                yield upstream
        else:
            yield await self._remote.upstream(target.target)

    def keep(self, model_id: str, idle_s: float | None) -> None:
        """How long a model here stays without work; of others nothing is kept."""
        if self._local.has(model_id):
            self._local.keep(model_id, idle_s)
            return
        entry = self._settings().routes.get(model_id)
        first = next((text for text in entry.steps if self._local.has(text)), None) if entry else None
        if first is not None:
            self._local.keep(first, idle_s)

    async def changed(self, limit_s: float) -> None:
        """Until a model here changed."""
        await self._local.changed(limit_s)

    async def unload(self, model_id: str) -> None:
        """Take a model here out of memory. Raises UnsupportedError for those of other servers."""
        target = await self._target(model_id)
        if target.where != LOCAL:
            raise UnsupportedError(f"{target.target} is not in this machine's memory.", "Unload it there.")
        await self._local.unload(target.target)

    async def routes(self) -> RouteList:
        """Every route and where it leads."""
        settings, local = self._settings(), await self._local.offered()
        found = [
            Route(name, tuple(map(self._view, await self._steps(name, local)))) for name in settings.routes
        ]
        return RouteList(tuple(found), settings.servers)

    async def test(self, name: str) -> Route:
        """Ask every step of a route whether it could answer. Raises NotFoundError."""
        if name not in self._settings().routes:
            raise NotFoundError(f"There is no route {name[:100]!r}.", "See `routes list`.")
        local = await self._local.offered()
        steps = await self._steps(name, local)
        return Route(name, tuple(await asyncio.gather(*(self._tested(step, local) for step in steps))))

    async def _tested(self, step: Step, local: Sequence[OfferedModel]) -> RouteStep:
        view = self._view(step)
        if step.where == LOCAL:
            there = named(local, step.target) is not None
            return replace(view, problem=None if there else "There is no such model here.")
        try:
            return replace(view, answered_s=await self._remote.test(step.target))
        except LlamaRunnerError as error:
            return replace(view, problem=str(error))

    def _view(self, step: Step) -> RouteStep:
        return RouteStep(step.target, step.where, passed_over=self.breakers.is_open(step.where))

    async def _route(
        self, name: str, steps: Sequence[Step], known: Mapping[str, OfferedModel]
    ) -> OfferedModel:
        """A route as a model: described as the first of its steps that is known."""
        names = [f"{step.target.rpartition('@')[0]}@{step.where}" for step in steps]
        found = (known.get(step.target) or known.get(there) for step, there in zip(steps, names, strict=True))
        like = next(filter(None, found), OfferedModel(name, "", 0, 0.0, capabilities=("completion", "tools")))
        digest = hashlib.sha256(f"{name}\0{like.digest}".encode(errors="replace")).hexdigest()
        # How much fits is for whoever answers to say.
        context = like.running_context if len(steps) == 1 else None
        return replace(like, id=name, digest=digest, steps=tuple(steps), running_context=context)

    async def _steps(
        self, name: str, local: Sequence[OfferedModel], been: set[str] | None = None
    ) -> list[Step]:
        """The steps of a route, with those of the routes that it leads to, each once: no way back, and not as
        many ways as there are forks.
        """
        routes, found = self._settings().routes, list[Step]()
        been = {name} if been is None else been
        for text in routes[name].steps:
            if text not in routes or named(local, text) is not None:
                found.append(await self._step(text, local))
            elif text not in been:
                been.add(text)
                found += await self._steps(text, local, been)
        return found

    async def _step(self, text: str, local: Sequence[OfferedModel]) -> Step:
        here = named(local, text)
        if here is not None or "@" not in text:
            return Step(text if here is None else here.id)
        return await self._remote.step(text)

    async def _target(self, model_id: str) -> Step:
        """Where a name leads, when something is to be done with one model."""
        if self._local.has(model_id):
            return Step(model_id)
        if model_id in self._settings().routes:
            steps = await self._steps(model_id, await self._local.offered())
            return next((step for step in steps if step.where == LOCAL), next(iter(steps), Step(model_id)))
        return await self._remote.step(model_id) if "@" in model_id else Step(model_id)
