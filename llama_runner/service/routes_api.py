"""The calls about names that lead to models elsewhere. Decides nothing by itself."""

from dataclasses import dataclass
from typing import Protocol

from llama_runner.control.routes import Route, RouteList
from llama_runner.service.endpoints import Call, Endpoint


class RouteTable(Protocol):
    """What the API asks of the proxy's host."""

    async def routes(self) -> RouteList:
        """Every route and where it leads."""
        ...

    async def test(self, name: str) -> Route:
        """A route, each of its steps asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutesApi:
    """Calls about routes; they are changed with the settings."""

    table: RouteTable

    def endpoints(self) -> tuple[Endpoint, ...]:
        """What may be asked."""
        return (
            Endpoint(
                method="GET",
                path="/routes",
                summary="Names that programs may ask for, and where each leads.",
                handle=self._routes,
                answer=RouteList,
            ),
            Endpoint(
                method="POST",
                path="/routes/{name}/test",
                summary="Ask every step of a route whether it could answer; nothing is generated.",
                handle=self._test,
                answer=Route,
            ),
        )

    async def _routes(self, call: Call) -> RouteList:
        return await self.table.routes()

    async def _test(self, call: Call) -> Route:
        return await self.table.test(call.path["name"])
