"""What a client on another machine is told of an error here: no folder, no file, no user's name.

The log and the control API, which only this machine reaches, say all of it.
"""

import logging
import re
from typing import Final

from starlette.types import Scope

from llama_runner.core.errors import (
    ConfigError,
    EngineError,
    LlamaRunnerError,
    ModelFileError,
    ServiceError,
    StorageError,
)
from llama_runner.net.addresses import scope_of

log = logging.getLogger(__name__)

# Their words are about this machine. All others are about the request, or about a server elsewhere.
_OF_THIS_MACHINE: Final = (ConfigError, EngineError, ModelFileError, ServiceError, StorageError)
# Names of folders have spaces and quotes: where a path ends cannot be told, that there is one can.
_PATH: Final = re.compile(r"[/\\~]")
_ASK: Final = "Ask whoever runs this server: its log says more."
# A proxy of somebody else's on this machine says so when it asks for others.
_ON_BEHALF: Final = frozenset({b"forwarded", b"x-forwarded-for"})


def told(error: LlamaRunnerError, scope: Scope, model_id: str = "") -> LlamaRunnerError:
    """The error as the client of `scope` may have it.

    Args:
        model_id: The client knows it; it may look like a path.
    """
    if not isinstance(error, _OF_THIS_MACHINE) or _is_here(scope):
        return error
    message, hint = (_PATH.search(_without(text, model_id)) is None for text in (error.message, error.hint))
    if message and hint:
        return error
    log.info("an error without its paths reason=%s", error)
    what = error.message if message else f"{model_id or 'The model'} cannot be used on this server now."
    return type(error)(what, error.hint if hint else _ASK)


def _without(text: str, model_id: str) -> str:
    return text.replace(model_id, "") if model_id else text


def _is_here(scope: Scope) -> bool:
    client = scope.get("client")
    if client is None or scope_of(client[0]) != "loopback":
        return False
    return not any(name in _ON_BEHALF for name, _ in scope.get("headers", ()))
