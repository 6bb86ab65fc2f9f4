"""The run as it stands: counts and median so far, for a view that looks four times a second. Pure."""

from bisect import insort
from dataclasses import dataclass

from llama_runner.stress.records import Outcome, Progress, RequestRecord
from llama_runner.stress.statistics import min_n, quantile


@dataclass(frozen=True, slots=True)
class StressSnapshot:
    """One look at a run.

    Attributes:
        phase: "starting" until the load begins, then "running", "stopping" after a stop, "done" at the end.
        total: Requests the plan has.
        output_tokens: Of the requests that ended, whatever their outcome.
        output_tps: Those tokens over the elapsed time; None before the first.
        ttft_p50_s: Of the successful requests so far; None while they are too few to say.
    """

    phase: str
    total: int
    sent: int
    ok: int
    failed: int
    aborted: int
    in_flight: int
    output_tokens: int
    elapsed_s: float
    output_tps: float | None
    ttft_p50_s: float | None


class LiveCounts:
    """Adds up what workers tell."""

    def __init__(self, total: int) -> None:
        self.records: list[RequestRecord] = []
        self._total = total
        self._begun: dict[int, int] = {}
        self._in_flight: dict[int, int] = {}
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._output_tokens = 0
        self._ttft_s: list[float] = []

    @property
    def lost(self) -> int:
        """Requests that were begun and of which no record has come."""
        return sum(self._begun.values()) - len(self.records)

    def add(self, progress: Progress) -> None:
        """Take one message in."""
        self._begun[progress.worker] = progress.begun
        self._in_flight[progress.worker] = progress.in_flight
        for record in progress.ended:
            self._add_record(record)

    def snapshot(self, phase: str, elapsed_s: float) -> StressSnapshot:
        """The counts now."""
        enough = len(self._ttft_s) >= min_n(0.5)
        tokens = self._output_tokens
        return StressSnapshot(
            phase=phase,
            total=self._total,
            sent=sum(self._begun.values()),
            ok=self._outcomes[Outcome.OK],
            failed=self._outcomes[Outcome.FAILED],
            aborted=self._outcomes[Outcome.ABORTED],
            in_flight=sum(self._in_flight.values()),
            output_tokens=tokens,
            elapsed_s=elapsed_s,
            output_tps=tokens / elapsed_s if tokens and elapsed_s > 0 else None,
            ttft_p50_s=quantile(self._ttft_s, 0.5) if enough else None,
        )

    def _add_record(self, record: RequestRecord) -> None:
        self.records.append(record)
        self._outcomes[record.outcome] += 1
        self._output_tokens += record.metrics.output_tokens or 0
        if record.outcome is Outcome.OK and record.metrics.ttft_s is not None:
            insort(self._ttft_s, record.metrics.ttft_s)
