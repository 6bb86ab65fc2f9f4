"""The proxy's listeners, each as one ASGI application. The request gate stands in front of them."""

from collections.abc import Callable, Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy.audio_face import AudioFace
from llama_runner.proxy.calls import Relays
from llama_runner.proxy.lm_studio_face import LmStudioFace
from llama_runner.proxy.ollama_face import OllamaFace
from llama_runner.proxy.ollama_models import full_name
from llama_runner.proxy.openai_face import OLLAMAS, OpenAIFace
from llama_runner.proxy.refusals import ollama_refusal, openai_refusal

# Path, status, message and kind to the document.
Refusal = Callable[[str, int, str, str], JsonValue]
# An engine cannot be made to do what its paths below these would: they are ours, and refused.
_UNKNOWN: Final = "Unexpected endpoint or method. ({method} {path})"


def openai_app(shared: Relays) -> Starlette:
    """Port 1234: OpenAI's dialect, Anthropic's messages, LM Studio's own."""
    routes = [*OpenAIFace(shared).routes(), *AudioFace(shared).routes(), *LmStudioFace(shared).routes()]
    return _application(routes, openai_refusal)


def ollama_app(shared: Relays) -> Starlette:
    """Port 11434: Ollama's dialect, and OpenAI's below `/v1` as Ollama has it."""
    openai = OpenAIFace(shared, owner=OLLAMAS, listed=full_name).routes()
    below_v1 = [route for route in openai if route.path.startswith("/v1/")]
    below_v1 += AudioFace(shared).routes()
    return _application([*OllamaFace(shared).routes(), *below_v1], ollama_refusal)


def _application(routes: Sequence[BaseRoute], refusal: Refusal) -> Starlette:
    async def no_route(request: Request, error: Exception) -> Response:
        """404 as JSON: LM Studio's 200 for everything would tell clients that a route exists."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = error.headers if isinstance(error, HTTPException) else None
        path = request.url.path
        message = _UNKNOWN.format(method=request.method[:16], path=path[:200])
        document = refusal(path, status, message, "not_found_error")
        return JSONResponse(document, status_code=status, headers=headers)

    app = Starlette(routes=routes, exception_handlers={HTTPException: no_route})
    # A path with a slash too many is another path, not a redirect that drops the body.
    app.router.redirect_slashes = False
    return app
