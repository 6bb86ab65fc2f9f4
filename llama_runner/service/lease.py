"""The open answer by which a client holds the service: it ends with the client, however the client ends."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llama_runner.core.tasks import TaskOwner
from llama_runner.proxy.relay import client_gone
from llama_runner.service.state import ServiceState


class LeaseResponse(Response):
    """Sends one line end, then nothing until the client goes or the service ends.

    Args:
        tasks: Where the two waits run.
    """

    def __init__(self, state: ServiceState, tasks: TaskOwner) -> None:
        super().__init__(media_type="text/plain")
        self._state = state
        self._tasks = tasks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold on for as long as both sides are there."""
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        self._state.client_came()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"\n", "more_body": True})
            await self._either_ends(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._state.client_went()

    async def _either_ends(self, receive: Receive) -> None:
        waits = (
            self._tasks.start(client_gone(receive), name="lease-client"),
            self._tasks.start(self._state.stop_requested.wait(), name="lease-stop"),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
