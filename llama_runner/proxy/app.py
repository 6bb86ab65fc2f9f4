"""The proxy's listeners, each as one ASGI application. The request gate stands in front of them."""

from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from llama_runner.proxy.calls import Relays
from llama_runner.proxy.lm_studio_face import LmStudioFace
from llama_runner.proxy.ollama_face import OllamaFace
from llama_runner.proxy.openai_errors import error_object
from llama_runner.proxy.openai_face import OpenAIFace

# An engine cannot be made to do what its paths below these would: they are ours, and refused.
_UNKNOWN: Final = "Unexpected endpoint or method. ({method} {path})"


def openai_app(shared: Relays) -> Starlette:
    """Port 1234: OpenAI's dialect, Anthropic's messages, LM Studio's own."""
    return _application([*LmStudioFace(shared).routes(), *OpenAIFace(shared).routes()])


def ollama_app(shared: Relays) -> Starlette:
    """Port 11434: Ollama's dialect, and OpenAI's below `/v1` as Ollama has it."""
    openai = [route for route in OpenAIFace(shared).routes() if route.path.startswith("/v1/")]
    return _application([*OllamaFace(shared).routes(), *openai])


def _application(routes: Sequence[BaseRoute]) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route})
    # A path with a slash too many is another path, not a redirect that drops the body.
    app.router.redirect_slashes = False
    return app


async def _no_route(request: Request, error: Exception) -> Response:
    """404 as JSON: LM Studio's 200 for everything would tell clients that a route exists."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    message = _UNKNOWN.format(method=request.method[:16], path=request.url.path[:200])
    return JSONResponse(error_object(message, "not_found_error", None), status_code=status, headers=headers)
