"""One call of the control API: what it takes, what it answers, and the way between a request and both.

The routes and the OpenAPI document are made from the same table of these, so neither can say what the other
does not.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llama_runner.control.values import API_PREFIX, parse_body, to_json
from llama_runner.core.errors import (
    ConfigError,
    EngineError,
    InternalError,
    LlamaRunnerError,
    ModelFileError,
    NotFoundError,
    OverloadedError,
    PortInUseError,
    RefusedError,
    ServiceError,
    UsageError,
)
from llama_runner.core.text import visible_controls

log = logging.getLogger(__name__)

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
# Whole numbers above it are not exact in JSON as browsers read it.
MAX_NUMBER: Final = 2**53

_WHOLE: Final = re.compile(r"[0-9]{1,30}")
_DECIMAL: Final = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Query:
    """A number of at least 0 that may stand in the query of a call."""

    name: str
    help: str
    maximum: int = MAX_NUMBER
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked.

    Attributes:
        path: The variable parts of its path.
        query: The numbers that were given.
        body: A value of the endpoint's body type; None where it takes none.
        request: For an answer that lasts.
    """

    path: Mapping[str, str]
    query: Mapping[str, float]
    body: Any
    request: Request


Handle = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Attributes:
        path: Below the API's prefix, with variable parts in braces.
        summary: One sentence.
        answer: Type of what `handle` returns; None answers without content, a `Response` type lasts.
        body: Type of the request's body; None for none.
        status: Of a success with content.
    """

    method: str
    path: str
    summary: str
    handle: Handle
    answer: type[Any] | None = None
    body: type[Any] | None = None
    query: tuple[Query, ...] = ()
    status: int = 200

    async def respond(self, request: Request) -> Response:
        """Read the request, handle it, write the answer. Raises UsageError for what cannot be read."""
        query = _read_query(request, self.query)
        body = None if self.body is None else parse_body(self.body, await request.body())
        value = await self.handle(Call(request.path_params, query, body, request))
        if isinstance(value, Response):
            return value
        if value is None and self.answer is None:
            return Response(status_code=204 if self.status == 200 else self.status)
        if type(value) is not self.answer:
            raise TypeError(f"{self.method} {self.path} answers {self.answer}, not {type(value)}")
        return JSONResponse(to_json(value), status_code=self.status)


def routes_of(endpoints: Iterable[Endpoint], before: Callable[[], Awaitable[None]]) -> list[Route]:
    """One route per path, so that every path knows all of its methods.

    Args:
        before: Awaited before each call.
    """
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [
        Route(API_PREFIX + path, answered(_dispatch(methods, before)), methods=list(methods))
        for path, methods in by_path.items()
    ]


def _dispatch(methods: Mapping[str, Endpoint], before: Callable[[], Awaitable[None]]) -> Handler:
    async def handle(request: Request) -> Response:
        await before()
        # Starlette lets HEAD through where GET is.
        return await methods["GET" if request.method == "HEAD" else request.method].respond(request)

    return handle


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
            failure = InternalError()
            log.error("request failed path=%s number=%s", request.url.path, failure.number, exc_info=error)
            return error_response(failure)

    return answer


def error_response(error: LlamaRunnerError) -> Response:
    """An expected error as an answer."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return JSONResponse(error_document(error.kind, error.message, error.hint), status_code=status)


def error_document(kind: str, message: str, hint: str) -> dict[str, dict[str, str]]:
    """The one shape of an error."""
    return {"error": {"kind": kind, "message": message, "hint": hint}}


async def no_route(request: Request, error: Exception) -> Response:
    """What is answered where there is no endpoint, or none of that method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    document = error_document(
        "not_found", "The control API has no such request.", f"Its requests are below {API_PREFIX}."
    )
    return JSONResponse(document, status_code=status, headers=headers)


def _read_query(request: Request, known: tuple[Query, ...]) -> dict[str, float]:
    by_name = {query.name: query for query in known}
    found: dict[str, float] = {}
    for name, text in request.query_params.multi_items():
        if name not in by_name or name in found:
            shown = visible_controls(name, 40)
            what = "stands twice in the query" if name in found else "is no parameter of this request"
            raise UsageError(f"{shown} {what}.", f"It takes: {', '.join(by_name) or 'none'}.")
        found[name] = _number(by_name[name], text)
    return found


def _number(query: Query, text: str) -> float:
    kind = "whole number" if query.whole else "number"
    error = UsageError(f"{query.name} must be a {kind} from 0 to {query.maximum}.", "Correct it.")
    # As JSON writes numbers: int() and float() take more.
    if not _WHOLE.fullmatch(text) if query.whole else not _DECIMAL.fullmatch(text):
        raise error
    # Compared before it becomes a float, which would round it.
    value = int(text) if query.whole else float(text)
    if value > query.maximum:
        raise error
    return float(value)
