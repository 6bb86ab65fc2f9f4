"""Bounded, drop-oldest publication: a manager publishes, each view reads at its own rate."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Subscription(Generic[T]):
    """One reader's place in a topic. Close it when the reader goes away."""

    def __init__(self, topic: "Topic[T]", maxlen: int) -> None:
        self._topic = topic
        self._items: deque[T] = deque(maxlen=maxlen)
        self._wake = asyncio.Event()
        self.dropped = 0

    def drain(self) -> list[T]:
        """Everything published since the last call, oldest first; `dropped` counts what did not fit."""
        items = list(self._items)
        self._items.clear()
        self._wake.clear()
        return items

    def close(self) -> None:
        """Stop receiving. Closing twice is harmless."""
        self._topic._subscriptions.discard(self)

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            await self._wake.wait()
            for item in self.drain():
                yield item

    def _push(self, value: T) -> None:
        if len(self._items) == self._items.maxlen:
            self.dropped += 1
        self._items.append(value)
        self._wake.set()


class Topic(Generic[T]):
    """What a manager publishes. `latest` is the last value, None before the first.

    Belongs to one event loop: publish and read on the loop's own thread.
    """

    def __init__(self) -> None:
        self._subscriptions: set[Subscription[T]] = set()
        self.latest: T | None = None

    def publish(self, value: T) -> None:
        """Hand `value` to every subscription; a full one loses its oldest item."""
        self.latest = value
        for subscription in tuple(self._subscriptions):
            subscription._push(value)

    def subscribe(self, maxlen: int = 256) -> Subscription[T]:
        """A new reader that sees what is published from now on."""
        subscription = Subscription(self, maxlen)
        self._subscriptions.add(subscription)
        return subscription
