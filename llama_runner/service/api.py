"""The control API: requests in, calls of the runtime, values out. Decides nothing by itself."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llama_runner import __version__
from llama_runner.control.serving import EngineList
from llama_runner.control.values import (
    API_PREFIX,
    EngineInfo,
    Health,
    KeepRequest,
    LogChunk,
    Released,
    RequestList,
)
from llama_runner.core.errors import StorageError
from llama_runner.core.logtail import lines_after, program_log
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig
from llama_runner.core.tasks import TaskOwner
from llama_runner.service.browser import Browsers
from llama_runner.service.endpoints import Call, Endpoint, Query, answered, no_route, routes_of
from llama_runner.service.lease import LeaseResponse
from llama_runner.service.live import Live, LiveSources
from llama_runner.service.models_api import ModelsApi, Runtime
from llama_runner.service.openapi import openapi_document
from llama_runner.service.serving_api import Profiles, ServingApi
from llama_runner.service.settings_api import SettingsApi, setting_schemas
from llama_runner.service.state import ServiceState
from llama_runner.service.views import (
    face_view,
    request_view,
)

DOCUMENT_PATH: Final = f"{API_PREFIX}/openapi.json"
MAX_LOG_LINES: Final = 2000
DEFAULT_LOG_LINES: Final = 200


class Calls(Protocol):
    """A group of calls that belong together."""

    def endpoints(self) -> tuple[Endpoint, ...]:
        """What may be asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlApi:
    """The calls of the control API.

    Attributes:
        config: The settings now.
        engine: The llama-server in use now; `engines` are all there is to choose from.
        library: The models' profiles.
        follow: Brings the proxy in step with the settings; told whether what failed is to be tried again.
        tasks: Where waiting requests run their two waits.
        browsers: Who gets in without the token.
        more: Calls of other parts of the service.
    """

    manager: Runtime
    state: ServiceState
    home: Home
    config: Callable[[], AppConfig]
    engine: Callable[[], Awaitable[EngineInfo]]
    engines: Callable[[], Awaitable[EngineList]]
    library: Profiles
    tasks: TaskOwner
    follow: Callable[[bool], Awaitable[None]]
    browsers: Browsers
    more: tuple[Calls, ...] = ()

    def app(self) -> Starlette:
        """The API as an ASGI application, without the gate in front of it."""
        settings = SettingsApi(home=self.home, config=self.config, follow=self.follow)
        models = ModelsApi(manager=self.manager, state=self.state, engine=self.engine, tasks=self.tasks)
        serving = ServingApi(manager=self.manager, library=self.library, engines=self.engines)
        calls: tuple[Calls, ...] = (self, models, serving, settings, self.browsers, *self.more)
        endpoints = tuple(endpoint for group in calls for endpoint in group.endpoints())
        live = Live(
            LiveSources(
                manager=self.manager,
                state=self.state,
                health=self._health,
                config=self.config,
                settings=settings.now,
                follow=self._look,
                tasks=self.tasks,
                session=self.browsers.admits,
            )
        )

        @cache
        def document() -> dict[str, Any]:
            # When first asked for: it costs as much as a tenth of a start.
            return openapi_document(endpoints, live.messages, setting_schemas())

        async def openapi(request: Request) -> Response:
            return JSONResponse(document())

        return Starlette(
            routes=[
                *routes_of(endpoints, self._look),
                Route(DOCUMENT_PATH, answered(openapi), methods=["GET"]),
                self.browsers.route(),
                *live.routes(),
            ],
            exception_handlers={HTTPException: no_route},
        )

    def endpoints(self) -> tuple[Endpoint, ...]:
        """What may be asked about the service itself and what went through it."""
        return (
            Endpoint(
                method="GET",
                path="/health",
                summary="Who answers, and how it is doing.",
                handle=self._get_health,
                answer=Health,
            ),
            Endpoint(
                method="GET",
                path="/requests",
                summary="The newest requests through the proxy, oldest first.",
                handle=self._requests,
                answer=RequestList,
            ),
            Endpoint(
                method="GET",
                path="/logs",
                summary="The end of the program's log.",
                handle=self._logs,
                answer=LogChunk,
                query=(
                    Query("after", "Only what was written behind this position."),
                    Query(
                        "lines", f"At most so many, the last ones; else {DEFAULT_LOG_LINES}.", MAX_LOG_LINES
                    ),
                ),
            ),
            Endpoint(
                method="POST",
                path="/reload",
                summary="Look at the settings again, and try again what could not be served.",
                handle=self._reload,
                answer=Health,
            ),
            Endpoint(
                method="GET",
                path="/lease",
                summary="Rely on the service: it does not end with its owner as long as this answer lasts.",
                handle=self._lease,
                answer=str,
            ),
            Endpoint(
                method="POST",
                path="/release",
                summary="Let go of the service as its owner; it stays while others rely on it.",
                handle=self._release,
                answer=Released,
            ),
            Endpoint(
                method="POST",
                path="/keep",
                summary="Say whether the service stays when its owner goes.",
                handle=self._keep,
                body=KeepRequest,
            ),
            Endpoint(
                method="POST",
                path="/shutdown",
                summary="End the service; a second time without patience.",
                handle=self._shutdown,
                status=202,
            ),
        )

    # --- the service ---------------------------------------------------------------------------------------

    async def _get_health(self, call: Call) -> Health:
        return self._health()

    async def _reload(self, call: Call) -> Health:
        await self.follow(True)
        return self._health()

    def _health(self) -> Health:
        state = self.state
        return Health(
            status="closing" if state.closing else "ok",
            version=__version__,
            pid=os.getpid(),
            uptime_s=round(state.uptime_s, 3),
            owned=state.owned,
            keep=state.keep,
            demo=state.demo,
            notices=state.notices,
            openai=face_view(state.openai),
            ollama=face_view(state.ollama),
        )

    async def _logs(self, call: Call) -> LogChunk:
        after = call.query.get("after")
        path = program_log(self.home)
        try:
            lines, following = await asyncio.to_thread(
                lines_after, path, None if after is None else int(after)
            )
        except OSError as error:
            raise StorageError(
                f"{path.name} cannot be read: {error.strerror}.", "Check its permissions."
            ) from error
        last = int(call.query.get("lines", DEFAULT_LOG_LINES))
        return LogChunk(tuple(lines[max(0, len(lines) - last) :]), following)

    async def _lease(self, call: Call) -> Response:
        self.state.refuse_when_closing()
        return LeaseResponse(self.state, self.tasks)

    async def _release(self, call: Call) -> Released:
        self.state.owner_gone()
        return Released(ending=self.state.closing)

    async def _keep(self, call: Call) -> None:
        self.state.keep = call.body.keep

    async def _shutdown(self, call: Call) -> None:
        self.state.request_stop("control API")

    async def _requests(self, call: Call) -> RequestList:
        return RequestList(tuple(map(request_view, self.state.requests.records)))

    # --- helpers -------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Follow the settings: whoever asks may have changed them just now."""
        await self.follow(False)
