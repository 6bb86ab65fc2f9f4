"""What all handlers of the proxy share: errors before the answer, in their dialect and on record."""

import logging
from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from llama_runner.core.errors import InternalError, InvalidRequestError, LlamaRunnerError
from llama_runner.core.text import visible_controls
from llama_runner.proxy.bodies import read_object
from llama_runner.proxy.calls import ErrorAnswer, Relays
from llama_runner.proxy.strangers import told

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[ASGIApp]]


def routed(
    shared: Relays, table: Iterable[tuple[str, str, Handler]], error_answer: ErrorAnswer
) -> list[Route]:
    """Routes of methods ("GET" or "GET HEAD"), path and handler; errors as `error_answer` spells them."""
    return [
        Route(path, _answered(shared, handler, error_answer), methods=methods.split())
        for methods, path, handler in table
    ]


def _answered(
    shared: Relays, handler: Handler, error_answer: ErrorAnswer
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)  # type: ignore[return-value]  # any ASGI app is a response here
        except LlamaRunnerError as error:
            status, document = error_answer(told(error, request.scope))
            if request.method == "POST":
                await _note(shared, request, status, error)
            return JSONResponse(document, status_code=status)
        except ClientDisconnect:
            # Nobody reads this; the application has to return something.
            return Response(status_code=400)
        except Exception as error:
            # The edge of a request: the client gets a number, the log the rest (I25).
            failure = InternalError()
            log.error("request failed path=%s number=%s", request.url.path, failure.number, exc_info=error)
            status, document = error_answer(failure)
            return JSONResponse(document, status_code=status)

    return answer


async def _note(shared: Relays, request: Request, status: int, error: LlamaRunnerError) -> None:
    """Put a request that was refused before it was sent anywhere on record."""
    record = shared.requests.begin(
        visible_controls(request.url.path, 200),
        await _asked_model(request),
        shared.clock.utc(),
        streamed=False,
    )
    record.status, record.outcome, record.error = status, "refused", error.kind


async def _asked_model(request: Request) -> str:
    """The model that a refused request named, empty when that cannot be told."""
    try:
        # What was refused for its many parts is not read for its model's name either.
        document = await read_object(request)
    except (InvalidRequestError, ClientDisconnect):
        return ""
    named = document.get("model") or document.get("name")
    return visible_controls(named, 200) if isinstance(named, str) else ""
