"""Whether the load generator itself was the bottleneck: thresholds and verdict. Pure.

A verdict other than OK means that the figures may describe the client instead of the server.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from llama_runner.stress.records import WorkerReport

LAG_SUSPECT_S: Final = 0.005
LAG_LIMITED_S: Final = 0.020
LAG_LIMITED_OF_TTFT: Final = 0.05
# uvloop's timers have a grain of 1 ms: a heartbeat cannot show a smaller lag than this, and 5 % of a TTFT
# of a few milliseconds would always be exceeded.
LAG_FLOOR_S: Final = 0.002
CPU_SUSPECT_PCT: Final = 70.0
CPU_LIMITED_PCT: Final = 90.0
# A worker that ran for less has too few heartbeats and too coarse processor times to be judged by either.
SHORTEST_JUDGED_S: Final = 0.25


class ClientStatus(StrEnum):
    """Verdict about the load generator."""

    OK = "OK"
    SUSPECT = "SUSPECT"
    LIMITED = "CLIENT-LIMITED"


@dataclass(frozen=True, slots=True)
class ClientHealth:
    """The verdict, why, and the worst worker's figures. Field names are the names in JSON."""

    status: ClientStatus
    reason: str
    lag_p99_s: float | None
    lag_max_s: float | None
    cpu_pct: float | None
    workers: int


def judge_client(workers: Sequence[WorkerReport], median_ttft_s: float | None) -> ClientHealth:
    """The verdict over all workers: the worst one decides.

    Args:
        median_ttft_s: Of the successful requests; None judges the lag by its absolute limits alone.
    """
    if not workers:
        return ClientHealth(
            ClientStatus.SUSPECT, "No load worker could report on itself.", None, None, None, 0
        )
    lag_s = max(worker.lag_p99_s for worker in workers)
    judged = [worker for worker in workers if worker.wall_s >= SHORTEST_JUDGED_S]
    cpu_pct = max((worker.cpu_pct for worker in judged), default=None)
    findings = [_judge_lag(lag_s, median_ttft_s), _judge_cpu(cpu_pct)]
    status, reason = max(findings, key=lambda finding: _SEVERITY[finding[0]])
    if status is ClientStatus.OK and not judged:
        reason = "The run was too short to judge the load generator's processor use."
    return ClientHealth(
        status=status,
        reason=reason,
        lag_p99_s=lag_s,
        lag_max_s=max(worker.lag_max_s for worker in workers),
        cpu_pct=cpu_pct,
        workers=len(workers),
    )


_SEVERITY: Final = {ClientStatus.OK: 0, ClientStatus.SUSPECT: 1, ClientStatus.LIMITED: 2}
_FINE: Final = (ClientStatus.OK, "The load generator kept up.")


def _judge_lag(lag_s: float, median_ttft_s: float | None) -> tuple[ClientStatus, str]:
    told = f"The load generator saw 1 % of its events more than {lag_s * 1e3:.1f} ms late"
    if lag_s > LAG_LIMITED_S:
        return ClientStatus.LIMITED, f"{told}, over {LAG_LIMITED_S * 1e3:g} ms."
    if median_ttft_s is not None and lag_s > max(LAG_FLOOR_S, LAG_LIMITED_OF_TTFT * median_ttft_s):
        return ClientStatus.LIMITED, f"{told}, {LAG_LIMITED_OF_TTFT:.0%} of the time to first token."
    if lag_s > LAG_SUSPECT_S:
        return ClientStatus.SUSPECT, f"{told}, over {LAG_SUSPECT_S * 1e3:g} ms."
    return _FINE


def _judge_cpu(cpu_pct: float | None) -> tuple[ClientStatus, str]:
    if cpu_pct is None or cpu_pct <= CPU_SUSPECT_PCT:
        return _FINE
    status = ClientStatus.LIMITED if cpu_pct > CPU_LIMITED_PCT else ClientStatus.SUSPECT
    return status, f"A load worker used {cpu_pct:.0f} % of its core."
