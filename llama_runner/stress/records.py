"""What a worker tells about its requests and about itself: plain values that cross processes."""

import math
from dataclasses import dataclass
from enum import StrEnum

from llama_runner.core.trace import NO_METRICS, RequestMetrics


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    FAILED = "failed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request that was begun.

    Attributes:
        index: Its number in the plan.
        t_begin_ns: When its turn came; waiting for a connection starts here.
        t_send_ns: First header byte written, None when it never was.
        t_first_ns: First and last token-bearing event, None when none came.
        t_end_ns: When it was over, however it ended.
        metrics: Complete for ok; for the others what could be measured until the end.
        events: Token-bearing events.
        stall_max_s: The longest gap between two of them.
        decode_tokens: Tokens after the first event, N - n1, where decode speed is defined; else None.
        error_kind: `kind` of the error tree, None when ok.
    """

    index: int
    worker: int
    outcome: Outcome
    t_begin_ns: int
    t_end_ns: int
    t_send_ns: int | None = None
    t_first_ns: int | None = None
    t_last_ns: int | None = None
    metrics: RequestMetrics = NO_METRICS
    events: int = 0
    stall_max_s: float | None = None
    decode_tokens: int | None = None
    finish_reason: str | None = None
    error_kind: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """One message of a worker while it runs: what ended since the last one, and what is going on."""

    worker: int
    begun: int
    in_flight: int
    ended: tuple[RequestRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """How the worker itself fared: whether it could have been the bottleneck.

    Attributes:
        lag_p99_s: By how much a 10 ms heartbeat of its event loop came late.
        cpu_s: Processor seconds it used while the load ran, of `wall_s`.
        reads: Reads from sockets.
        decode_backlog: Most answers that waited to be decoded at once.
    """

    worker: int
    pid: int
    beats: int
    lag_p50_s: float
    lag_p99_s: float
    lag_max_s: float
    cpu_s: float
    wall_s: float
    reads: int
    decode_backlog: int
    loop: str

    @property
    def cpu_pct(self) -> float:
        """Share of one core, in percent."""
        return 100 * self.cpu_s / self.wall_s if self.wall_s > 0 else math.nan


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first message: it has its share and waits for the word to go."""

    worker: int
    pid: int


WorkerMessage = Ready | Progress
