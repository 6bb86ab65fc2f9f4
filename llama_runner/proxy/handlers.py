"""What all handlers of the proxy share: errors that come before the answer, in their dialect."""

import logging
from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from llama_runner.core.errors import InternalError, LlamaRunnerError
from llama_runner.proxy.calls import ErrorAnswer

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[ASGIApp]]


def routed(table: Iterable[tuple[str, str, Handler]], error_answer: ErrorAnswer) -> list[Route]:
    """Routes of methods ("GET" or "GET HEAD"), path and handler; errors as `error_answer` spells them."""
    return [
        Route(path, _answered(handler, error_answer), methods=methods.split())
        for methods, path, handler in table
    ]


def _answered(handler: Handler, error_answer: ErrorAnswer) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)  # type: ignore[return-value]  # any ASGI app is a response here
        except LlamaRunnerError as error:
            status, document = error_answer(error)
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
