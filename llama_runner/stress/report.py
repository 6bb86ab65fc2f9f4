"""What a run says in the end: its figures, whether they may be compared, the document that is saved. Pure."""

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.metrics import METRICS
from llama_runner.core.trace import RequestMetrics, TokensSource
from llama_runner.stress.health import ClientHealth, ClientStatus
from llama_runner.stress.level import LevelResult
from llama_runner.stress.plan import BurstPlan
from llama_runner.stress.records import RequestRecord
from llama_runner.stress.statistics import min_n

SCHEMA_VERSION: Final = 1

# Shorter windows hold ramp and drain in a share that changes the throughput noticeably.
STEADY_WINDOW_S: Final = 30.0
ERROR_RATE_LIMIT: Final = 0.01
CACHE_HIT_LIMIT: Final = 0.01
# Above it a server sends several tokens per event, and gaps between events are not gaps between tokens.
TOKENS_PER_EVENT_LIMIT: Final = 1.2
SHOWN_QUANTILES: Final = (0.50, 0.95, 0.99)


class Verdict(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"


class Badge(StrEnum):
    """Whether a run may be compared with others."""

    VALID = "VALID"
    NOTES = "VALID-WITH-NOTES"
    NOT_COMPARABLE = "NOT COMPARABLE"


@dataclass(frozen=True, slots=True)
class StressReport:
    """One run, complete or as far as it came.

    Attributes:
        run_dir: Where `run.json` and `requests.jsonl` are; None when they could not be saved.
        error: What ended the run early or kept it from being saved, None when nothing did.
    """

    plan: BurstPlan
    seed: int
    started_utc: datetime
    ended_utc: datetime
    verdict: Verdict
    client: ClientHealth
    levels: tuple[LevelResult, ...]
    badge: Badge
    badge_reasons: tuple[str, ...]
    run_dir: Path | None = None
    error: LlamaRunnerError | None = None


def judge(
    level: LevelResult, client: ClientHealth, verdict: Verdict, not_sent: tuple[str, ...] = ()
) -> tuple[Badge, tuple[str, ...]]:
    """Whether the run may be compared with others, and every reason against it or worth a note.

    Args:
        not_sent: What was asked for and could not be said in this server's dialect.
    """
    faults = tuple(_faults(level, client, verdict))
    unsaid = (f"This kind of server was not told: {', '.join(not_sent)}.",) if not_sent else ()
    notes = (*unsaid, *_notes(level, client, verdict))
    badge = Badge.NOT_COMPARABLE if faults else Badge.NOTES if notes else Badge.VALID
    return badge, faults + notes


def _faults(level: LevelResult, client: ClientHealth, verdict: Verdict) -> list[str]:
    found = []
    if verdict is Verdict.FAILED:
        found.append("The run broke off.")
    if level.requests.ok == 0:
        found.append("No request succeeded.")
    if level.error_rate is not None and level.error_rate > ERROR_RATE_LIMIT:
        found.append(f"{level.requests.failed} of {level.requests.sent} requests failed.")
    if client.status is ClientStatus.LIMITED:
        found.append(client.reason)
    if len(level.tokens_source) > 1:
        found.append("Token counts come from different sources: " + ", ".join(level.tokens_source) + ".")
    return found


def _notes(level: LevelResult, client: ClientHealth, verdict: Verdict) -> list[str]:
    found = []
    if verdict is Verdict.STOPPED:
        found.append("The run was stopped early.")
    if level.requests.failed and level.error_rate is not None and level.error_rate <= ERROR_RATE_LIMIT:
        found.append(f"{level.requests.failed} requests failed.")
    if client.status is ClientStatus.SUSPECT:
        found.append(client.reason)
    if TokensSource.CHUNKS in level.tokens_source:
        found.append("The server counts no tokens: what is counted are chunks of its stream.")
    if level.cache_hit is not None and level.cache_hit > CACHE_HIT_LIMIT:
        found.append(f"{level.cache_hit:.0%} of the prompt tokens came from the server's cache.")
    if level.tokens_per_event is not None and level.tokens_per_event > TOKENS_PER_EVENT_LIMIT:
        found.append(f"An event holds {level.tokens_per_event:.1f} tokens: gaps are not per token.")
    if level.window_s is not None and level.window_s < STEADY_WINDOW_S:
        found.append(f"Under {STEADY_WINDOW_S:g} s of load, start and end weigh in the throughput.")
    if missing := [f"p{100 * q:.0f}" for q in SHOWN_QUANTILES if level.requests.ok < min_n(q)]:
        found.append(f"{level.requests.ok} successful requests are too few for {', '.join(missing)}.")
    return found


def to_json(report: StressReport) -> dict[str, object]:
    """The document of `stress --json` and of `run.json`. Holds the prompt, never the API key."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_dir": None if report.run_dir is None else str(report.run_dir),
        "verdict": report.verdict.value,
        "client": asdict(report.client),
        "levels": [asdict(level) for level in report.levels],
        "badge": report.badge.value,
        "badge_reasons": list(report.badge_reasons),
        "error": _error_json(report.error),
        "started": report.started_utc.isoformat(timespec="milliseconds"),
        "ended": report.ended_utc.isoformat(timespec="milliseconds"),
        "server": report.plan.target.endpoint.base_url,
        "engine": report.plan.target.endpoint.engine.value,
        "model": report.plan.target.model_id,
        "plan": _plan_json(report.plan, report.seed),
        "definitions": definitions(),
    }


def definitions() -> dict[str, object]:
    """Title, unit and formula of every registered metric that a report shows."""
    shown = {field.name for field in fields(LevelResult)} | {field.name for field in fields(RequestMetrics)}
    return {
        name: {"title": metric.title, "unit": metric.unit, "formula": metric.formula}
        for name, metric in METRICS.items()
        if name in shown
    }


def record_json(record: RequestRecord, zero_ns: int) -> dict[str, object]:
    """One line of `requests.jsonl`; moments are seconds after `zero_ns`."""
    return {
        "index": record.index,
        "worker": record.worker,
        "outcome": record.outcome.value,
        "error_kind": record.error_kind,
        "error": record.error,
        "finish_reason": record.finish_reason,
        "begin_s": (record.t_begin_ns - zero_ns) / 1e9,
        "send_s": None if record.t_send_ns is None else (record.t_send_ns - zero_ns) / 1e9,
        "end_s": (record.t_end_ns - zero_ns) / 1e9,
        "events": record.events,
        "stall_max_s": record.stall_max_s,
        **asdict(record.metrics),
    }


def _plan_json(plan: BurstPlan, seed: int) -> dict[str, object]:
    document = {field.name: getattr(plan, field.name) for field in fields(plan) if field.name != "target"}
    return {"mode": "throughput", **document, "seed": seed}


def _error_json(error: LlamaRunnerError | None) -> dict[str, str] | None:
    return None if error is None else {"kind": error.kind, "message": error.message, "hint": error.hint}
