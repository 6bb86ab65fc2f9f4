"""The short way to the client: pieces of a body straight into the connection, without a task in between.

ASGI's `send` is a coroutine per piece; whoever writes a few thousand tokens a second pays mostly for that.
A server that offers this extension in the scope takes pieces at once; its `send` begins and ends the answer.
"""

from typing import Final, Protocol

from starlette.types import Scope

EXTENSION: Final = "llama_runner.direct_body"


class DirectBody(Protocol):
    """The body of the answer that `send` began."""

    def write(self, data: bytes) -> bool:
        """Send a piece; False when the client takes no more for now. A client that left is no error."""
        ...

    async def drained(self) -> None:
        """Wait until the client takes more, or left."""
        ...


def direct_body(scope: Scope) -> DirectBody | None:
    """What the server in front offers, None when it offers nothing."""
    found: DirectBody | None = (scope.get("extensions") or {}).get(EXTENSION)
    return found
