"""The control API: requests in, calls of the runtime, JSON out. Decides nothing by itself."""

import asyncio
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llama_runner import __version__
from llama_runner.control.values import (
    API_PREFIX,
    MAX_WAIT_S,
    Access,
    EngineInfo,
    Health,
    InstanceList,
    KeepRequest,
    LoadRequest,
    LogChunk,
    PinRequest,
    Released,
    RequestList,
    parse_body,
    to_json,
)
from llama_runner.core.errors import (
    ConfigError,
    EngineError,
    LlamaRunnerError,
    ModelFileError,
    NotFoundError,
    OverloadedError,
    PortInUseError,
    RefusedError,
    ServiceError,
    UsageError,
)
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.settings import AppConfig
from llama_runner.core.tasks import TaskOwner
from llama_runner.runtime.catalogue import ModelCatalogue
from llama_runner.runtime.instance import InstanceSnapshot
from llama_runner.runtime.memory import LoadPlan
from llama_runner.service.lease import LeaseResponse
from llama_runner.service.state import ServiceState
from llama_runner.service.views import (
    face_view,
    instance_view,
    model_list_view,
    plan_view,
    request_view,
)

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]

# The first match counts: subclasses before their bases.
_STATUS: Final[tuple[tuple[type[LlamaRunnerError], int], ...]] = (
    (UsageError, 400),
    (NotFoundError, 404),
    (RefusedError, 403),
    (OverloadedError, 503),
    (ServiceError, 503),
    (PortInUseError, 409),
    (ConfigError, 422),
    (ModelFileError, 422),
    (EngineError, 422),
)


class Runtime(Protocol):
    """What the API asks of the runtime manager."""

    @property
    def revision(self) -> int:
        """Counts every change of an instance."""
        ...

    async def models(self) -> ModelCatalogue:
        """The models that can be loaded."""
        ...

    async def load(self, model_id: str, options: LoadOptions) -> InstanceSnapshot:
        """Start loading; joins a load of the same model."""
        ...

    async def plan(self, model_id: str, options: LoadOptions) -> LoadPlan:
        """What loading would mean."""
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
class ControlApi:
    """The routes of the control API.

    Attributes:
        config: The settings now.
        engine: The llama-server in use now.
        follow: Brings the proxy in step with the settings; told whether what failed is to be tried again.
        tasks: Where waiting requests run their two waits.
    """

    manager: Runtime
    state: ServiceState
    config: Callable[[], AppConfig]
    engine: Callable[[], Awaitable[EngineInfo]]
    tasks: TaskOwner
    follow: Callable[[bool], Awaitable[None]]

    def app(self) -> Starlette:
        """The API as an ASGI application, without the gate in front of it."""
        routes: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "/health", self.health),
            ("GET", "/models", self.models),
            ("GET", "/instances", self.instances),
            ("POST", "/instances", self.load),
            ("DELETE", "/instances/{id}", self.unload),
            ("PATCH", "/instances/{id}", self.pin),
            ("POST", "/plan", self.plan),
            ("GET", "/requests", self.requests),
            ("GET", "/instances/{id}/access", self.access),
            ("GET", "/instances/{id}/log", self.log_lines),
            ("GET", "/engine", self.engine_info),
            ("GET", "/settings", self.settings),
            ("POST", "/reload", self.reload),
            ("GET", "/lease", self.lease),
            ("POST", "/release", self.release),
            ("POST", "/keep", self.keep),
            ("POST", "/shutdown", self.shutdown),
        )
        return Starlette(
            routes=[
                Route(API_PREFIX + path, answered(self._up_to_date(handler)), methods=[method])
                for method, path, handler in routes
            ],
            exception_handlers={HTTPException: _no_route},
        )

    async def health(self, request: Request) -> Response:
        """GET health."""
        return self._health()

    async def reload(self, request: Request) -> Response:
        """POST reload: the settings were changed, or a busy port may be free now."""
        await self.follow(True)
        return self._health()

    def _health(self) -> Response:
        state = self.state
        return _json(
            Health(
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
        )

    async def models(self, request: Request) -> Response:
        """GET models."""
        return _json(model_list_view(await self.manager.models()))

    async def instances(self, request: Request) -> Response:
        """GET instances, at once or when the revision moves on."""
        after = _number(request, "after", None)
        if after is not None:
            await self._wait_change(int(after), min(_number(request, "wait_s", 0.0) or 0.0, MAX_WAIT_S))
        return _json(InstanceList(self.manager.revision, tuple(map(instance_view, self.manager.instances()))))

    async def load(self, request: Request) -> Response:
        """POST instances."""
        self._refuse_when_closing()
        wish = parse_body(LoadRequest, await request.body())
        snapshot = await self.manager.load(wish.model, wish.options)
        return _json(instance_view(snapshot), status=202)

    async def plan(self, request: Request) -> Response:
        """POST plan: a load that is only thought through."""
        wish = parse_body(LoadRequest, await request.body())
        return _json(plan_view(await self.manager.plan(wish.model, wish.options)))

    async def pin(self, request: Request) -> Response:
        """PATCH instances/{id}."""
        wish = parse_body(PinRequest, await request.body())
        return _json(instance_view(self.manager.pin(request.path_params["id"], wish.pinned)))

    async def requests(self, request: Request) -> Response:
        """GET requests."""
        return _json(RequestList(tuple(map(request_view, self.state.requests.records))))

    async def unload(self, request: Request) -> Response:
        """DELETE instances/{id}."""
        await self.manager.unload(request.path_params["id"])
        return Response(status_code=204)

    async def access(self, request: Request) -> Response:
        """GET instances/{id}/access."""
        url, api_key = self.manager.access(request.path_params["id"])
        return _json(Access(url, api_key))

    async def log_lines(self, request: Request) -> Response:
        """GET instances/{id}/log."""
        after = _number(request, "after", 0.0) or 0.0
        lines, following = self.manager.log_lines(request.path_params["id"], int(after))
        return _json(LogChunk(tuple(lines), following))

    async def engine_info(self, request: Request) -> Response:
        """GET engine."""
        return _json(await self.engine())

    async def settings(self, request: Request) -> Response:
        """GET settings."""
        return JSONResponse(self.config().model_dump(mode="json"))

    async def lease(self, request: Request) -> Response:
        """GET lease: an answer that lasts as long as the client relies on the service."""
        self._refuse_when_closing()
        return LeaseResponse(self.state, self.tasks)

    async def release(self, request: Request) -> Response:
        """POST release: the owner goes; says whether the service goes with it."""
        self.state.owner_gone()
        return _json(Released(ending=self.state.closing))

    async def keep(self, request: Request) -> Response:
        """POST keep."""
        self.state.keep = parse_body(KeepRequest, await request.body()).keep
        return Response(status_code=204)

    async def shutdown(self, request: Request) -> Response:
        """POST shutdown; a second one is in a hurry."""
        self.state.request_stop("control API")
        return Response(status_code=202)

    def _up_to_date(self, handler: Handler) -> Handler:
        """`handler` after a look at the settings: whoever asks may have changed them just now."""

        async def handle(request: Request) -> Response:
            await self.follow(False)
            return await handler(request)

        return handle

    def _refuse_when_closing(self) -> None:
        if self.state.closing:
            raise ServiceError("The service is ending and loads nothing any more.", "Start it again.")

    async def _wait_change(self, after: int, limit_s: float) -> None:
        """Until the revision is beyond `after`, the time is over or the service ends."""
        waits = (
            self.tasks.start(self.manager.wait_change(after, limit_s), name="wait-change"),
            self.tasks.start(self.state.stop_requested.wait(), name="wait-stop"),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def answered(handler: Handler) -> Handler:
    """`handler` with every error turned into an answer that says no more than a person may read."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except LlamaRunnerError as error:
            return error_response(error)
        except ClientDisconnect:
            # Nobody reads this; the application has to return something.
            return Response(status_code=400)
        except Exception as error:
            # The edge of a request: the client gets a number, the log the rest (I25).
            number = secrets.token_hex(4)
            log.error("request failed path=%s number=%s", request.url.path, number, exc_info=error)
            return JSONResponse(
                error_document(
                    "internal", f"Something went wrong in the service (number {number}).", "See its log."
                ),
                status_code=500,
            )

    return answer


def error_response(error: LlamaRunnerError) -> Response:
    """An expected error as an answer."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return JSONResponse(error_document(error.kind, error.message, error.hint), status_code=status)


def error_document(kind: str, message: str, hint: str) -> dict[str, dict[str, str]]:
    """The one shape of an error."""
    return {"error": {"kind": kind, "message": message, "hint": hint}}


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    document = error_document(
        "not_found", "The control API has no such request.", f"Its requests are below {API_PREFIX}."
    )
    return JSONResponse(document, status_code=status, headers=headers)


def _json(value: Any, *, status: int = 200) -> Response:
    return JSONResponse(to_json(value), status_code=status)


def _number(request: Request, name: str, default: float | None) -> float | None:
    """A number of at least 0 in the query. Raises UsageError."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    # Written so that NaN fails as well.
    if not 0 <= value <= 2**53:
        raise UsageError(f"{name} must be a number of at least 0.", "Correct it and ask again.")
    return value
