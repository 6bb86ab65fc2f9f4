"""Who may go on, and who waits: in order per model, bounded, and nobody is forgotten.

Limits as in safety R2: so many in flight per model, so many waiting in all.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import OverloadedError

MAX_IN_FLIGHT: Final = 10
MAX_WAITING: Final = 512
# What a client is told to wait for when the queue is full: some answers have ended by then.
RETRY_AFTER_S: Final = 2.0


class Admission:
    """One queue per model.

    Args:
        max_in_flight: Requests of one model that run at the same time; the engine has its own slots behind.
        max_waiting: Requests that wait, of all models together.
    """

    def __init__(
        self, *, clock: Clock, max_in_flight: int = MAX_IN_FLIGHT, max_waiting: int = MAX_WAITING
    ) -> None:
        self._clock = clock
        self._max_in_flight = max_in_flight
        self._max_waiting = max_waiting
        self._running: dict[str, int] = {}
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._n_waiting = 0

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return self._n_waiting

    def in_flight(self, model_id: str) -> int:
        """Requests of a model that run now."""
        return self._running.get(model_id, 0)

    @asynccontextmanager
    async def admitted(self, model_id: str, max_in_flight: int | None = None) -> AsyncIterator[float]:
        """Wait for a turn and have it for the length of the block; gives the seconds waited.

        Args:
            max_in_flight: In place of the limit of all; always the same for the same model.

        Raises OverloadedError at once when the queue is full. Cancelling leaves the queue.
        """
        began_ns = self._clock.now_ns()
        if self.in_flight(model_id) < (max_in_flight or self._max_in_flight):
            self._running[model_id] = self.in_flight(model_id) + 1
        else:
            await self._wait(model_id)
        try:
            yield seconds(self._clock.now_ns(), began_ns)
        finally:
            self._leave(model_id)

    async def _wait(self, model_id: str) -> None:
        if self._n_waiting >= self._max_waiting:
            raise OverloadedError(
                f"{self._n_waiting} requests are waiting already.",
                "Try again in a moment.",
                RETRY_AFTER_S,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queues.setdefault(model_id, deque())
        queue.append(turn)
        self._n_waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The turn came in the same moment: somebody else gets it.
                self._leave(model_id)
            elif turn in queue:
                # Else whoever handed a turn on in the same moment has passed it over already.
                queue.remove(turn)
            raise
        finally:
            self._n_waiting -= 1

    def _leave(self, model_id: str) -> None:
        """Hand the turn to the next in the queue, or give it back."""
        queue = self._queues.get(model_id)
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._queues.pop(model_id, None)
        left = self._running[model_id] - 1
        if left:
            self._running[model_id] = left
        else:
            del self._running[model_id]
