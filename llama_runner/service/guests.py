"""Who is connected to one listener, and who goes when there are too many (safety R2, F28).

Those who wait for nothing of ours (no whole request, or idle between two) can be sent away: the one that
waits longest goes first, so that whoever comes with a request is heard, however many only sit there.
"""

from enum import Enum
from typing import Final, Protocol

from llama_runner.net.addresses import scope_of

# Connections in each of the phases that can be ended without harm.
MAX_WAITING: Final = 256
# Of one other machine, in all. Everybody on this machine shares one address: it has no such limit.
MAX_PER_ADDRESS: Final = 32


class Phase(Enum):
    """What a connection is doing."""

    HEAD = "sends a request's head"
    BODY = "sends a request's body"
    ANSWERING = "gets its answer"
    IDLE = "between two requests"
    CLOSING = "takes the last bytes"


_IN_ORDER_OF_LEAVING: Final = (Phase.HEAD, Phase.IDLE, Phase.CLOSING, Phase.BODY)


class Guest(Protocol):
    """A connection as the list needs it."""

    address: str

    def turn_away(self) -> None:
        """Be cut off at once."""
        ...


class Guests:
    """The connections of one listener.

    Args:
        max_waiting: In each phase but ANSWERING, which the gate bounds.
        max_per_address: Of one address that is not this machine.
    """

    def __init__(self, *, max_waiting: int = MAX_WAITING, max_per_address: int = MAX_PER_ADDRESS) -> None:
        self._max_waiting = max_waiting
        self._max_per_address = max_per_address
        # Dictionaries keep the order: the first one has waited longest.
        self._in: dict[Phase, dict[Guest, None]] = {phase: {} for phase in Phase}
        self._of_address: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._in.values()))

    def count(self, phase: Phase) -> int:
        """How many are in a phase."""
        return len(self._in[phase])

    def come(self, guest: Guest) -> bool:
        """Somebody connected; False when their address has too many that all get answers."""
        address = guest.address
        if scope_of(address) != "loopback" and self._of_address.get(address, 0) >= self._max_per_address:
            other = self._oldest_of(address)
            if other is None:
                return False
            self._send_away(other)
        self._of_address[address] = self._of_address.get(address, 0) + 1
        self._enter(guest, Phase.HEAD)
        return True

    def change(self, guest: Guest, was: Phase, now: Phase) -> None:
        """One goes on to another phase; nothing happens to one that has been sent away."""
        if guest in self._in[was]:
            del self._in[was][guest]
            self._enter(guest, now)

    def go(self, guest: Guest) -> None:
        """One has left; one that is not here is no error."""
        here = next((guests for guests in self._in.values() if guest in guests), None)
        if here is None:
            return
        del here[guest]
        left = self._of_address[guest.address] - 1
        if left:
            self._of_address[guest.address] = left
        else:
            del self._of_address[guest.address]

    def _enter(self, guest: Guest, phase: Phase) -> None:
        guests = self._in[phase]
        guests[guest] = None
        if phase is not Phase.ANSWERING and len(guests) > self._max_waiting:
            self._send_away(next(iter(guests)))

    def _oldest_of(self, address: str) -> Guest | None:
        return next(
            (one for phase in _IN_ORDER_OF_LEAVING for one in self._in[phase] if one.address == address), None
        )

    def _send_away(self, guest: Guest) -> None:
        self.go(guest)
        guest.turn_away()
