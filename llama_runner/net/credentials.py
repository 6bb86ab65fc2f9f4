"""Tokens that clients show: where they stand in a request, how they are compared, how often one may guess."""

import hashlib
import hmac
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from llama_runner.core.clock import Clock

# R1.6: nobody mistypes a token more often, and a guesser gets nowhere.
MAX_FAILURES: Final = 10
FAILURE_WINDOW_NS: Final = 60 * 10**9
# Addresses whose failures are remembered; the oldest go first.
MAX_REMEMBERED: Final = 1024
_BEARER: Final = "Bearer "


def hash_token(token: str) -> bytes:
    """What is compared, and kept, in place of a token: its SHA-256."""
    return hashlib.sha256(token.encode("utf-8")).digest()


def fits(token: str, wanted_hash: bytes) -> bool:
    """Whether it is the token of that hash; takes the same time for every wrong one."""
    return hmac.compare_digest(hash_token(token), wanted_hash)


class TwoCredentialsError(ValueError):
    """A request shows several credentials: a proxy in between and we could each believe another one."""


def credential_of(headers: Mapping[str, Sequence[str]]) -> str | None:
    """The one token a request shows, as `Authorization: Bearer` or `x-api-key`; None without one (I24).

    Another scheme's credential counts as a token that fits nothing.

    Raises:
        TwoCredentialsError: It shows two that differ, or one kind twice (H12).
    """
    authorizations, keys = headers.get("authorization", ()), headers.get("x-api-key", ())
    shown = {*(text.removeprefix(_BEARER) if text.startswith(_BEARER) else text for text in authorizations)}
    shown.update(keys)
    if len(shown) > 1 or len(authorizations) > 1 or len(keys) > 1:
        raise TwoCredentialsError
    if authorizations and not authorizations[0].startswith(_BEARER):
        return ""
    return next(iter(shown), None)


class Failures:
    """Wrong tokens per address within the last minute.

    Args:
        limit: None bounds nothing.
    """

    def __init__(self, clock: Clock, limit: int | None) -> None:
        self._clock = clock
        self._limit = limit
        self._times: dict[str, deque[int]] = {}

    def __len__(self) -> int:
        return len(self._times)

    def too_many(self, client: str) -> bool:
        """Whether an address guessed too often lately."""
        times = self._times.get(client)
        if times is None or self._limit is None:
            return False
        while times and self._clock.now_ns() - times[0] > FAILURE_WINDOW_NS:
            times.popleft()
        return len(times) >= self._limit

    def note(self, client: str) -> None:
        """An address showed a wrong one."""
        if self._limit is None:
            return
        if client not in self._times and len(self._times) >= MAX_REMEMBERED:
            del self._times[next(iter(self._times))]
        self._times.setdefault(client, deque(maxlen=self._limit)).append(self._clock.now_ns())
