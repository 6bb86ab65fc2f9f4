"""Which servers are not worth asking just now: one circuit breaker each. Pure; time is handed in (F19).

A server that failed again and again is passed over for some seconds, then one request may try it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

NS_PER_S: Final = 1_000_000_000
# Safety 3.2: five in a row, or most of the last twenty.
MAX_IN_A_ROW: Final = 5
WINDOW: Final = 20
# How long an open breaker waits before the first try, and at most: a server that is back is used within 10 s.
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 8.0
# More servers than anybody has; bounds what is remembered.
MAX_SERVERS: Final = 256


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    pause_s: float = 0.0
    until_ns: int = 0
    last_try_ns: int = 0

    @property
    def is_open(self) -> bool:
        return self.pause_s > 0


class Breakers:
    """The breakers of all servers, by any name that tells them apart.

    Args:
        changed: Told of each server that goes down (True) or comes back (False).
    """

    def __init__(self, changed: Callable[[str, bool], None] = lambda name, down: None) -> None:
        self._changed = changed
        self._known: dict[str, _Breaker] = {}

    def is_open(self, name: str) -> bool:
        """Whether a server counts as down, be it its time to be tried or not."""
        return name in self._known and self._known[name].is_open

    def passed_over(self, name: str, now_ns: int) -> bool:
        """Whether a server is not to be asked now."""
        return self.is_open(name) and now_ns < self._known[name].until_ns

    def tried_longest_ago(self, names: Sequence[str]) -> int:
        """The index of the server that was asked the longest time ago: the one to try when all are open."""
        return min(range(len(names)), key=lambda index: self._of(names[index]).last_try_ns)

    def asked(self, name: str, now_ns: int) -> None:
        """A request goes there. Of an open one, the only request until its pause is over once more."""
        breaker = self._of(name)
        breaker.last_try_ns = now_ns
        if breaker.is_open:
            breaker.until_ns = now_ns + round(breaker.pause_s * NS_PER_S)

    def answered(self, name: str) -> None:
        """It answered: whatever was held against it is forgotten, but for the share of failures."""
        breaker = self._of(name)
        was_open = breaker.is_open
        if was_open:
            breaker.recent.clear()
        breaker.failures, breaker.pause_s = 0, 0.0
        breaker.recent.append(True)
        if was_open:
            self._changed(name, False)

    def failed(self, name: str, now_ns: int) -> None:
        """It could not be reached, or broke off."""
        breaker = self._of(name)
        was_open = breaker.is_open
        breaker.failures += 1
        breaker.recent.append(False)
        mostly = len(breaker.recent) == WINDOW and breaker.recent.count(False) * 2 > WINDOW
        if was_open or mostly or breaker.failures >= MAX_IN_A_ROW:
            breaker.pause_s = min(LONGEST_PAUSE_S, breaker.pause_s * 2 or FIRST_PAUSE_S)
            breaker.until_ns = now_ns + round(breaker.pause_s * NS_PER_S)
        if breaker.is_open and not was_open:
            self._changed(name, True)

    def _of(self, name: str) -> _Breaker:
        if name not in self._known and len(self._known) >= MAX_SERVERS:
            del self._known[next(iter(self._known))]
        return self._known.setdefault(name, _Breaker())
