"""What the parent hands to a load worker, and the two words it says to it afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from llama_runner.backends.base import Engine, WireRequest
from llama_runner.stress.plan import Share

GO: Final = "go"
STOP: Final = "stop"


@dataclass(frozen=True, slots=True)
class Job:
    """One worker's share with everything it needs, picklable.

    Attributes:
        tls_pin: SHA-256 of the one certificate to accept; None for the usual rules.
        scopes: How near the server's name was when this run was asked for (D12); empty for an address.
        wires: One ready request per index of the share, in the same order; their headers hold the key.
    """

    share: Share
    engine: Engine
    base_url: str
    wires: tuple[WireRequest, ...] = field(repr=False)
    request_timeout_s: float
    tls_pin: str | None = None
    scopes: Mapping[str, str] = field(default_factory=dict)
